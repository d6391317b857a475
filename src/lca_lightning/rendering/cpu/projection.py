"""Kernels that project Gaussians to screen ellipses (EWA splatting, Zwicker et al., 2001).

Everything here is computed in double precision from single-precision inputs: it is a small part of the time.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lca_lightning.kernels.compilation import compiled
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

Array = Any
LOG2_E, LOG2_CUTOFF = math.log2(math.e), math.log2(ALPHA_CUTOFF)


# Small matrices are tuples in row order, which the compiler keeps in registers, unlike arrays.


@compiled
def unit_rotation(quaternions: Array, g: int) -> tuple[Any, float]:
    """Rotation of a quaternion of any length, and 1 / length, or 0 where it has no direction."""
    w, x = quaternions[g, 0] * 1.0, quaternions[g, 1] * 1.0  # double from here on
    y, z = quaternions[g, 2] * 1.0, quaternions[g, 3] * 1.0
    length = math.sqrt(w * w + x * x + y * y + z * z)
    inverse = 0.0
    if length < QUATERNION_FLOOR:
        w, x, y, z = 1.0, 0.0, 0.0, 0.0
    else:
        inverse = 1.0 / length
        w, x, y, z = w * inverse, x * inverse, y * inverse, z * inverse
    rotation = (
        1.0 - 2.0 * (y * y + z * z),
        2.0 * (x * y - w * z),
        2.0 * (x * z + w * y),
        2.0 * (x * y + w * z),
        1.0 - 2.0 * (x * x + z * z),
        2.0 * (y * z - w * x),
        2.0 * (x * z - w * y),
        2.0 * (y * z + w * x),
        1.0 - 2.0 * (x * x + y * y),
    )
    return rotation, inverse


@compiled
def to_camera(means: Array, g: int, w2c: Array) -> tuple[float, float, float]:
    """Centre of Gaussian ``g`` in camera space, metres."""
    x, y, z = means[g, 0], means[g, 1], means[g, 2]
    return (
        w2c[0, 0] * x + w2c[0, 1] * y + w2c[0, 2] * z + w2c[0, 3],
        w2c[1, 0] * x + w2c[1, 1] * y + w2c[1, 2] * z + w2c[1, 3],
        w2c[2, 0] * x + w2c[2, 1] * y + w2c[2, 2] * z + w2c[2, 3],
    )


@compiled
def slope_limits(K: Array, width: int, height: int) -> tuple[float, float, float, float]:
    """Slopes x/z and y/z beyond which the Jacobian is held: the image's edges and a margin."""
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    margin_x, margin_y = FRUSTUM_MARGIN * 0.5 * width / fx, FRUSTUM_MARGIN * 0.5 * height / fy
    return (
        -cx / fx - margin_x,
        (width - cx) / fx + margin_x,
        -cy / fy - margin_y,
        (height - cy) / fy + margin_y,
    )


@compiled
def screen_jacobian(point: Any, K: Array, limits: Any) -> tuple[float, float, float, float]:
    """Entries 00, 02, 11 and 12 of the projection's Jacobian; the others are zero."""
    near = 1.0 / point[2]
    first, second = K[0, 0] * near, K[1, 1] * near
    slope_x = min(limits[1], max(limits[0], point[0] * near))
    slope_y = min(limits[3], max(limits[2], point[1] * near))
    return first, -first * slope_x, second, -second * slope_y


@compiled
def ellipsoid_axis(w2c: Array, rotation: Any, scales: Array, g: int, k: int) -> tuple[float, float, float]:
    """Axis ``k`` of the ellipsoid in camera space: column ``k`` of W R S."""
    size = scales[g, k]
    x, y, z = rotation[k] * size, rotation[3 + k] * size, rotation[6 + k] * size
    return (
        w2c[0, 0] * x + w2c[0, 1] * y + w2c[0, 2] * z,
        w2c[1, 0] * x + w2c[1, 1] * y + w2c[1, 2] * z,
        w2c[2, 0] * x + w2c[2, 1] * y + w2c[2, 2] * z,
    )


@compiled
def screen_covariance(jacobian: Any, a: Any, b: Any, c: Any) -> tuple[float, float, float]:
    """Entries xx, xy and yy of P P^T with P = J (a b c), before the blur."""
    xa, xb, xc = (
        jacobian[0] * a[0] + jacobian[1] * a[2],
        jacobian[0] * b[0] + jacobian[1] * b[2],
        jacobian[0] * c[0] + jacobian[1] * c[2],
    )
    ya, yb, yc = (
        jacobian[2] * a[1] + jacobian[3] * a[2],
        jacobian[2] * b[1] + jacobian[3] * b[2],
        jacobian[2] * c[1] + jacobian[3] * c[2],
    )
    return xa * xa + xb * xb + xc * xc, xa * ya + xb * yb + xc * yc, ya * ya + yb * yb + yc * yc


@compiled
def _tile_range(center: float, radius: float, tiles: int) -> tuple[int, int]:
    first = min(max(np.floor((center - radius) / TILE_SIZE), 0.0), float(tiles))
    last = min(max(np.ceil((center + radius) / TILE_SIZE), 0.0), float(tiles))
    return int(first), int(last)


@compiled
def project(
    first: int,
    last: int,
    width: int,
    height: int,
    antialiased: bool,
    means: Array,
    quaternions: Array,
    scales: Array,
    opacities: Array,
    w2c: Array,
    K: Array,
    splats: Array,
    rectangles: Array,
    counts: Array,
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
    limits = slope_limits(K, width, height)
    for g in range(first, last):
        counts[g] = 0
        opacity = np.float64(opacities[g])
        if opacity < ALPHA_CUTOFF:
            continue
        point = to_camera(means, g, w2c)
        if not (NEAR_PLANE <= point[2] <= FAR_PLANE):
            continue
        rotation, _ = unit_rotation(quaternions, g)
        first_axis, second_axis = (
            ellipsoid_axis(w2c, rotation, scales, g, 0),
            ellipsoid_axis(w2c, rotation, scales, g, 1),
        )
        third_axis = ellipsoid_axis(w2c, rotation, scales, g, 2)
        jacobian = screen_jacobian(point, K, limits)
        xx, xy, yy = screen_covariance(jacobian, first_axis, second_axis, third_axis)
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
        headroom = math.log(opacity / ALPHA_CUTOFF)
        reach = math.sqrt(2.0 * headroom)
        extent = min(EXTENT_SIGMAS, reach)
        sigma_x, sigma_y = math.sqrt(xx), math.sqrt(yy)
        radius_x, radius_y = np.ceil(extent * sigma_x), np.ceil(extent * sigma_y)
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
        splats[g, 7], splats[g, 8] = reach * sigma_x + 0.01, reach * sigma_y + 0.01
        splats[g, 9], splats[g, 10] = headroom * LOG2_E + LOG2_CUTOFF, compensation
