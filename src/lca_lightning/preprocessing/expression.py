"""ARKit coefficients from face landmarks, relative to the clip's own resting face.

MediaPipe's ``solutions`` give landmarks but no coefficients. A few distances that expressions change (lips,
lids,
brows, jaw) are measured on the landmarks and, for unit coefficients, on the rig itself; the coefficients
follow by
non-negative least squares with a prior towards zero and smoothing over time. Where the face is too small,
turned
away or absent the coefficients fade to zero.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import nnls

from lca_lightning.preprocessing.gaze import NOSE_BASE, head_axes
from lca_lightning.preprocessing.landmarks import FloatArray
from lca_lightning.rig.rig import Rig

# Distance between the eyes in pixels below which landmarks say nothing about expression.
SMALLEST_EYE_DISTANCE = 18.0
MOST_TURNED = 0.6
RIDGE = 0.02
SMOOTHING_FRAMES = 1.5
# Points of the 478-point mesh: the person's own left and right.
_MESH = {
    "mouth_left": 291, "mouth_right": 61, "lip_upper": 13, "lip_lower": 14, "lid_upper_left": 386,
    "lid_upper_right": 159, "lid_lower_left": 374, "lid_lower_right": 145, "brow_inner_left": 285,
    "brow_inner_right": 55, "brow_outer_left": 282, "brow_outer_right": 52, "chin": 152,
}  # fmt: skip
# Rig vertex of each point: the one that this coefficient moves most along this direction.
_RIG = {
    "mouth_left": ("mouthStretchLeft", (1, 0, 0)), "mouth_right": ("mouthStretchRight", (-1, 0, 0)),
    "lid_upper_left": ("eyeBlinkLeft", (0, -1, 0)), "lid_upper_right": ("eyeBlinkRight", (0, -1, 0)),
    "lid_lower_left": ("eyeSquintLeft", (0, 1, 0)), "lid_lower_right": ("eyeSquintRight", (0, 1, 0)),
    "brow_inner_left": ("browInnerUp", (0, 1, 0)), "brow_inner_right": ("browInnerUp", (0, 1, 0)),
    "brow_outer_left": ("browOuterUpLeft", (0, 1, 0)), "brow_outer_right": ("browOuterUpRight", (0, 1, 0)),
    "lip_upper": ("mouthUpperUpLeft", (0, 1, 0)), "lip_lower": ("mouthLowerDownLeft", (0, -1, 0)),
    "chin": ("jawOpen", (0, -1, 0)),
}  # fmt: skip
FITTED = (
    "jawOpen", "jawLeft", "jawRight", "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft",
    "mouthFrownRight", "mouthPucker", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft",
    "mouthUpperUpRight", "mouthLowerDownLeft", "mouthLowerDownRight", "eyeBlinkLeft", "eyeBlinkRight",
    "eyeWideLeft", "eyeWideRight", "browInnerUp", "browDownLeft", "browDownRight", "browOuterUpLeft",
    "browOuterUpRight",
)  # fmt: skip


def _features(points: dict[str, FloatArray]) -> FloatArray:
    """Distances that expressions change, from points in head axes in units of the eye distance, ``(...,
    14)``.
    """
    left, up = 0, 1
    return np.stack(
        [
            points["mouth_left"][..., left], -points["mouth_right"][..., left],
            points["mouth_left"][..., up], points["mouth_right"][..., up],
            points["lip_upper"][..., up], points["lip_lower"][..., up],
            points["lid_upper_left"][..., up] - points["lid_lower_left"][..., up],
            points["lid_upper_right"][..., up] - points["lid_lower_right"][..., up],
            points["brow_inner_left"][..., up], points["brow_inner_right"][..., up],
            points["brow_outer_left"][..., up], points["brow_outer_right"][..., up],
            points["chin"][..., up], points["chin"][..., left],
        ],
        -1,
    )  # fmt: skip


def measured_features(face_TP3: FloatArray) -> FloatArray:
    """Features of one camera's landmarks ``(T, 478, 3)``; NaN where the face is small, turned or absent."""
    frames = len(face_TP3)
    features = np.full((frames, 14), np.nan)
    found = np.flatnonzero(np.isfinite(face_TP3).all((1, 2)))
    if len(found) == 0:
        return features
    face = face_TP3[found]
    axes = head_axes(face, NOSE_BASE)
    eyes = np.stack([face[:, [362, 263]].mean(1), face[:, [33, 133]].mean(1)], 1)
    distance = np.linalg.norm(eyes[:, 0] - eyes[:, 1], axis=-1)
    center = eyes.mean(1)
    points = {
        name: np.einsum("tac,tc->ta", axes, face[:, index] - center) / distance[:, None]
        for name, index in _MESH.items()
    }
    values = _features(points)
    values[(distance < SMALLEST_EYE_DISTANCE) | (-axes[:, 2, 2] < MOST_TURNED)] = np.nan
    features[found] = values
    return features


