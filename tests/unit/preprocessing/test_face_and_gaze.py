"""Gaze, expression and face boxes on faces built from the rig itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("cv2")
from lca_lightning.preprocessing.expression import _MESH, _RIG, _vertex, fit_expression, unit_deltas
from lca_lightning.preprocessing.face import face_boxes_in_crop, landmark_face_boxes, rig_face_boxes
from lca_lightning.preprocessing.gaze import combine_gaze, estimate_gaze, head_axes
from lca_lightning.preprocessing.landmarks import BODY_COUNT
from lca_lightning.preprocessing.photos import hidden_joints
from lca_lightning.preprocessing.rig_fitting import RigFit
from lca_lightning.preprocessing.rig_landmarks import LANDMARK_COUNT
from tests.unit.preprocessing.views import ring_of_cameras


def face_landmarks(eye_width: float = 30.0) -> np.ndarray:
    """A frontal face in pixels: the person's left lies right; only the points that gaze and expression
    read.
    """
    face = np.zeros((478, 3))
    for side, (iris, inner, outer, upper, lower) in (
        (1, (473, 362, 263, 386, 374)),
        (-1, (468, 133, 33, 159, 145)),
    ):
        middle = np.array([200 + side * eye_width, 200.0, 0.0])
        face[inner], face[outer] = (
            middle - [side * eye_width / 2, 0, 0],
            middle + [side * eye_width / 2, 0, 0],
        )
        face[upper], face[lower] = middle - [0, 0.15 * eye_width, 0], middle + [0, 0.15 * eye_width, 0]
        face[iris] = middle
    face[10], face[152], face[2] = [200, 120, 0], [200, 320, 0], [200, 250, 0]
    return face


def test_straight_left_and_up() -> None:
    face = face_landmarks()
    gaze, size = estimate_gaze(face[None])
    assert np.allclose(gaze[0], [0, 0, 1, 1, 0, 0, 1, 1], atol=1e-6) and size[0] == pytest.approx(30)
    looking = face.copy()
    looking[[468, 473]] += [4.0, -3.0, 0]  # to the picture's right, the person's left, and up
    left = estimate_gaze(looking[None])[0][0]
    expected = np.array([4, 3]) / (0.4 * 30)
    assert np.allclose(left[:2], expected) and np.allclose(left[4:6], expected)
    assert np.allclose(np.linalg.norm(left[:3]), 1)


def test_gaze_is_given_in_the_head_frame_and_not_in_the_picture() -> None:
    from scipy.spatial.transform import Rotation

    face = face_landmarks()
    face[[468, 473]] += [4.0, -3.0, 0]
    turned = (face - face[10]) @ Rotation.from_euler("yxz", [20, -10, 30], degrees=True).as_matrix().T + face[
        10
    ]
    assert np.allclose(estimate_gaze(turned[None])[0], estimate_gaze(face[None])[0], atol=1e-9)
    assert np.linalg.det(head_axes(face[None])[0]) == pytest.approx(1)


def test_closed_small_hidden_or_averted_eyes_are_invalid() -> None:
    closed = face_landmarks()
    closed[386] = closed[374]
    assert estimate_gaze(closed[None])[0][0, [3, 7]].tolist() == [0, 1]
    assert estimate_gaze(face_landmarks(5.0)[None])[0][0, [3, 7]].tolist() == [0, 0]
    assert estimate_gaze(np.full((1, 478, 3), np.nan))[0].tolist() == [[0, 0, 1, 0, 0, 0, 1, 0]]
    away = face_landmarks()
    away[:, 0], away[:, 2] = 200 + 0.2 * (away[:, 0] - 200), (away[:, 0] - 200)
    assert estimate_gaze(away[None])[0][0, 3] == 0
    nearer = np.stack([estimate_gaze(face_landmarks(30)[None])[0][0]])
    assert (combine_gaze([np.full((1, 478, 3), np.nan), face_landmarks(30)[None]]) == nearer).all()


def faces_from_rig(rig, coefficients_TE: torch.Tensor) -> np.ndarray:
    identity = rig.neutral_identity()[None]
    rest, deltas = unit_deltas(rig)
    index = {name: _vertex(rig, rest, deltas, name) for name in _RIG}
    eyes = {side: rig.canonical_joints(identity)[0, rig.joint_names.index(f"eye.{side}")] for side in "LR"}
    posed = rig.canonical_vertices(identity, coefficients_TE)
    faces = np.repeat(face_landmarks()[None], len(posed), 0)
    scale = 1000.0  # pixels per metre, the picture's y and z point down and away
    to_picture = np.array([scale, -scale, -scale])
    for side, corners in (("L", (362, 263)), ("R", (133, 33))):
        for corner, shift in zip(corners, (-0.012, 0.012), strict=True):
            sign = 1 if side == "L" else -1
            faces[:, corner] = eyes[side].numpy() * to_picture + [sign * shift * scale, 0, 0]
    for name, vertex in index.items():
        faces[:, _MESH[name]] = posed[:, vertex].numpy() * to_picture
    faces[:, 10], faces[:, 2] = np.array([0, 1.0, 0.1]) * to_picture, np.array([0, 0.85, 0.1]) * to_picture
    return faces


def test_an_opening_mouth_and_a_smile_are_found(rig) -> None:
    coefficients = torch.zeros(36, rig.expression_size)
    jaw, smile = (rig.expression_names.index(name) for name in ("jawOpen", "mouthSmileLeft"))
    coefficients[10:18, jaw], coefficients[25:33, smile] = 0.8, 0.7
    found = fit_expression(rig, [faces_from_rig(rig, coefficients)])
    assert found.shape == (36, rig.expression_size) and found.min() >= 0 and found.max() <= 1
    assert found[14, jaw] > 0.5 and found[29, smile] > 0.3 and found[3].max() < 0.05
    other = [i for i in range(rig.expression_size) if i not in (jaw, smile)]
    assert found[14, jaw] > 2 * found[14, other].max()


def test_no_face_gives_zeros(rig) -> None:
    assert not fit_expression(rig, [np.full((6, 478, 3), np.nan)]).any()
    small = faces_from_rig(rig, torch.zeros(6, rig.expression_size)) * 0.1
    assert not fit_expression(rig, [small]).any()


def test_face_boxes_are_square_follow_the_crop_and_vanish_outside() -> None:
    face = np.random.default_rng(0).uniform([100, 100, 0], [180, 200, 1], (2, 478, 3))
    face[1] = np.nan
    boxes = landmark_face_boxes(face)
    assert boxes[0, 2] - boxes[0, 0] == pytest.approx(boxes[0, 3] - boxes[0, 1])
    assert boxes[0, 2] - boxes[0, 0] == pytest.approx(100, rel=0.03) and np.isnan(boxes[1]).all()
    fallback = np.array([[0.0, 0, 1, 1], [300, 300, 400, 400]])
    written = face_boxes_in_crop(boxes, fallback, 50, 20, 0.5, 200, 200)
    assert np.allclose(written[0], (boxes[0] - [50, 20, 50, 20]) * 0.5, atol=1e-4)
    assert np.allclose(written[1], [125, 140, 175, 190])
    assert np.isnan(face_boxes_in_crop(boxes, fallback, 50, 20, 0.5, 60, 60)[1]).all()


def test_the_rig_shows_its_face_to_cameras_in_front_only(rig) -> None:
    pose = rig.reference_pose()
    fit = RigFit(
        rig.neutral_identity(), pose.rotations_BJ3, pose.translation_B3 + 0.9, torch.zeros(LANDMARK_COUNT, 3),
        torch.eye(4)[None],
    )  # fmt: skip
    front, _, back, _ = ring_of_cameras(4)
    box = rig_face_boxes(rig, fit, front.w2c_44, front.K_33)[0]
    assert np.isfinite(box).all() and 40 < box[2] - box[0] < 200
    assert np.isnan(rig_face_boxes(rig, fit, back.w2c_44, back.K_33)).all()


def test_joints_below_the_picture_are_listed_as_hidden(rig) -> None:
    confidence = np.ones(LANDMARK_COUNT)
    confidence[BODY_COUNT:] = 0
    confidence[25:33] = 0
    hidden = set(hidden_joints(rig, confidence))
    assert {"lowerleg01.L", "foot.R", "toe1-1.L"} <= hidden
    assert not {"head", "upperarm01.L", "wrist.R", "spine03", "upperleg01.R"} & hidden
    assert hidden_joints(rig, np.ones(LANDMARK_COUNT)) == ()
