"""Kernels of the backward pass, second half: from intersections to Gaussians and cameras, in doubles."""

from __future__ import annotations

from typing import Any

import numpy as np

from lca_lightning.kernels.compilation import compiled
from lca_lightning.rendering.cpu.kernels import GRADIENT_COLUMNS
from lca_lightning.rendering.cpu.projection import (
    ellipsoid_axis,
    screen_covariance,
    screen_jacobian,
    slope_limits,
    to_camera,
    unit_rotation,
)
from lca_lightning.rendering.renderer import SCREEN_BLUR

Array = Any


@compiled
def project_backward(
    first: int,
    last: int,
    width: int,
    height: int,
    antialiased: bool,
    channels: int,
    means: Array,
    quaternions: Array,
    scales: Array,
    opacities: Array,
    w2c: Array,
    K: Array,
    splats: Array,
    counts: Array,
    slot_starts: Array,
    gradients: Array,
    to_means: Array,
    to_quaternions: Array,
    to_scales: Array,
    to_opacities: Array,
    to_features: Array,
    to_w2c: Array,
) -> None:
    """Add up the slots of Gaussians ``first..last-1`` over all cameras and carry them back to the inputs.

    Args:
        w2c, K: All cameras, float64, ``(T, 4, 4)`` and ``(T, 3, 3)``.
        splats, counts, slot_starts: Of all cameras, ``(T, G, ...)``.
        gradients: From ``rasterize_backward``.
        to_means, to_quaternions, to_scales, to_opacities, to_features: Outputs, zeros on entry, ``(G, ...)``.
        to_w2c: Output, this chunk's share, zeros on entry, float64 ``(T, 4, 4)``.
    """
    for camera in range(w2c.shape[0]):
        view, intrinsics, to_view = w2c[camera], K[camera], to_w2c[camera]
        limits = slope_limits(intrinsics, width, height)
        for g in range(first, last):
            count = counts[camera, g]
            if count == 0:
                continue
            start = slot_starts[camera, g]
            position, conic, opacity = _sum_slots(gradients, start, start + count, to_features, g)
            to_depth = 0.0
            for slot in range(start, start + count):
                to_depth += gradients[slot, GRADIENT_COLUMNS + channels]
            rotation, inverse = unit_rotation(quaternions, g)
            point = to_camera(means, g, view)
            jacobian = screen_jacobian(point, intrinsics, limits)
            a, b = ellipsoid_axis(view, rotation, scales, g, 0), ellipsoid_axis(view, rotation, scales, g, 1)
            c = ellipsoid_axis(view, rotation, scales, g, 2)
            compensation = np.float64(splats[camera, g, 10])
            to_opacities[g] += opacity * compensation
            to_compensation = opacity * np.float64(opacities[g]) if antialiased else 0.0
            covariance = screen_covariance(jacobian, a, b, c)
            covariance = _ellipse_backward(conic, covariance, compensation, to_compensation)
            to_a, from_a = _axis_backward(covariance, jacobian, a)
            to_b, from_b = _axis_backward(covariance, jacobian, b)
            to_c, from_c = _axis_backward(covariance, jacobian, c)
            to_jacobian = (
                from_a[0] + from_b[0] + from_c[0],
                from_a[1] + from_b[1] + from_c[1],
                from_a[2] + from_b[2] + from_c[2],
                from_a[3] + from_b[3] + from_c[3],
            )
            to_point = _point_backward(position, to_depth, to_jacobian, jacobian, point, intrinsics, limits)
            _pose_backward(to_point, means, g, view, to_means, to_view)
            first_column = _column_backward(to_a, rotation, scales, g, view, to_scales, to_view, 0)
            second_column = _column_backward(to_b, rotation, scales, g, view, to_scales, to_view, 1)
            third_column = _column_backward(to_c, rotation, scales, g, view, to_scales, to_view, 2)
            _quaternion_backward(
                first_column, second_column, third_column, quaternions, g, inverse, to_quaternions
            )


@compiled
def _sum_slots(gradients: Array, start: int, end: int, to_features: Array, g: int) -> tuple[Any, Any, float]:
    """Add up a splat's slots: its position, its conic and its opacity are returned, its features added."""
    x, y, a, b, c, opacity = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for slot in range(start, end):
        x += gradients[slot, 0]
        y += gradients[slot, 1]
        a += gradients[slot, 2]
        b += gradients[slot, 3]
        c += gradients[slot, 4]
        opacity += gradients[slot, 5]
        for k in range(to_features.shape[1]):
            to_features[g, k] += gradients[slot, GRADIENT_COLUMNS + k]
    return (x, y), (a, b, c), opacity


@compiled
def _ellipse_backward(
    to_conic: Any, sharp: Any, compensation: float, to_compensation: float
) -> tuple[float, float, float]:
    """Turn the conic's gradient into that of the screen covariance: xx, xy (counted once) and yy."""
    xx, xy, yy = sharp[0] + SCREEN_BLUR, sharp[1], sharp[2] + SCREEN_BLUR
    determinant = xx * yy - xy * xy
    a, b, c = yy / determinant, -xy / determinant, xx / determinant
    to_a, to_b, to_c = to_conic[0], 0.5 * to_conic[1], to_conic[2]
    # -X V X with X the conic and V its gradient
    first, second = a * to_a + b * to_b, a * to_b + b * to_c
    third, fourth = b * to_a + c * to_b, b * to_b + c * to_c
    to_xx = -(first * a + second * b)
    to_xy = -2.0 * (first * b + second * c)
    to_yy = -(third * b + fourth * c)
    if to_compensation != 0.0:
        factor = to_compensation * 0.5 / (compensation + 1e-6)
        lost = 1.0 - compensation * compensation
        to_xx += factor * (lost * a - SCREEN_BLUR / determinant)
        to_xy += factor * lost * b * 2.0
        to_yy += factor * (lost * c - SCREEN_BLUR / determinant)
    return to_xx, to_xy, to_yy