def feature_response(rig: Rig) -> FloatArray:
    """Change of each feature by a unit of each fitted coefficient on the neutral rig, ``(14,
    len(FITTED))``.
    """
    identity = rig.neutral_identity()[None]
    with torch.no_grad():
        rest, deltas = unit_deltas(rig)
        joints = rig.canonical_joints(identity)[0]
    eyes = [joints[rig.joint_names.index(f"eye.{side}")] for side in "LR"]
    distance = float((eyes[0] - eyes[1]).norm())
    index = {name: _vertex(rig, rest, deltas, name) for name in _RIG}
    base = _features({name: rest[vertex].numpy() / distance for name, vertex in index.items()})
    columns = [
        _features(
            {name: (rest[vertex] + deltas[unit][vertex]).numpy() / distance for name, vertex in index.items()}
        )
        - base
        for unit in FITTED
    ]
    return np.stack(columns, 1)


def unit_deltas(rig: Rig) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The neutral mesh ``(V, 3)`` and how each coefficient at 1 moves its vertices, metres."""
    identity = rig.neutral_identity()[None]
    rest = rig.canonical_vertices(identity)[0]
    units = torch.eye(rig.expression_size)
    moved = rig.canonical_vertices(identity.expand(len(units), -1), units) - rest
    return rest, dict(zip(rig.expression_names, moved, strict=True))


def _vertex(rig: Rig, rest: torch.Tensor, deltas: dict[str, torch.Tensor], name: str) -> int:
    coefficient, direction = _RIG[name]
    motion = deltas[coefficient] @ torch.tensor(direction, dtype=rest.dtype)
    if name.endswith("left"):
        motion = torch.where(rest[:, 0] > 0.005, motion, torch.full_like(motion, -1.0))
    elif name.endswith("right"):
        motion = torch.where(rest[:, 0] < -0.005, motion, torch.full_like(motion, -1.0))
    else:
        # On the middle line, at the front of the face, where it moves.
        middle = (rest[:, 0].abs() < 0.004) & (motion > 0.3 * motion.max())
        along = -rest[:, 1] if name == "chin" else rest[:, 2]
        motion = torch.where(middle, along, torch.full_like(motion, -torch.inf))
    return int(motion.argmax())


def fit_expression(rig: Rig, faces_CTP3: list[FloatArray]) -> FloatArray:
    """Expression of each frame from all cameras.

    Args:
        rig: Its ARKit coefficients are fitted.
        faces_CTP3: Face landmarks per camera, NaN without a face, ``(T, 478, 3)`` each.

    Returns:
        Coefficients in [0, 1] of the rig's own names, zeros where unknown, ``(T, E)``.
    """
    frames = len(faces_CTP3[0])
    coefficients = np.zeros((frames, rig.expression_size))
    measured = [measured_features(face) for face in faces_CTP3]
    # Each camera is compared with its own resting face: its landmarks carry their own bias.
    relative = np.stack([features - _resting(features) for features in measured])
    known = np.isfinite(relative)
    mean = np.where(known.any(0), np.where(known, relative, 0).sum(0) / np.maximum(known.sum(0), 1), np.nan)
    seen = np.isfinite(mean).all(1)
    if seen.sum() < 5:
        return coefficients
    response = feature_response(rig)
    system = np.concatenate([response, RIDGE * np.eye(response.shape[1])])
    solved = np.zeros((frames, response.shape[1]))
    for frame in np.flatnonzero(seen):
        solved[frame] = nnls(system, np.concatenate([mean[frame], np.zeros(response.shape[1])]))[0]
    solved = gaussian_filter1d(np.clip(solved, 0, 1), SMOOTHING_FRAMES, axis=0)
    for column, name in enumerate(FITTED):
        coefficients[:, rig.expression_names.index(name)] = solved[:, column]
    return coefficients


def _resting(features_TN: FloatArray) -> FloatArray:
    """The clip's neutral face: per feature the median of the frames that measure it."""
    seen = np.isfinite(features_TN).all(1)
    return np.median(features_TN[seen], axis=0) if seen.any() else np.zeros(features_TN.shape[1])
