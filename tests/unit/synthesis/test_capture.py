"""Captures on disk: exact cameras and masks, determinism, resuming, bad input."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from lca_lightning.datasets.format import Dataset
from lca_lightning.errors import DataError, UsageError
from lca_lightning.rig.anny import AnnyRig
from lca_lightning.rig.rig import RigPose
from lca_lightning.synthesis.backgrounds import wild_background
from lca_lightning.synthesis.cameras import framing_distance, studio_cameras, wild_camera
from lca_lightning.synthesis.environments import PLACES, directions, procedural_environment
from lca_lightning.synthesis.fit_noise import read_truth
from lca_lightning.synthesis.lighting import studio_environment

pytest.importorskip("mitsuba")

from lca_lightning.synthesis import capture  # noqa: E402
from lca_lightning.synthesis.capture import synthesize  # noqa: E402
from lca_lightning.synthesis.scene import RenderedFrame  # noqa: E402
from lca_lightning.synthesis.settings import CaptureSettings, sequence_id  # noqa: E402
from lca_lightning.synthesis.takes import finish_picture  # noqa: E402

SMALL = {"size": (96, 72), "samples": 4, "progress": False}


@pytest.fixture(scope="module")
def wild(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("wild")
    synthesize(root, "wild", 2, 4, seed=7, test_subjects=1, **SMALL)
    return root


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("studio")
    synthesize(root, "studio", 1, 2, cameras=3, seed=7, test_subjects=0, **SMALL)
    return root


def test_wild_captures_read_back_with_splits_and_origin(wild: Path) -> None:
    dataset = Dataset(wild)
    first, second = dataset.sequences()
    assert (first.split, second.split) == ("train", "test")
    assert first.subject != second.subject
    assert first.frame_count == 4 and list(first.cameras) == ["camera"]
    images, masks = first.read_frames("camera", [0, 3])
    assert images.shape == (2, 96, 72, 3) and masks.shape == (2, 96, 72)
    assert 0.02 < (masks > 127).mean() < 0.6
    assert first.signals.frame_valid_T.all()
    assert not np.array_equal(first.signals.identity_I, second.signals.identity_I)


@pytest.mark.parametrize("kind", ["wild", "studio"])
def test_stored_rig_values_and_cameras_match_the_masks(
    kind: str, rig: AnnyRig, request: pytest.FixtureRequest
) -> None:
    sequence = Dataset(request.getfixturevalue(kind)).sequences()[0]
    folder = request.getfixturevalue(kind) / "sequences" / sequence.id
    values = read_truth(folder) if kind == "wild" else sequence.signals.to_arrays()
    exact = {name: torch.from_numpy(value) for name, value in values.items()}
    pose = RigPose(exact["rotations"], exact["translation"])
    with torch.no_grad():
        vertices = rig.posed_vertices(
            exact["identity"][None].expand(sequence.frame_count, -1), pose, exact["expression"]
        ).numpy()
    for name, camera in sequence.cameras.items():
        _, masks = sequence.read_frames(name, list(range(sequence.frame_count)))
        for frame, mask in enumerate(masks):
            in_camera = vertices[frame] @ camera.w2c_44[:3, :3].T + camera.w2c_44[:3, 3]
            pixels = (in_camera @ camera.K_33.T)[:, :2] / in_camera[:, 2:]
            column, row = np.floor(pixels).astype(int).T
            seen = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
            row, column = row[seen], column[seen]
            hit = (mask[row, column] > 0).mean()
            # A few thin fingers slip through the four samples of a pixel, cloth smooths a few bumps away.
            assert seen.mean() > 0.4 and hit > 0.95
            for shift in ((0, 3), (0, -3), (3, 0), (-3, 0)):
                assert (np.roll(mask, shift, (0, 1))[row, column] > 0).mean() < hit - 0.01


def test_face_boxes_exist_where_the_face_looks_at_the_camera(studio: Path, rig: AnnyRig) -> None:
    sequence = Dataset(studio).sequences()[0]
    boxes = np.stack([sequence.signals.face_boxes[name] for name in sequence.cameras])
    seen = np.isfinite(boxes).all(-1)
    assert seen.any() and not seen.all()
    left, top, right, bottom = boxes[seen].T
    assert (left < right).all() and (top < bottom).all()
    for camera, name in enumerate(sequence.cameras):
        _, masks = sequence.read_frames(name, [0, 1])
        for frame in np.flatnonzero(seen[camera]):
            x0, y0, x1, y1 = np.round(boxes[camera, frame]).astype(int)
            assert (masks[frame, y0:y1, x0:x1] > 127).mean() > 0.5


def test_finished_sequences_are_kept_and_the_rest_is_identical(wild: Path, tmp_path: Path) -> None:
    paths = synthesize(tmp_path, "wild", 1, 4, seed=7, test_subjects=0, **SMALL)
    stamp = (paths[0] / "sequence.json").stat().st_mtime_ns
    more = synthesize(tmp_path, "wild", 2, 4, seed=7, test_subjects=1, **SMALL)
    assert more[0] == paths[0] and (paths[0] / "sequence.json").stat().st_mtime_ns == stamp
    for fresh, earlier in zip(Dataset(tmp_path).sequences(), Dataset(wild).sequences(), strict=True):
        assert fresh.id == earlier.id
        for one, other in zip(
            fresh.read_frames("camera", [1]), earlier.read_frames("camera", [1]), strict=True
        ):
            assert np.array_equal(one, other)


def test_another_kind_in_the_same_folder_is_refused(wild: Path) -> None:
    with pytest.raises(DataError, match="kind"):
        synthesize(wild, "studio", 1, 1, **SMALL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "street"}, "wild, studio, light_stage or stylised"),
        ({"subjects": 0}, "subject"),
        ({"frames": 0}, "frames"),
        ({"size": (95, 72)}, "even"),
        ({"test_subjects": 3}, "test subjects"),
        ({"test_subjects": 1, "val_subjects": 2}, "val subjects"),
        ({"kind": "stylised", "test_subjects": 1}, "test set only"),
        ({"fit_noise": -1.0}, "fit noise"),
        ({"kind": "studio", "environments": "maps"}, "only the kind wild"),
        ({"shard": (3, 2)}, "3/2"),
        ({"workers": -1}, "workers"),
    ],
)
def test_wrong_numbers_leave_nothing_behind(tmp_path: Path, change: dict, message: str) -> None:
    arguments = {"kind": "wild", "subjects": 2, "frames": 2, **SMALL, **change}
    with pytest.raises(UsageError, match=message):
        synthesize(tmp_path / "data", **arguments)
    assert not (tmp_path / "data").exists()


def test_a_motion_file_moves_everybody(tmp_path: Path, rig: AnnyRig) -> None:
    rotations = np.zeros((6, len(rig.joint_names), 3), np.float32)
    rotations[:, rig.joint_names.index("upperarm01.L"), 2] = 0.7
    np.savez(tmp_path / "lift.npz", rotations=rotations, translation=np.zeros((6, 3), np.float32), fps=10.0)
    paths = synthesize(tmp_path / "data", "wild", 1, 3, motion=tmp_path / "lift.npz", fit_noise=0.0, **SMALL)
    stored = Dataset(tmp_path / "data").sequences()[0].signals.rotations_TJ3
    assert len(paths) == 1
    assert stored[:, rig.joint_names.index("upperarm01.L"), 2] == pytest.approx(0.7, abs=1e-5)
    with pytest.raises(UsageError, match="6 frames"):
        synthesize(tmp_path / "longer", "wild", 1, 30, motion=tmp_path / "lift.npz", **SMALL)


def test_names_depend_on_seed_and_subject_only() -> None:
    assert sequence_id(CaptureSettings(seed=3), 12) == "synthetic-0003-00012"
    assert sequence_id(CaptureSettings(seed=3, frames=99), 12) == "synthetic-0003-00012"


def test_cameras_see_everything() -> None:
    points = np.random.default_rng(0).normal(0, [0.4, 0.7, 0.3], (5, 4000, 3))
    cameras = studio_cameras(points, 5, 128, 96, np.random.default_rng(1))
    assert [camera.name for camera in cameras] == [f"camera{index:02d}" for index in range(5)]
    for camera in cameras:
        flat = points[:, ::17].reshape(-1, 3) @ camera.w2c_44[:3, :3].T + camera.w2c_44[:3, 3]
        pixels = (flat @ camera.K_33.T)[:, :2] / flat[:, 2:]
        assert (pixels > 0).all() and (pixels < [96, 128]).all()
    centers = [-camera.w2c_44[:3, :3].T @ camera.w2c_44[:3, 3] for camera in cameras]
    azimuths = np.sort([np.arctan2(center[0], center[2]) % (2 * np.pi) for center in centers])
    assert np.diff(azimuths) == pytest.approx(2 * np.pi / 5, abs=0.05)
    wild = wild_camera(points, 128, 96, np.random.default_rng(3))
    assert np.linalg.det(wild.w2c_44[:3, :3]) == pytest.approx(1)


def test_framing_distance_touches_the_margin() -> None:
    points = np.array([[0.0, 1.0, 0.0], [0.0, -0.5, 0.0]])
    K_33 = np.array([[100.0, 0, 50], [0, 100.0, 50], [0, 0, 1]])
    distance = framing_distance(points, np.zeros(3), np.array([0.0, 0.0, 1.0]), K_33, 100, 100, 0.8)
    assert distance == pytest.approx(100 * 1.0 / (0.8 * 50))


@pytest.mark.parametrize("place", [*PLACES, "studio"])
def test_environments_have_mean_radiance_one(place: str) -> None:
    rng = np.random.default_rng(4)
    radiance = studio_environment(rng) if place == "studio" else procedural_environment(rng, place)
    weight = np.linalg.norm(directions()[..., [0, 2]], axis=-1)[..., None]
    assert radiance.min() > 0
    assert (radiance * weight).sum() / (3 * weight.sum()) == pytest.approx(1, abs=1e-3)


def test_backgrounds_differ_and_pictures_are_composited_in_linear_light() -> None:
    first, second = (wild_background(32, 24, np.random.default_rng(seed)) for seed in (0, 1))
    assert first.shape == (32, 24, 3) and np.abs(first - second).mean() > 0.02
    half = RenderedFrame(np.full((1, 1, 3), 0.25, np.float32), np.full((1, 1), 0.5, np.float32))
    picture, mask = finish_picture(half, np.full((1, 1, 3), 0.1), 2.0)
    assert mask[0, 0] == 128
    expected = 255 * (1.055 * 0.55 ** (1 / 2.4) - 0.055)
    assert picture[0, 0] == pytest.approx(expected, abs=0.51)


def test_a_killed_process_ends_the_run_with_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other pools start a new process and wait for ever for the work of the lost one."""
    monkeypatch.setattr(capture, "_start_worker", _kill_itself)
    with pytest.raises(DataError, match="was killed.*finished sequences are kept"):
        synthesize(tmp_path, "wild", 2, 2, workers=2, **SMALL)


def _kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
