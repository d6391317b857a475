"""Kernels that project Gaussians to screen ellipses and carry gradients back (EWA splatting, Zwicker et al., 2001).

Everything here is computed in double precision from single-precision inputs: it is a small part of the time.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lca_lightning.rendering.cpu.compilation import compiled
from lca_lightning.rendering.renderer import (
    ALPHA_CUTOFF,
    EXTENT_SIGMAS,
    FAR_PLANE,
    FRUSTUM_MARGIN,
    NEAR_PLANE,
    QUATERNION_FLOOR,
    SCREEN_BLUR,
    TILE_SIZE,
)

# Columns of the splat table, one row per (camera, Gaussian).
SPLAT_COLUMNS = 12  # x, y, conic a b c, opacity, depth, half width, half height, log2 opacity, compensation, unused

Array = Any


@compiled
def _rotation(quaternion: Array, rotation: Array) -> float:
    """Write the 3x3 rotation of a quaternion of any length; return 1 / length, or 0 where it has no direction."""
    w, x, y, z = (
        np.float64(quaternion[0]),
        np.float64(quaternion[1]),
        np.float64(quaternion[2]),
        np.float64(quaternion[3]),
    )
    length = math.sqrt(w * w + x * x + y * y + z * z)
    inverse = 0.0
    if length < QUATERNION_FLOOR:
        w, x, y, z = 1.0, 0.0, 0.0, 0.0
    else:
        inverse = 1.0 / length
        w, x, y, z = w * inverse, x * inverse, y * inverse, z * inverse
    rotation[0, 0] = 1.0 - 2.0 * (y * y + z * z)
    rotation[0, 1] = 2.0 * (x * y - w * z)
    rotation[0, 2] = 2.0 * (x * z + w * y)
    rotation[1, 0] = 2.0 * (x * y + w * z)
    rotation[1, 1] = 1.0 - 2.0 * (x * x + z * z)
    rotation[1, 2] = 2.0 * (y * z - w * x)
    rotation[2, 0] = 2.0 * (x * z - w * y)
    rotation[2, 1] = 2.0 * (y * z + w * x)
    rotation[2, 2] = 1.0 - 2.0 * (x * x + y * y)
    return inverse


@compiled
def _camera_space(mean: Array, w2c: Array, point: Array) -> None:
    for i in range(3):
        point[i] = w2c[i, 0] * mean[0] + w2c[i, 1] * mean[1] + w2c[i, 2] * mean[2] + w2c[i, 3]


@compiled
def _slope_limits(K: Array, width: int, height: int) -> tuple[float, float, float, float]:
    """Slopes x/z and y/z beyond which the Jacobian is held: the image's edges and a margin."""
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    margin_x, margin_y = FRUSTUM_MARGIN * 0.5 * width / fx, FRUSTUM_MARGIN * 0.5 * height / fy
    return -cx / fx - margin_x, (width - cx) / fx + margin_x, -cy / fy - margin_y, (height - cy) / fy + margin_y


@compiled
def _screen_axes(
    point: Array, scale: Array, rotation: Array, w2c: Array, K: Array, width: int, height: int,
    jacobian: Array, N: Array, P: Array,
) -> None:
    """Write the projection's Jacobian (4 entries), the camera-space axes N and the screen axes P = J N."""
    for i in range(3):
        for k in range(3):
            total = w2c[i, 0] * rotation[0, k] + w2c[i, 1] * rotation[1, k] + w2c[i, 2] * rotation[2, k]
            N[i, k] = total * scale[k]
    low_x, high_x, low_y, high_y = _slope_limits(K, width, height)
    near = 1.0 / point[2]
    jacobian[0] = K[0, 0] * near
    jacobian[1] = -K[0, 0] * near * min(high_x, max(low_x, point[0] * near))
    jacobian[2] = K[1, 1] * near
    jacobian[3] = -K[1, 1] * near * min(high_y, max(low_y, point[1] * near))
    for k in range(3):
        P[0, k] = jacobian[0] * N[0, k] + jacobian[1] * N[2, k]
        P[1, k] = jacobian[2] * N[1, k] + jacobian[3] * N[2, k]


@compiled
def _tile_range(center: float, radius: float, tiles: int) -> tuple[int, int]:
    first = min(max(math.floor((center - radius) / TILE_SIZE), 0.0), float(tiles))
    last = min(max(math.ceil((center + radius) / TILE_SIZE), 0.0), float(tiles))
    return int(first), int(last)


