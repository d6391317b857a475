"""NeRSemble: world to camera for 2200x3208 pictures, smaller videos, masks from the empty stage."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lca_lightning.cli.main import main
from lca_lightning.datasets.reader import Dataset
from lca_lightning.datasets.video import VideoWriter
from lca_lightning.importers.nersemble import difference_mask
from lca_lightning.rig.anny import AnnyRig
from tests.unit.importers.miniature import Eye, encoded, head_of, overlaps, picture, posed_body, ring

SERIALS = ["222200037", "222200042", "222200047"]
SIZE = (138, 200)  # 2200x3208 reduced 16 times, rounded


def write_set(
    root: Path, eyes: list[Eye], vertices_TV3: np.ndarray, faces: np.ndarray, wrong: str = ""
) -> Path:
    person = root / "240"
    K = eyes[0].K_33.copy()
    for row, factor in enumerate((2200 / SIZE[0], 3208 / SIZE[1])):
        K[row] *= factor
        K[row, 2] -= 0.5
    if wrong == "intrinsics of the video":
        K = eyes[0].K_33
    poses = {eye.name: eye.w2c_44 for eye in eyes}
    if wrong == "camera to world":
        poses = {name: np.linalg.inv(pose) for name, pose in poses.items()}
    if wrong == "opengl":
        poses = {name: np.diag([1.0, -1, -1, 1]) @ pose for name, pose in poses.items()}
    if wrong == "millimetres":
        poses = {
            name: np.hstack([p[:, :3], p[:, 3:] * [[1e3], [1e3], [1e3], [1]]]) for name, p in poses.items()
        }
    (person / "calibration").mkdir(parents=True)
    (person / "calibration" / "camera_params.json").write_text(
        json.dumps({"world_2_cam": {n: p.tolist() for n, p in poses.items()}, "intrinsics": K.tolist()})
    )
    images = person / "sequences" / "EMO-1-shout+laugh" / "images"
    empty = person / "sequences" / "BACKGROUND"
    empty.mkdir(parents=True)
    for eye in eyes:
        with VideoWriter(images / f"cam_{eye.name}.mp4", 73.0, *SIZE, quality=12) as video:
            for points in vertices_TV3:
                video.add(picture(eye, points, faces)[0])
        stage = np.full((SIZE[1], SIZE[0], 3), 40, np.uint8)
        (empty / f"image_{eye.name}.jpg").write_bytes(encoded(stage, "JPEG"))
    return person


@pytest.fixture(scope="module")
def head(rig: AnnyRig) -> tuple[np.ndarray, np.ndarray, list[Eye]]:
    body = posed_body(rig, 3)
    vertices, faces = head_of(rig, body)
    top = body[0][body[0, :, 1].argmax()]
    eyes = ring(SERIALS, SIZE, top - [0, 0.13, 0], 0.6, radius=1.0)
    shared = eyes[0].K_33  # one matrix for all cameras
    return vertices, faces, [Eye(e.name, *SIZE, shared, e.w2c_44) for e in eyes]


def test_head_lies_on_the_masks_in_every_view(
    head: tuple[np.ndarray, np.ndarray, list[Eye]], tmp_path: Path
) -> None:
    vertices, faces, eyes = head
    write_set(tmp_path / "set", eyes, vertices, faces)
    main(["import", "nersemble", str(tmp_path / "set"), str(tmp_path / "out"), "--frames", "0:3:2"])
    # a mask by difference is a pixel wide of the truth
    assert min(overlaps(tmp_path / "out", vertices[::2], faces, (0, 1))) > 0.8
    (sequence,) = Dataset(tmp_path / "out").sequences()
    assert sequence.id == "nersemble-240-EMO-1-shout-laugh" and sequence.subject == "240"
    assert sequence.fps == pytest.approx(36.5) and sequence.frame_count == 2
    np.testing.assert_allclose(sequence.cameras["cam_222200042"].K_33, eyes[1].K_33, rtol=1e-9)


@pytest.mark.parametrize("wrong", ["intrinsics of the video", "camera to world", "opengl", "millimetres"])
def test_a_wrong_convention_does_not_pass(
    head: tuple[np.ndarray, np.ndarray, list[Eye]], tmp_path: Path, wrong: str
) -> None:
    vertices, faces, eyes = head
    write_set(tmp_path / "set", eyes, vertices, faces, wrong)
    main(["import", "nersemble", str(tmp_path / "set"), str(tmp_path / "out"), "--frames", "0:1"])
    assert min(overlaps(tmp_path / "out", vertices, faces)) < 0.7


def test_corrupt_videos_and_other_shapes_are_listed(
    head: tuple[np.ndarray, np.ndarray, list[Eye]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vertices, faces, eyes = head
    person = write_set(tmp_path / "set", eyes, vertices, faces)
    path = person / "sequences" / "EMO-1-shout+laugh" / "images" / f"cam_{SERIALS[1]}.mp4"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(SystemExit) as stop:
        main(["import", "nersemble", str(tmp_path / "set"), str(tmp_path / "out")])
    assert stop.value.code == 1 and "skipped.json" in capsys.readouterr().err
    assert SERIALS[1] in (tmp_path / "out" / "skipped.json").read_text()
    with VideoWriter(path, 73.0, 200, 138) as video:
        video.add(np.zeros((138, 200, 3), np.uint8))
    with pytest.raises(SystemExit):
        main(["import", "nersemble", str(tmp_path / "set"), str(tmp_path / "out")])
    assert "no reduction" in (tmp_path / "out" / "skipped.json").read_text()


def test_without_the_empty_stage_there_is_no_mask(
    head: tuple[np.ndarray, np.ndarray, list[Eye]], tmp_path: Path
) -> None:
    vertices, faces, eyes = head
    person = write_set(tmp_path / "set", eyes, vertices, faces)
    (person / "sequences" / "BACKGROUND" / f"image_{SERIALS[0]}.jpg").unlink()
    with pytest.raises(SystemExit):
        main(["import", "nersemble", str(tmp_path / "set"), str(tmp_path / "out")])
    assert "without masks" in (tmp_path / "out" / "skipped.json").read_text()


def test_differences_close_holes_and_drop_specks() -> None:
    stage = np.full((120, 100, 3), 90, np.uint8)
    image = stage.copy()
    image[30:100, 20:80] = 200
    image[50:60, 40:50] = 90  # a button the colour of the stage
    image[5:8, 90:93] = 255  # a lamp that flickers
    mask = difference_mask(image, stage) > 0
    expected = np.zeros((120, 100), bool)
    expected[30:100, 20:80] = True
    assert (mask & expected).sum() / (mask | expected).sum() > 0.93 and not mask[:10].any()