@compiled
def _axis_backward(to_covariance: Any, jacobian: Any, axis: Any) -> tuple[Any, Any]:
    """Gradients of one camera-space axis and its share of the Jacobian's."""
    x, y = jacobian[0] * axis[0] + jacobian[1] * axis[2], jacobian[2] * axis[1] + jacobian[3] * axis[2]
    to_x = 2.0 * to_covariance[0] * x + to_covariance[1] * y
    to_y = 2.0 * to_covariance[2] * y + to_covariance[1] * x
    to_axis = (jacobian[0] * to_x, jacobian[2] * to_y, jacobian[1] * to_x + jacobian[3] * to_y)
    return to_axis, (to_x * axis[0], to_x * axis[2], to_y * axis[1], to_y * axis[2])


@compiled
def _point_backward(
    position: Any, to_depth: float, to_jacobian: Any, jacobian: Any, point: Any, K: Array, limits: Any
) -> tuple[float, float, float]:
    """Gradient of the camera-space centre, from the screen position, the depth and the Jacobian."""
    fx, fy, near = K[0, 0], K[1, 1], 1.0 / point[2]
    slope_x, slope_y = point[0] * near, point[1] * near
    x, y = fx * near * position[0], fy * near * position[1]
    z = to_depth - slope_x * x - slope_y * y
    z -= near * (to_jacobian[0] * jacobian[0] + to_jacobian[1] * jacobian[1])
    z -= near * (to_jacobian[2] * jacobian[2] + to_jacobian[3] * jacobian[3])
    # Where the slope is held at the frustum's edge it has no gradient of its own.
    if limits[0] <= slope_x <= limits[1]:
        x -= fx * near * near * to_jacobian[1]
        z += fx * near * near * to_jacobian[1] * slope_x
    if limits[2] <= slope_y <= limits[3]:
        y -= fy * near * near * to_jacobian[3]
        z += fy * near * near * to_jacobian[3] * slope_y
    return x, y, z


@compiled
def _pose_backward(to_point: Any, means: Array, g: int, w2c: Array, to_means: Array, to_w2c: Array) -> None:
    """Carry point = W mean + t back."""
    for k in range(3):
        to_means[g, k] += w2c[0, k] * to_point[0] + w2c[1, k] * to_point[1] + w2c[2, k] * to_point[2]
    x, y, z = means[g, 0], means[g, 1], means[g, 2]
    for k, value in enumerate(to_point):
        to_w2c[k, 0] += value * x
        to_w2c[k, 1] += value * y
        to_w2c[k, 2] += value * z
        to_w2c[k, 3] += value


@compiled
def _column_backward(
    to_axis: Any, rotation: Any, scales: Array, g: int, w2c: Array, to_scales: Array, to_w2c: Array, k: int
) -> tuple[float, float, float]:
    """Carry axis = W r s back; returns the gradient of r, column ``k`` of the rotation."""
    size = np.float64(scales[g, k])
    x, y, z = rotation[k], rotation[3 + k], rotation[6 + k]
    to_x = w2c[0, 0] * to_axis[0] + w2c[1, 0] * to_axis[1] + w2c[2, 0] * to_axis[2]
    to_y = w2c[0, 1] * to_axis[0] + w2c[1, 1] * to_axis[1] + w2c[2, 1] * to_axis[2]
    to_z = w2c[0, 2] * to_axis[0] + w2c[1, 2] * to_axis[1] + w2c[2, 2] * to_axis[2]
    to_scales[g, k] += to_x * x + to_y * y + to_z * z
    for row, value in enumerate(to_axis):
        to_w2c[row, 0] += value * x * size
        to_w2c[row, 1] += value * y * size
        to_w2c[row, 2] += value * z * size
    return to_x * size, to_y * size, to_z * size


@compiled
def _quaternion_backward(
    a: Any, b: Any, c: Any, quaternions: Array, g: int, inverse: float, to_quaternions: Array
) -> None:
    """Carry the rotation's gradient, given by its columns, to a quaternion of any length."""
    w, x = quaternions[g, 0] * inverse, quaternions[g, 1] * inverse  # all zero where there is no direction
    y, z = quaternions[g, 2] * inverse, quaternions[g, 3] * inverse
    to_w = 2.0 * (x * (b[2] - c[1]) + y * (c[0] - a[2]) + z * (a[1] - b[0]))
    to_x = 2.0 * (y * (b[0] + a[1]) + z * (c[0] + a[2]) + w * (b[2] - c[1]) - 2.0 * x * (b[1] + c[2]))
    to_y = 2.0 * (x * (b[0] + a[1]) + z * (c[1] + b[2]) + w * (c[0] - a[2]) - 2.0 * y * (a[0] + c[2]))
    to_z = 2.0 * (x * (c[0] + a[2]) + y * (c[1] + b[2]) + w * (a[1] - b[0]) - 2.0 * z * (a[0] + b[1]))
    along = to_w * w + to_x * x + to_y * y + to_z * z
    to_quaternions[g, 0] += (to_w - along * w) * inverse
    to_quaternions[g, 1] += (to_x - along * x) * inverse
    to_quaternions[g, 2] += (to_y - along * y) * inverse
    to_quaternions[g, 3] += (to_z - along * z) * inverse
