"""The surface that the masks of several cameras leave of space (Laurentini 1994, visual hull)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lca_lightning.datasets.records import CameraRecord
from lca_lightning.importers.source import FloatArray

_CELL, _MARGIN = 0.02, 0.35  # metres
_FEWEST_CAMERAS = 4  # with fewer, space behind the person is not cut away


def hull_points(
    cameras: Sequence[CameraRecord],
    masks: Sequence[NDArray[np.uint8]],
    joints_P3: FloatArray,
    count: int = 3000,
) -> FloatArray | None:
    """Points on the surface of the visual hull about a person.

    Args:
        cameras: Without distortion.
        masks: One a camera, ``(H, W)``, 255 on the person.
        joints_P3: Joints of the person, metres, NaN where unknown: space near them is looked at.
        count: Points wanted.

    Returns:
        ``(count, 3)`` metres; None with few cameras or where nothing is left.
    """
    known = joints_P3[np.isfinite(joints_P3).all(1)]
    if len(cameras) < _FEWEST_CAMERAS or len(known) < 2:
        return None
    low, high = known.min(0) - _MARGIN, known.max(0) + _MARGIN
    axes = [np.arange(a, b, _CELL) for a, b in zip(low, high, strict=True)]
    shape = tuple(len(axis) for axis in axes)
    cells = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    inside, hits = np.ones(len(cells), bool), np.zeros(len(cells), np.int64)
    for camera, mask in zip(cameras, masks, strict=True):
        hit, outside = _seen(camera, mask, cells)
        inside &= hit | outside
        hits += hit
    # Space that hardly any picture shows is not the person's: below feet at a picture's lower edge, say.
    solid = np.pad((inside & (2 * hits > len(cameras))).reshape(shape), 1)
    buried = solid.copy()
    for axis in range(3):
        buried &= np.roll(solid, 1, axis) & np.roll(solid, -1, axis)
    surface = np.argwhere(solid & ~buried) - 1
    if len(surface) < 100:
        return None
    chosen = np.random.default_rng(0).choice(len(surface), count, replace=len(surface) < count)
    return np.asarray(low + _CELL * surface[chosen], np.float64)


def _seen(
    camera: CameraRecord, mask: NDArray[np.uint8], points_N3: FloatArray
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which points are seen on the mask, and which lie outside of the picture."""
    seen = points_N3 @ camera.w2c_44[:3, :3].T + camera.w2c_44[:3, 3]
    depth = np.maximum(seen[:, 2], 1e-6)
    columns, rows = np.floor((seen @ camera.K_33.T)[:, :2] / depth[:, None]).astype(np.int64).T
    height, width = mask.shape
    outside = (columns < 0) | (columns >= width) | (rows < 0) | (rows >= height) | (seen[:, 2] <= 0)
    hit = mask[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)] > 127
    return hit & ~outside, outside
