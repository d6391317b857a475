"""Dynamics of hanging cloth: a grid of masses on threads, pinned at its first rows, pushed out of the body.

Position based dynamics with small steps (Macklin et al. 2019): gravity, drag of the air, threads of fixed
length along and across the cloth and over its diagonals, weak threads against folding, and contact with the
nearest point of the body. Plain skinning knows none of it: a skirt that swings after a turn or hangs between
two open legs is what a model has to learn beyond the template's weights. Elementwise float64 throughout, so
the same motion gives the same cloth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lca_lightning.synthesis.body_atlas import IntArray, vertex_normals
from lca_lightning.synthesis.precision import Doubles

_GRAVITY = np.array([0.0, -9.81, 0.0])
_STEP_SECONDS = 1 / 160
_SETTLE_SECONDS = 0.8
_DRAG_PER_SECOND = 1.6
_BENDING = 0.04
_FRICTION = 0.35
_MARGIN = 0.007
_DEEPEST = 0.06
_CONTACT_EVERY = 2  # steps between searches for the nearest body point


@dataclass(frozen=True)
class HangingCloth:
    """A piece of cloth of ``R`` rows and ``C`` columns, rows from the pinned edge down.

    Attributes:
        first: Place of its first point among the person's points; the others follow row by row.
        rows: ``R``.
        columns: ``C``, even.
        pinned: Number of first rows that follow the skin.
        closed: Whether the last column is joined to the first.
        rest_RC3: Canonical points, metres: the threads keep their distances.
    """

    first: int
    rows: int
    columns: int
    pinned: int
    closed: bool
    rest_RC3: Doubles

    @property
    def points(self) -> slice:
        """Place among the person's points."""
        return slice(self.first, self.first + self.rows * self.columns)


def drape(
    cloth: HangingCloth, skinned_TN3: NDArray, obstacle: IntArray, faces_F3: IntArray, fps: float
) -> Doubles:
    """Let cloth hang from a moving person.

    Args:
        cloth: The piece.
        skinned_TN3: All points of the person by plain skinning, metres.
        obstacle: Points of the body that the cloth cannot pass.
        faces_F3: Triangles of the body, for outward normals.
        fps: Frames per second.

    Returns:
        World points of the cloth, ``(T, R * C, 3)``.
    """
    shape = (len(skinned_TN3), cloth.rows, cloth.columns, 3)
    target_TRC3 = skinned_TN3[:, cloth.points].reshape(shape)
    bodies = [points[obstacle] for points in skinned_TN3]
    normals = [
        vertex_normals(points[: faces_F3.max() + 1], faces_F3)[obstacle].astype(np.float64)
        for points in skinned_TN3
    ]
    state = _State(cloth, target_TRC3[0].copy())
    for _ in range(round(_SETTLE_SECONDS / _STEP_SECONDS)):
        state.step(target_TRC3[0], bodies[0], normals[0], 4 * _DRAG_PER_SECOND)
    state.previous = state.points.copy()
    result = np.empty(shape)
    result[0] = state.points
    steps = max(1, round(1 / (fps * _STEP_SECONDS)))
    for frame in range(1, len(result)):
        for share in (np.arange(steps) + 1) / steps:
            pinned, body, normal = (
                (1 - share) * values[frame - 1] + share * values[frame]
                for values in (target_TRC3, bodies, normals)
            )
            state.step(pinned, body, normal, _DRAG_PER_SECOND)
        result[frame] = state.points
    return result.reshape(len(result), -1, 3)


