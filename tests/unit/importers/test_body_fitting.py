"""Bodies of the SMPL family brought to our rig: stand-ins made from our rig, whose poses are known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from lca_lightning.errors import DataError
from lca_lightning.importers.body_fitting import fit_body
from lca_lightning.importers.body_points import landmark_points, plain_name, vertex_points
from lca_lightning.importers.smpl_family import JOINT_NAMES, body_in_world, load_body_model
from lca_lightning.importers.source import JointsBody, SmplBody
from lca_lightning.preprocessing.landmarks import BODY_COUNT, BODY_INDEX, HAND_COUNT
from lca_lightning.rig.anny import AnnyRig
from tests.unit.importers.smpl_stand_in import save_stand_in
from tests.unit.importers.views import overlap, rig_vertices, ring, silhouette

STEPS = (60, 130)


def moving_body(kind: str, frames: int) -> SmplBody:
    """Somebody who bends an elbow, a knee and the back."""
    names, count = JOINT_NAMES[kind], 23 if kind == "smpl" else 21
    pose = np.zeros((frames, count, 3))
    for frame in range(frames):
        for name, vector in {
            "left_shoulder": (0, 0, -0.9 + 0.4 * frame), "right_elbow": (0, 1.0, 0),
            "left_knee": (0.5 * frame, 0, 0), "right_hip": (-0.6, 0, -0.2), "spine2": (0.1, 0.2 * frame, 0.1),
        }.items():  # fmt: skip
            pose[frame, names.index(name) - 1] = vector
    orientation = np.array([[0, 2.5 + 0.5 * frame, 0] for frame in range(frames)])
    return SmplBody(
        kind, "neutral", np.array([0.5, -0.4]), orientation, pose, np.tile([0.1, 1.25, -0.15], (frames, 1))
    )


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """The tensors are small, and sums in another order would give another fit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def smplx_file(rig: AnnyRig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_stand_in(rig, "smplx", tmp_path_factory.mktemp("model") / "smplx.npz")


def test_a_posed_mesh_is_met_by_our_rig(rig: AnnyRig, smplx_file: Path) -> None:
    body = moving_body("smplx", 1)
    vertices, _ = body_in_world(load_body_model(smplx_file), body)
    signals, words = fit_body(rig, body, 1, smplx_file, STEPS)
    assert signals is not None and signals.frame_valid_T.all() and "1 of 1 frames usable" in words
    faces = rig.faces_F3.numpy()
    for frame in range(1):
        ours = rig_vertices(rig, signals, frame)
        # The stand-in has our topology, so vertices correspond; the fit does not know that.
        assert np.linalg.norm(ours - vertices[frame], axis=1).mean() < 0.04
        for camera in ring(4, size=(480, 640), focal=720.0):
            place = camera.K_33, camera.w2c_44, camera.width, camera.height
            assert overlap(silhouette(ours, faces, *place), silhouette(vertices[frame], faces, *place)) > 0.75


def test_joints_alone_give_the_pose(rig: AnnyRig, smplx_file: Path) -> None:
    model = load_body_model(smplx_file)
    vertices, joints = body_in_world(model, moving_body("smplx", 3))
    joints[1] = np.nan
    signals, words = fit_body(rig, JointsBody(model.joint_names, joints), 3, None, STEPS)
    assert signals is not None and signals.frame_valid_T.tolist() == [True, False, True]
    assert "2 of 3 frames usable" in words
    for frame in (0, 2):
        assert np.linalg.norm(rig_vertices(rig, signals, frame) - vertices[frame], axis=1).mean() < 0.09


def test_without_a_model_file_the_body_is_said_not_to_be_converted(rig: AnnyRig) -> None:
    signals, words = fit_body(rig, moving_body("smplx", 2), 2, None)
    assert signals is None and "not converted" in words and "--body-model" in words


def test_wrong_frame_counts_and_unknown_joints(rig: AnnyRig) -> None:
    names = JOINT_NAMES["smpl"]
    with pytest.raises(DataError, match="has 2 frames but 3"):
        fit_body(rig, JointsBody(names, np.zeros((2, 24, 3))), 3, None)
    signals, words = fit_body(rig, JointsBody(("tail",), np.zeros((2, 1, 3))), 2, None)
    assert signals is None and "enough known points" in words


def test_scattered_points_are_no_valid_frame(rig: AnnyRig) -> None:
    scattered = np.random.default_rng(0).normal(size=(1, 24, 3)) * 2
    signals, words = fit_body(rig, JointsBody(JOINT_NAMES["smpl"], scattered), 1, None, (30, 0))
    assert signals is not None and not signals.frame_valid_T.any() and "0 of 1" in words


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("LShoulder", "left_shoulder"),
        ("l_shoulder", "left_shoulder"),
        ("shoulder.R", "right_shoulder"),
        ("Right Knee", "right_knee"),
        ("left_forefinger2", "left_forefinger2"),
        ("right_middle_finger1", "right_middle1"),
        ("nose", "nose"),
    ],
)
def test_spellings_of_joints(name: str, expected: str) -> None:
    assert plain_name(name) == expected


def test_landmarks_of_other_skeletons() -> None:
    names = ("left_wrist", "right_thumb3", "LBigToe", "left_small_toe", "left_index_tip", "tail")
    points = np.arange(18, dtype=float).reshape(1, 6, 3)
    placed, weights = landmark_points(names, points)
    assert np.allclose(placed[0, BODY_INDEX["left_wrist"]], points[0, 0])
    assert np.allclose(placed[0, BODY_COUNT], points[0, 0])
    assert np.allclose(placed[0, BODY_COUNT + HAND_COUNT + 3], points[0, 1])
    assert np.allclose(placed[0, BODY_COUNT + 8], points[0, 4])
    assert np.allclose(placed[0, BODY_INDEX["left_foot_index"]], 0.7 * points[0, 2] + 0.3 * points[0, 3])
    assert weights.sum() == 5
    assert vertex_points("smplx", np.zeros((1, 10475, 3)))[0][0] == "nose"
    assert vertex_points("smplx", np.zeros((1, 7, 3)))[0] == ()
