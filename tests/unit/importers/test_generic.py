"""One's own captures: every calibration, pictures and videos, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from lca_lightning.calibration.camera import CalibratedCamera
from lca_lightning.calibration.own_json import save_calibration
from lca_lightning.cli.main import main
from lca_lightning.datasets.reader import Dataset
from lca_lightning.datasets.signals import Signals
from lca_lightning.datasets.video import VideoWriter
from lca_lightning.importers.generic import GenericImporter
from lca_lightning.importers.importing import ImportOptions, import_dataset
from lca_lightning.importers.source import BrokenTake, SmplBody, SourceTake
from lca_lightning.rig.anny import AnnyRig
from lca_lightning.rig.rig import RigPose
from tests.unit.calibration.files import write_colmap_text, write_easymocap, write_toml
from tests.unit.importers.dome_sets import LENS, save
from tests.unit.importers.views import photograph, rig_vertices, ring, silhouette, stored_overlaps

pytest.importorskip("cv2")
FRAMES = 3


@pytest.fixture(scope="module")
def signals(rig: AnnyRig) -> Signals:
    """Somebody who stands in the middle and turns."""
    pose = rig.rest_pose(FRAMES)
    rotations = pose.rotations_BJ3.numpy().copy()
    rotations[:, 0, 1] = [0.3, 0.6, 0.9]
    translation = pose.translation_B3.numpy() * [1, 0, 1] + [0, 0.9, 0]
    assert isinstance(pose, RigPose)
    return Signals(
        rig.neutral_identity().numpy(), rotations, translation.astype(np.float32),
        np.zeros((FRAMES, rig.expression_size), np.float32), np.zeros((FRAMES, 8), np.float32),
        np.ones(FRAMES, bool),
    )  # fmt: skip


def write_capture(
    root: Path, rig: AnnyRig, signals: Signals, cameras: list[CalibratedCamera], masks: bool = True
) -> Path:
    """Folders of pictures and masks as the lenses give them."""
    faces = rig.faces_F3[rig.visible_faces_F].numpy()
    for camera in cameras:
        for frame in range(FRAMES):
            image, mask = photograph(camera, rig_vertices(rig, signals, frame), faces)
            save(root / "images" / camera.name / f"{frame:04d}.png", image)
            if masks:
                save(root / "masks" / camera.name / f"{frame:04d}.png", mask)
    save_file(signals.to_arrays(), root / "signals.safetensors")
    return root


def check_import(root: Path, out: Path, rig: AnnyRig, views: int = 4) -> None:
    result = import_dataset("generic", root, out, ImportOptions())
    assert not result.skipped and [summary.valid_frames for summary in result.written] == [FRAMES]
    found = stored_overlaps(out, rig)
    assert len(found) == views and min(min(values) for values in found.values()) > 0.93


def _json(root: Path, cameras: list[CalibratedCamera]) -> None:
    save_calibration(root / "calibration.json", cameras)


def _colmap(root: Path, cameras: list[CalibratedCamera]) -> None:
    write_colmap_text(
        root / "sparse" / "0", cameras, "OPENCV", [f"{camera.name}/0000.png" for camera in cameras]
    )
    (root / "import.json").write_text(json.dumps({"up": "y", "fps": 12, "subject": "anna"}))


CALIBRATIONS: dict[str, Callable[[Path, list[CalibratedCamera]], object]] = {
    "json": _json,
    "toml": lambda root, cameras: write_toml(root / "Calib.toml", cameras),
    "easymocap without sizes": lambda root, cameras: write_easymocap(root, cameras, sizes=False),
    "colmap": _colmap,
}


@pytest.mark.parametrize("kind", CALIBRATIONS)
def test_pictures_and_any_calibration(kind: str, tmp_path: Path, rig: AnnyRig, signals: Signals) -> None:
    cameras = ring(4, LENS)
    root = write_capture(tmp_path / "capture", rig, signals, cameras)
    CALIBRATIONS[kind](root, cameras)
    check_import(root, tmp_path / "out", rig)
    (sequence,) = Dataset(tmp_path / "out").sequences()
    assert (sequence.fps, sequence.subject) == ((12.0, "anna") if kind == "colmap" else (30.0, "capture"))
    for camera in cameras:
        assert np.allclose(sequence.cameras[camera.name].K_33, camera.K_33, atol=1e-6)
        assert np.allclose(sequence.cameras[camera.name].w2c_44, camera.w2c_44, atol=1e-6)


def test_colmap_of_another_scale(tmp_path: Path, rig: AnnyRig, signals: Signals) -> None:
    cameras = ring(4, LENS)
    root = write_capture(tmp_path / "capture", rig, signals, cameras)
    shrunk = []
    for camera in cameras:
        pose = camera.w2c_44.copy()
        pose[:3, 3] /= 2.5
        shrunk.append(
            CalibratedCamera(camera.name, camera.width, camera.height, camera.K_33, camera.distortion_8, pose)
        )
    _colmap(root, shrunk)
    (root / "import.json").write_text(json.dumps({"up": "y", "scale": 2.5}))
    check_import(root, tmp_path / "out", rig)
    (root / "import.json").write_text(json.dumps({"up": "y"}))
    import_dataset("generic", root, tmp_path / "wrong", ImportOptions())
    assert max(max(values) for values in stored_overlaps(tmp_path / "wrong", rig).values()) < 0.7


def test_videos_and_several_takes(tmp_path: Path, rig: AnnyRig, signals: Signals) -> None:
    cameras, faces = ring(3), rig.faces_F3[rig.visible_faces_F].numpy()
    for take in ("one", "two"):
        root = tmp_path / "src" / take
        (root / "videos").mkdir(parents=True)
        (root / "masks").mkdir()
        for camera in cameras:
            size = (25.0, camera.width, camera.height)
            pictures = VideoWriter(root / "videos" / f"{camera.name}.mp4", *size)
            masks = VideoWriter(root / "masks" / f"{camera.name}.mkv", *size, gray=True)
            for frame in range(FRAMES):
                image, mask = photograph(camera, rig_vertices(rig, signals, frame), faces)
                pictures.add(image)
                masks.add(mask)
            pictures.close()
            masks.close()
        _json(root, cameras)
        save_file(signals.to_arrays(), root / "signals.safetensors")
    result = import_dataset("generic", tmp_path / "src", tmp_path / "out", ImportOptions())
    assert len(result.written) == 2 and not result.skipped
    found = stored_overlaps(tmp_path / "out", rig)
    assert len(found) == 6 and min(min(values) for values in found.values()) > 0.9
    assert Dataset(tmp_path / "out").sequences()[0].fps == 25.0


def test_videos_of_other_lengths_and_a_missing_body_are_told(
    tmp_path: Path, rig: AnnyRig, signals: Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    cameras = ring(2)
    root = write_capture(tmp_path / "capture", rig, signals, cameras)
    _json(root, cameras)
    shutil.rmtree(root / "images")
    _film(root / "videos", signals, rig, cameras, masks=False)
    camera = cameras[1]
    longer = VideoWriter(root / "videos" / "cam1.mp4", 25.0, camera.width, camera.height)
    for _ in range(FRAMES + 2):
        longer.add(np.full((camera.height, camera.width, 3), 90, np.uint8))
    longer.close()
    (root / "signals.safetensors").unlink()
    main(["import", "generic", str(root), str(tmp_path / "out")])
    said = capsys.readouterr().out.splitlines()
    assert "generic-capture: 2 of 5 frames left out, because the video of cam0 has 3" in said
    assert said[-2].startswith("generic-capture cannot be trained on: no frame has a fitted body; run import")
    assert "--fit pictures or --body-model" in said[-2]
    assert said[-1].startswith(f"1 sequence in {tmp_path / 'out'}, 0 takes skipped")


def test_numbers_without_zeros_are_in_the_order_of_time(
    tmp_path: Path, rig: AnnyRig, signals: Signals
) -> None:
    root = write_capture(tmp_path / "capture", rig, signals, ring(4, LENS))
    _json(root, ring(4, LENS))
    for old, new in (("0002", "10"), ("0001", "9"), ("0000", "2")):
        for path in list(root.rglob(f"{old}.png")):
            path.rename(path.with_name(f"{new}.png"))
    check_import(root, tmp_path / "out", rig)


def _film(folder: Path, signals: Signals, rig: AnnyRig, cameras: list[CalibratedCamera], masks: bool) -> None:
    folder.mkdir()
    faces = rig.faces_F3[rig.visible_faces_F].numpy()
    for camera in cameras:
        suffix = "mkv" if masks else "mp4"
        film = VideoWriter(folder / f"{camera.name}.{suffix}", 30.0, camera.width, camera.height, gray=masks)
        for frame in range(FRAMES):
            film.add(photograph(camera, rig_vertices(rig, signals, frame), faces)[int(masks)])
        film.close()


def test_videos_with_masks_as_pictures(tmp_path: Path, rig: AnnyRig, signals: Signals) -> None:
    cameras = ring(3)
    root = write_capture(tmp_path / "capture", rig, signals, cameras)
    _json(root, cameras)
    shutil.rmtree(root / "images")
    _film(root / "videos", signals, rig, cameras, masks=False)
    check_import(root, tmp_path / "out", rig, views=3)
    (root / "masks" / "cam1" / "0002.png").unlink()
    result = import_dataset("generic", root, tmp_path / "short", ImportOptions())
    assert "cam1 holds 2 pictures" in result.skipped[0].reason


def test_masks_as_videos_follow_the_pictures_that_all_cameras_have(
    tmp_path: Path, rig: AnnyRig, signals: Signals
) -> None:
    cameras = ring(3)
    root = write_capture(tmp_path / "capture", rig, signals, cameras)
    _json(root, cameras)
    shutil.rmtree(root / "masks")
    _film(root / "masks", signals, rig, cameras, masks=True)
    (root / "images" / "cam1" / "0000.png").unlink()
    (take,) = GenericImporter(root).takes()
    assert isinstance(take, SourceTake) and take.frame_count == FRAMES - 1
    assert take.remark == "1 of 3 frames left out, because cam1 lacks 1 (0000 first)"
    ((_, mask),) = GenericImporter(root).frames(take, take.cameras[0], [0])
    faces = rig.faces_F3[rig.visible_faces_F].numpy()
    _, wanted = photograph(cameras[0], rig_vertices(rig, signals, 1), faces)
    assert mask is not None and (np.abs(mask.astype(int) - wanted) > 127).mean() < 1e-3


def _broken(root: Path, rig: AnnyRig, signals: Signals, cameras: list[CalibratedCamera], what: str) -> None:
    write_capture(root, rig, signals, cameras)
    _json(root, cameras)
    if what == "no calibration":
        (root / "calibration.json").unlink()
    elif what == "missing camera":
        _json(root, cameras[1:])
    elif what == "shape":
        _json(root, [cameras[0].adapted((1, 1), (0, 0), (130, 160)), *cameras[1:]])
    elif what == "negative focal":
        text = (root / "calibration.json").read_text().replace("180.0", "-180.0", 1)
        (root / "calibration.json").write_text(text)
    elif what == "mask size":
        save(root / "masks" / "cam0" / "0001.png", np.zeros((8, 8), np.uint8))
    elif what == "missing mask":
        (root / "masks" / "cam0" / "0001.png").unlink()
    elif what == "damaged picture":
        path = root / "images" / "cam0" / "0001.png"
        path.write_bytes(path.read_bytes()[:60])
    elif what == "option":
        (root / "import.json").write_text('{"fsp": 3}')
    elif what == "signals":
        (root / "signals.safetensors").write_bytes(b"nothing")


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("no calibration", "holds no calibration; put one there"),
        ("missing camera", "knows no camera cam0"),
        ("shape", "of another shape"),
        ("negative focal", "must be positive"),
        ("mask size", "mask of frame"),
        ("missing mask", "lacks the picture 0001"),
        ("damaged picture", "damaged"),
        ("option", "may hold fps, subject, up and scale"),
        ("signals", "no values of our rig"),
    ],
)
def test_broken_captures_are_listed_with_the_reason(
    what: str, said: str, tmp_path: Path, rig: AnnyRig, signals: Signals
) -> None:
    _broken(tmp_path / "capture", rig, signals, ring(2), what)
    result = import_dataset("generic", tmp_path, tmp_path / "out", ImportOptions())
    assert not result.written and said in result.skipped[0].reason
    assert not list((tmp_path / "out").glob("sequences/*"))


def test_bodies_under_the_names_of_amass(tmp_path: Path, rig: AnnyRig, signals: Signals) -> None:
    root = write_capture(tmp_path, rig, signals, ring(2))
    _json(root, ring(2))
    (root / "signals.safetensors").unlink()
    poses = np.random.default_rng(0).normal(size=(FRAMES, 156))
    np.savez(root / "body.npz", poses=poses, betas=np.zeros(16), trans=np.zeros((FRAMES, 3)))
    importer = GenericImporter(root)
    (take,) = importer.takes()
    assert isinstance(take, SourceTake) and not isinstance(take, BrokenTake)
    body = importer.body(take, [0, 2])
    assert isinstance(body, SmplBody) and body.model == "smplh"
    assert np.allclose(body.pose_TJ3.reshape(2, -1), poses[[0, 2], 3:66])
    assert body.right_hand_TJ3 is not None and np.allclose(
        body.right_hand_TJ3.reshape(2, -1), poses[[0, 2], -45:]
    )


def test_a_single_camera_is_wild_and_silhouettes_can_fail(
    tmp_path: Path, rig: AnnyRig, signals: Signals
) -> None:
    camera = ring(1)[0]
    root = write_capture(tmp_path / "capture", rig, signals, [camera])
    _json(root, [camera])
    check_import(root, tmp_path / "out", rig, views=1)
    assert Dataset(tmp_path / "out").kind == "wild"
    faces = rig.faces_F3.numpy()
    place = camera.K_33, camera.w2c_44, camera.width, camera.height
    first, last = (silhouette(rig_vertices(rig, signals, frame), faces, *place) for frame in (0, 2))
    assert (first != last).any()