class _State:
    """Positions and velocities of a cloth, and its threads in groups that share no point."""

    def __init__(self, cloth: HangingCloth, points_RC3: Doubles) -> None:
        self.points = points_RC3
        self.previous = points_RC3.copy()
        self._pinned = cloth.pinned
        self._free = np.zeros(points_RC3.shape[:2] + (1,))
        self._free[cloth.pinned :] = 1.0
        self._threads = [
            (first, second, np.linalg.norm(_take(cloth.rest_RC3, first) - _take(cloth.rest_RC3, second),
                                           axis=-1, keepdims=True), stiffness)
            for first, second, stiffness in _thread_groups(cloth)
        ]  # fmt: skip
        self._nearest: IntArray | None = None
        self._count = 0

    def step(self, pinned_RC3: Doubles, body_M3: Doubles, normal_M3: Doubles, drag: float) -> None:
        """Advance by one small step to where the pins and the body are now."""
        kept = np.exp(-drag * _STEP_SECONDS)
        moved = self.points + (self.points - self.previous) * kept + _GRAVITY * _STEP_SECONDS**2
        self.previous = self.points
        self.points = np.where(self._free > 0, moved, pinned_RC3)
        for first, second, length, stiffness in self._threads:
            self._pull(first, second, length, stiffness)
        self._leave_body(body_M3, normal_M3)
        self.points[: self._pinned] = pinned_RC3[: self._pinned]

    def _pull(self, first: _Part, second: _Part, length: Doubles, stiffness: float) -> None:
        """Bring the ends of a group of threads to their distance."""
        a, b = _take(self.points, first), _take(self.points, second)
        free_a, free_b = _take(self._free, first), _take(self._free, second)
        apart = b - a
        distance = np.sqrt((apart * apart).sum(-1, keepdims=True))
        total = np.maximum(free_a + free_b, 1.0)
        shift = apart * (stiffness * (distance - length) / np.maximum(distance, 1e-9) / total)
        _put(self.points, first, a + shift * free_a)
        _put(self.points, second, b - shift * free_b)

    def _leave_body(self, body_M3: Doubles, normal_M3: Doubles) -> None:
        """Push points out of the body and rub those that touch it."""
        flat = self.points.reshape(-1, 3)
        if self._nearest is None or self._count % _CONTACT_EVERY == 0:
            self._nearest = cKDTree(body_M3).query(flat)[1]
        self._count += 1
        normal = normal_M3[self._nearest]
        offset = flat - body_M3[self._nearest]
        depth = _MARGIN - (offset * normal).sum(-1, keepdims=True)
        near = (offset * offset).sum(-1, keepdims=True) < 0.12**2
        touching = (depth > 0) & near
        travel = flat - self.previous.reshape(-1, 3)
        along = travel - (travel * normal).sum(-1, keepdims=True) * normal
        push = np.clip(depth, 0, _DEEPEST) * normal - _FRICTION * along
        self.points = (flat + np.where(touching, push, 0.0)).reshape(self.points.shape)


# Rows and columns of the points at one end of a group of threads: index arrays of the grid.
_Part = tuple[NDArray[np.int64], NDArray[np.int64]]


def _take(values_RCX: NDArray, part: _Part) -> NDArray:
    return values_RCX[part[0][:, None], part[1][None]]


def _put(values_RCX: NDArray, part: _Part, new: NDArray) -> None:
    values_RCX[part[0][:, None], part[1][None]] = new


def _thread_groups(cloth: HangingCloth) -> list[tuple[_Part, _Part, float]]:
    """Pairs of grid parts and stiffness; within a group no point belongs to two threads."""
    groups = []
    for row_step, column_step, stiffness in ((1, 0, 1.0), (0, 1, 1.0), (1, 1, 0.3), (1, -1, 0.3),
                                             (2, 0, _BENDING), (0, 2, _BENDING)):  # fmt: skip
        for rows in _alternating(cloth.rows, row_step, False):
            # Threads that lead to another row meet in no point even when all columns start one.
            for columns in _alternating(cloth.columns, column_step, cloth.closed, split=row_step == 0):
                if len(rows) and len(columns):
                    first = rows, columns
                    second = rows + row_step, (columns + column_step) % cloth.columns
                    groups.append((first, second, stiffness))
    return groups


def _alternating(count: int, step: int, closed: bool, split: bool = True) -> list[NDArray[np.int64]]:
    """Starts of steps along one axis, split so that steps within a part do not touch."""
    size = abs(step)
    if size == 0:
        return [np.arange(count)]
    starts = np.arange(count) if closed else np.arange(max(-step, 0), count - max(step, 0))
    return [starts[starts // size % 2 == parity] for parity in (0, 1)] if split else [starts]
