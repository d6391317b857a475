"""Shoes: a closed shell lofted around each foot, so that no toes show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lca_lightning.rig.rig import Rig
from lca_lightning.synthesis.body_atlas import Array, IntArray, joint_weight_share
from lca_lightning.synthesis.hair import grid_faces

_ROWS, _COLUMNS = 18, 24
_ROOM = 0.007
_SOLE = 0.016


@dataclass(frozen=True)
class ShoePair:
    """Canonical shoes of one subject: points in metres, triangles, linear colours, skinning weights."""

    points_N3: Array
    faces_F3: IntArray
    colors_N3: Array
    weights_NJ: Tensor


def build_shoes(rig: Rig, body_V3: NDArray, joints_J3: NDArray, upper: NDArray, sole: NDArray) -> ShoePair:
    """Loft a shoe around each foot of a subject.

    Args:
        rig: For joint names and skinning weights.
        body_V3: The subject's canonical vertices, metres.
        joints_J3: The subject's canonical joints, metres.
        upper: Linear colour of the upper part.
        sole: Linear colour of the sole.

    Returns:
        Both shoes, each carried by its foot joint.
    """
    points, colors, weights = [], [], []
    for side in (".L", ".R"):
        ankle = joints_J3[rig.joint_names.index(f"foot{side}")]
        toe = joints_J3[rig.joint_names.index(f"toe2-1{side}")]
        toes = tuple(name for name in rig.joint_names if name.startswith("toe") and name.endswith(side))
        chosen = joint_weight_share(rig, (f"foot{side}", *toes)) > 0.5
        grid, is_sole = _loft(body_V3[chosen], ankle, toe)
        points.append(grid)
        colors.append(np.where(is_sole[:, None], sole, upper))
        weight = torch.zeros(len(grid), len(rig.joint_names))
        weight[:, rig.joint_names.index(f"foot{side}")] = 1.0
        weights.append(weight)
    faces = grid_faces(_ROWS, _COLUMNS)
    return ShoePair(
        np.concatenate(points).astype(np.float32),
        np.concatenate([faces, faces + _ROWS * _COLUMNS]),
        np.concatenate(colors).astype(np.float32),
        torch.cat(weights),
    )


def _loft(foot_N3: NDArray, ankle: NDArray, toe: NDArray) -> tuple[NDArray, NDArray[np.bool_]]:
    """Rounded cross sections from heel to toe; returns points and whether each belongs to the sole."""
    forward = (toe - ankle) * [1, 0, 1]
    forward = forward / np.linalg.norm(forward)
    side = np.cross([0.0, 1.0, 0.0], forward)
    local = np.stack([(foot_N3 - ankle) @ side, foot_N3[:, 1] - ankle[1], (foot_N3 - ankle) @ forward], -1)
    low, high = local[:, 2].min() - _ROOM, local[:, 2].max() + 1.3 * _ROOM
    turn = np.linspace(0, np.pi, _ROWS)
    along = 0.5 * (low + high) - 0.5 * (high - low) * np.cos(turn)
    bottom, opening = local[:, 1].min() - 0.6 * _ROOM, 0.012
    angle = np.linspace(0, 2 * np.pi, _COLUMNS, endpoint=False)
    rounded = [np.sign(part) * np.abs(part) ** 0.65 for part in (np.cos(angle), np.sin(angle))]
    rows = []
    for position, end in zip(along, np.clip(np.sin(turn), 0, 1) ** 0.4, strict=True):
        near = local[np.abs(local[:, 2] - np.clip(position, low + 0.02, high - 0.02)) < 0.022]
        left, right = near[:, 0].min() - _ROOM, near[:, 0].max() + _ROOM
        top = min(near[:, 1].max() + _ROOM, opening)
        x = 0.5 * (left + right) + 0.5 * (right - left) * end * rounded[0]
        y = bottom + 0.5 * (top - bottom) * (1 + (0.35 + 0.65 * end) * rounded[1]) * (0.6 + 0.4 * end)
        rows.append(np.stack([x, np.maximum(y, bottom), np.full(_COLUMNS, position)], -1))
    grid = np.concatenate(rows)
    points = ankle + grid[:, :1] * side + grid[:, 1:2] * [0, 1, 0] + grid[:, 2:] * forward
    return points, grid[:, 1] < bottom + _SOLE