@compiled
def project(
    first: int, last: int, width: int, height: int, antialiased: bool, means: Array, quaternions: Array,
    scales: Array, opacities: Array, w2c: Array, K: Array, splats: Array, rectangles: Array, counts: Array,
) -> None:
    """Project Gaussians ``first..last-1`` into one camera.

    Args:
        first, last: Range of Gaussians.
        width, height: Image size in pixels.
        antialiased: Multiply opacities by sqrt(det before / det after the blur).
        means, quaternions, scales, opacities: The cloud, float32, ``(G, ...)``.
        w2c: One camera, float64 ``(4, 4)``.
        K: Its intrinsics, float64 ``(3, 3)``.
        splats: Output table ``(G, SPLAT_COLUMNS)`` float32; rows of culled Gaussians are left as they are.
        rectangles: Output tiles ``x0 x1 y0 y1``, ends excluded, ``(G, 4)`` int32.
        counts: Output number of tiles, 0 where culled, ``(G,)`` int32.
    """
    tiles_x, tiles_y = (width + TILE_SIZE - 1) // TILE_SIZE, (height + TILE_SIZE - 1) // TILE_SIZE
    rotation, N, P = np.empty((3, 3)), np.empty((3, 3)), np.empty((2, 3))
    point, jacobian = np.empty(3), np.empty(4)
    for g in range(first, last):
        counts[g] = 0
        opacity = np.float64(opacities[g])
        if opacity < ALPHA_CUTOFF:
            continue
        _camera_space(means[g], w2c, point)
        if not (NEAR_PLANE <= point[2] <= FAR_PLANE):
            continue
        _rotation(quaternions[g], rotation)
        _screen_axes(point, scales[g], rotation, w2c, K, width, height, jacobian, N, P)
        xx = P[0, 0] * P[0, 0] + P[0, 1] * P[0, 1] + P[0, 2] * P[0, 2]
        xy = P[0, 0] * P[1, 0] + P[0, 1] * P[1, 1] + P[0, 2] * P[1, 2]
        yy = P[1, 0] * P[1, 0] + P[1, 1] * P[1, 1] + P[1, 2] * P[1, 2]
        sharp = xx * yy - xy * xy
        xx, yy = xx + SCREEN_BLUR, yy + SCREEN_BLUR
        determinant = xx * yy - xy * xy
        x, y = K[0, 0] * point[0] / point[2] + K[0, 2], K[1, 1] * point[1] / point[2] + K[1, 2]
        if not (determinant > 0.0 and np.isfinite(determinant) and np.isfinite(x) and np.isfinite(y)):
            continue
        compensation = 1.0
        if antialiased:
            compensation = math.sqrt(max(0.0, sharp / determinant))
            opacity *= compensation
            if opacity < ALPHA_CUTOFF:
                continue
        reach = math.sqrt(2.0 * math.log(opacity / ALPHA_CUTOFF))
        extent = min(EXTENT_SIGMAS, reach)
        radius_x, radius_y = math.ceil(extent * math.sqrt(xx)), math.ceil(extent * math.sqrt(yy))
        if radius_x <= 0.0 or radius_y <= 0.0:
            continue
        if x + radius_x <= 0.0 or x - radius_x >= width or y + radius_y <= 0.0 or y - radius_y >= height:
            continue
        x0, x1 = _tile_range(x, radius_x, tiles_x)
        y0, y1 = _tile_range(y, radius_y, tiles_y)
        rectangles[g, 0], rectangles[g, 1], rectangles[g, 2], rectangles[g, 3] = x0, x1, y0, y1
        counts[g] = (x1 - x0) * (y1 - y0)
        splats[g, 0], splats[g, 1] = x, y
        splats[g, 2], splats[g, 3], splats[g, 4] = yy / determinant, -xy / determinant, xx / determinant
        splats[g, 5], splats[g, 6] = opacity, point[2]
        # Slightly wide, so that rounding never drops a pixel that the cutoff would keep.
        splats[g, 7], splats[g, 8] = reach * math.sqrt(xx) + 0.01, reach * math.sqrt(yy) + 0.01
        splats[g, 9], splats[g, 10] = math.log2(opacity), compensation
