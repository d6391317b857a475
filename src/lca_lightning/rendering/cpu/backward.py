"""Kernels of the backward pass: pixels to splats, splats to Gaussians and cameras."""

from __future__ import annotations

from typing import Any

import numpy as np

from lca_lightning.rendering.cpu.compilation import compiled
from lca_lightning.rendering.cpu.kernels import (
    CUTOFF,
    EXPONENT_FLOOR,
    FLOAT,
    GRADIENT_COLUMNS,
    GROUP,
    HALF,
    INDEX,
    LIMIT,
    LOG2_E,
    ONE,
    PIXELS,
    SIDE,
    TINY,
    ZERO,
    _exp2,
    _row_range,
)
from lca_lightning.rendering.cpu.projection import _camera_space, _rotation, _screen_axes, _slope_limits
from lca_lightning.rendering.renderer import SCREEN_BLUR, TILE_SIZE

Array = Any

# Rows of the scratch buffer, 256 floats each; the channels' gradients follow, then sums of 16 lanes each.
BEHIND, WEIGHT, LAST, DOT = PIXELS, INDEX(2) * PIXELS, INDEX(3) * PIXELS, INDEX(4) * PIXELS
GRADIENTS = INDEX(5) * PIXELS


@compiled
def rasterize_backward(
    first_tile: int, last_tile: int, gaussians: int, width: int, height: int, tile_starts: Array,
    splat_ids: Array, slots: Array, splats: Array, features: Array, channels: int, background: Array,
    alpha: Array, depth: Array, transmittance: Array, last_index: Array, grad_color: Array, grad_alpha: Array,
    grad_depth: Array, gradients: Array,
) -> None:
    """Write the gradient of every intersection of tiles ``first_tile..last_tile-1``.

    Each intersection has its own slot, so no two tiles ever write to the same place and nothing is atomic.

    Args:
        slots: Gradient slot of each intersection, ``(intersections,)``.
        grad_color, grad_alpha, grad_depth: Gradients of the outputs of ``rasterize``.
        gradients: Output, zeros on entry, ``(intersections, GRADIENT_COLUMNS + F)``.
        The others are the arguments and outputs of ``rasterize``.
    """
    tiles_x = (width + TILE_SIZE - 1) // TILE_SIZE
    tiles = tiles_x * ((height + TILE_SIZE - 1) // TILE_SIZE)
    padded = INDEX(features.shape[1])
    sums = GRADIENTS + padded * PIXELS
    buffer = np.empty(sums + (INDEX(3) + padded) * SIDE, np.float32)
    feature = np.empty(padded, np.float32)
    for tile in range(first_tile, last_tile):
        camera = tile // tiles
        x0 = (tile % tiles) % tiles_x * TILE_SIZE
        y0 = (tile % tiles) // tiles_x * TILE_SIZE
        rows = min(TILE_SIZE, height - y0)
        start = tile_starts[tile]
        if tile_starts[tile + 1] == start:
            continue
        used = _load_pixels(
            buffer, padded, camera, x0, y0, width, height, channels, background, alpha, depth, transmittance,
            last_index, grad_color, grad_alpha, grad_depth,
        )
        for n in range(start + used - 1, start - 1, -1):
            row = splat_ids[n]
            splat = splats[row]
            center_x, center_y = splat[0] - FLOAT(x0) - HALF, splat[1] - FLOAT(y0) - HALF
            first, last = _row_range(center_y, splat[8], rows)
            if first == last:
                continue
            g = row - camera * gaussians
            for k in range(padded):
                feature[k] = features[g, k]
            feature[channels] = splat[6]
            _blend_backward(buffer, first, last, FLOAT(n - start), splat, center_x, center_y, feature, padded, sums)
            _write_slot(buffer, sums, padded, splat, center_x, gradients[slots[n]])


@compiled
def _load_pixels(
    buffer: Array, padded: int, camera: int, x0: int, y0: int, width: int, height: int, channels: int,
    background: Array, alpha: Array, depth: Array, transmittance: Array, last_index: Array, grad_color: Array,
    grad_alpha: Array, grad_depth: Array,
) -> int:
    """Fill the scratch buffer for a tile; return how many splats of its list any pixel used."""
    used = 0
    for p in range(GRADIENTS + padded * PIXELS):
        buffer[p] = ZERO
    for p in range(PIXELS):
        buffer[p] = ONE
        buffer[LAST + p] = -ONE
    for r in range(min(TILE_SIZE, height - y0)):
        for c in range(min(TILE_SIZE, width - x0)):
            y, x = y0 + r, x0 + c
            p = INDEX(r) * SIDE + INDEX(c)
            left = transmittance[camera, y, x]
            covered = max(alpha[camera, y, x], TINY)
            to_depth = grad_depth[camera, y, x] / covered
            to_alpha = grad_alpha[camera, y, x] - to_depth * depth[camera, y, x]
            behind = -to_alpha
            for k in range(channels):
                value = grad_color[camera, k, y, x]
                buffer[GRADIENTS + INDEX(k) * PIXELS + p] = value
                behind += value * background[camera, k]
            buffer[GRADIENTS + INDEX(channels) * PIXELS + p] = to_depth
            buffer[p] = left
            buffer[BEHIND + p] = left * behind
            buffer[LAST + p] = FLOAT(last_index[camera, y, x])
            used = max(used, last_index[camera, y, x] + 1)
    return used


@compiled
def _blend_backward(
    buffer: Array, first: int, last: int, index: float, splat: Array, center_x: float, center_y: float,
    feature: Array, padded: int, sums: int,
) -> None:
    """Undo one splat on rows ``first..last-1`` and add up its gradients lane by lane.

    With v the gradient of the exponent, the sums hold v, v dy and v dy^2 by column, then each channel's.
    """
    peak = splat[9]
    squared = -HALF * LOG2_E * splat[2]
    for i in range((INDEX(3) + padded) * SIDE):
        buffer[sums + i] = ZERO
    for r in range(first, last):
        dy = FLOAT(r) - center_y
        crossed = -LOG2_E * splat[3] * dy
        level = peak - HALF * LOG2_E * splat[4] * dy * dy
        row = INDEX(r) * SIDE
        for i in range(SIDE):
            buffer[DOT + row + i] = ZERO
        for k in range(INDEX(0), padded, GROUP):
            f0, f1, f2, f3 = feature[k], feature[k + INDEX(1)], feature[k + INDEX(2)], feature[k + INDEX(3)]
            base = GRADIENTS + k * PIXELS + row
            for i in range(SIDE):
                near = buffer[base + i] * f0 + buffer[base + PIXELS + i] * f1
                far = buffer[base + INDEX(2) * PIXELS + i] * f2 + buffer[base + INDEX(3) * PIXELS + i] * f3
                buffer[DOT + row + i] += near + far
        for i in range(SIDE):
            p = row + i
            dx = FLOAT(i) - center_x
            exponent = max(level + dx * (crossed + squared * dx), EXPONENT_FLOOR)
            raw = _exp2(exponent)
            opacity = min(raw, LIMIT)
            counts = opacity >= CUTOFF and exponent <= peak and index <= buffer[LAST + p]
            opacity = opacity if counts else ZERO
            rest = ONE / (ONE - opacity)
            before = buffer[p] * rest
            weight = opacity * before
            to_opacity = before * buffer[DOT + p] - buffer[BEHIND + p] * rest
            v = raw * to_opacity if counts and raw <= LIMIT else ZERO
            buffer[p] = before
            buffer[BEHIND + p] += weight * buffer[DOT + p]
            buffer[WEIGHT + p] = weight
            buffer[sums + i] += v
            buffer[sums + SIDE + i] += v * dy
            buffer[sums + INDEX(2) * SIDE + i] += v * dy * dy
        for k in range(INDEX(0), padded, GROUP):
            base = GRADIENTS + k * PIXELS + row
            target = sums + (INDEX(3) + k) * SIDE
            for i in range(SIDE):
                weight = buffer[WEIGHT + row + i]
                buffer[target + i] += weight * buffer[base + i]
                buffer[target + SIDE + i] += weight * buffer[base + PIXELS + i]
                buffer[target + INDEX(2) * SIDE + i] += weight * buffer[base + INDEX(2) * PIXELS + i]
                buffer[target + INDEX(3) * SIDE + i] += weight * buffer[base + INDEX(3) * PIXELS + i]


@compiled
def _write_slot(buffer: Array, sums: int, padded: int, splat: Array, center_x: float, slot: Array) -> None:
    total, total_x, total_y, total_xx, total_xy, total_yy = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
    for i in range(SIDE):
        dx = FLOAT(i) - center_x
        v, v_y = buffer[sums + i], buffer[sums + SIDE + i]
        total += v
        total_x += v * dx
        total_xx += v * dx * dx
        total_y += v_y
        total_xy += v_y * dx
        total_yy += buffer[sums + INDEX(2) * SIDE + i]
    slot[0] = splat[2] * total_x + splat[3] * total_y
    slot[1] = splat[3] * total_x + splat[4] * total_y
    slot[2], slot[3], slot[4] = -HALF * total_xx, -total_xy, -HALF * total_yy
    slot[5] = total / splat[5]
    for k in range(padded):
        total = ZERO
        for i in range(SIDE):
            total += buffer[sums + (INDEX(3) + k) * SIDE + i]
        slot[INDEX(GRADIENT_COLUMNS) + k] = total


@compiled
def project_backward(
    first: int, last: int, width: int, height: int, antialiased: bool, channels: int, means: Array,
    quaternions: Array, scales: Array, opacities: Array, w2c: Array, K: Array, splats: Array, counts: Array,
    slot_starts: Array, gradients: Array, to_means: Array, to_quaternions: Array, to_scales: Array,
    to_opacities: Array, to_features: Array, to_w2c: Array,
) -> None:
    """Add up the slots of Gaussians ``first..last-1`` over all cameras and carry them back to the inputs.

    Args:
        w2c, K: All cameras, float64, ``(T, 4, 4)`` and ``(T, 3, 3)``.
        splats, counts, slot_starts: Of all cameras, ``(T, G, ...)``.
        gradients: From ``rasterize_backward``.
        to_means, to_quaternions, to_scales, to_opacities, to_features: Outputs, zeros on entry, ``(G, ...)``.
        to_w2c: Output, this chunk's share, zeros on entry, float64 ``(T, 4, 4)``.
    """
    columns = gradients.shape[1]
    total = np.empty(columns)
    rotation, N, P = np.empty((3, 3)), np.empty((3, 3)), np.empty((2, 3))
    to_N, to_point, to_point_mean = np.empty((3, 3)), np.empty(3), np.empty(3)
    point, jacobian, to_M = np.empty(3), np.empty(4), np.empty((3, 3))
    for g in range(first, last):
        for camera in range(w2c.shape[0]):
            count = counts[camera, g]
            if count == 0:
                continue
            for k in range(columns):
                total[k] = 0.0
            for slot in range(slot_starts[camera, g], slot_starts[camera, g] + count):
                for k in range(columns):
                    total[k] += gradients[slot, k]
            for k in range(columns - GRADIENT_COLUMNS):
                to_features[g, k] += total[GRADIENT_COLUMNS + k]
            view = w2c[camera]
            inverse = _rotation(quaternions[g], rotation)
            _camera_space(means[g], view, point)
            _screen_axes(point, scales[g], rotation, view, K[camera], width, height, jacobian, N, P)
            compensation = np.float64(splats[camera, g, 10])
            to_opacities[g] += total[5] * compensation
            to_compensation = total[5] * np.float64(opacities[g])
            _ellipse_backward(total, antialiased, compensation, to_compensation, P)
            _axes_backward(total, point, K[camera], width, height, jacobian, N, P, to_N, to_point)
            to_point[2] += total[GRADIENT_COLUMNS + channels]
            _world_backward(
                g, to_N, to_point, to_M, rotation, inverse, means, quaternions, scales, view, to_means,
                to_quaternions, to_scales, to_w2c[camera],
            )


@compiled
def _ellipse_backward(
    total: Array, antialiased: bool, compensation: float, to_compensation: float, P: Array
) -> None:
    """Turn the conic's gradient in ``total[2:5]`` into that of the covariance's xx, xy (counted once) and yy."""
    xx = P[0, 0] * P[0, 0] + P[0, 1] * P[0, 1] + P[0, 2] * P[0, 2] + SCREEN_BLUR
    xy = P[0, 0] * P[1, 0] + P[0, 1] * P[1, 1] + P[0, 2] * P[1, 2]
    yy = P[1, 0] * P[1, 0] + P[1, 1] * P[1, 1] + P[1, 2] * P[1, 2] + SCREEN_BLUR
    determinant = xx * yy - xy * xy
    a, b, c = yy / determinant, -xy / determinant, xx / determinant
    to_a, to_b, to_c = total[2], 0.5 * total[3], total[4]
    # -X V X with X the conic and V its gradient
    first, second = a * to_a + b * to_b, a * to_b + b * to_c
    third, fourth = b * to_a + c * to_b, b * to_b + c * to_c
    total[2] = -(first * a + second * b)
    total[3] = -2.0 * (first * b + second * c)
    total[4] = -(third * b + fourth * c)
    if antialiased:
        factor = to_compensation * 0.5 / (compensation + 1e-6)
        lost = 1.0 - compensation * compensation
        total[2] += factor * (lost * a - SCREEN_BLUR / determinant)
        total[3] += factor * lost * b * 2.0
        total[4] += factor * (lost * c - SCREEN_BLUR / determinant)


@compiled
def _axes_backward(
    total: Array, point: Array, K: Array, width: int, height: int, jacobian: Array, N: Array, P: Array,
    to_N: Array, to_point: Array,
) -> None:
    """Carry the gradients of the screen position and covariance to the camera-space axes and centre."""
    to_j0, to_j1, to_j2, to_j3 = 0.0, 0.0, 0.0, 0.0
    for k in range(3):
        to_first = 2.0 * total[2] * P[0, k] + total[3] * P[1, k]
        to_second = 2.0 * total[4] * P[1, k] + total[3] * P[0, k]
        to_j0 += to_first * N[0, k]
        to_j1 += to_first * N[2, k]
        to_j2 += to_second * N[1, k]
        to_j3 += to_second * N[2, k]
        to_N[0, k] = jacobian[0] * to_first
        to_N[1, k] = jacobian[2] * to_second
        to_N[2, k] = jacobian[1] * to_first + jacobian[3] * to_second
    fx, fy = K[0, 0], K[1, 1]
    near = 1.0 / point[2]
    slope_x, slope_y = point[0] * near, point[1] * near
    to_point[0], to_point[1] = fx * near * total[0], fy * near * total[1]
    to_point[2] = -slope_x * to_point[0] - slope_y * to_point[1]
    to_point[2] -= near * (to_j0 * jacobian[0] + to_j1 * jacobian[1] + to_j2 * jacobian[2] + to_j3 * jacobian[3])
    # Where the slope is held at the frustum's edge it has no gradient of its own.
    low_x, high_x, low_y, high_y = _slope_limits(K, width, height)
    if low_x <= slope_x <= high_x:
        to_point[0] -= fx * near * near * to_j1
        to_point[2] += fx * near * near * to_j1 * slope_x
    if low_y <= slope_y <= high_y:
        to_point[1] -= fy * near * near * to_j3
        to_point[2] += fy * near * near * to_j3 * slope_y


@compiled
def _world_backward(
    g: int, to_N: Array, to_point: Array, to_M: Array, rotation: Array, inverse: float, means: Array,
    quaternions: Array, scales: Array, w2c: Array, to_means: Array, to_quaternions: Array, to_scales: Array,
    to_w2c: Array,
) -> None:
    """Carry camera-space gradients to the Gaussian and to the camera (N = W R S, point = W mean + t)."""
    for k in range(3):
        to_means[g, k] += w2c[0, k] * to_point[0] + w2c[1, k] * to_point[1] + w2c[2, k] * to_point[2]
        to_w2c[k, 3] += to_point[k]
        for j in range(3):
            axes = (
                to_N[k, 0] * rotation[j, 0] * scales[g, 0]
                + to_N[k, 1] * rotation[j, 1] * scales[g, 1]
                + to_N[k, 2] * rotation[j, 2] * scales[g, 2]
            )
            to_w2c[k, j] += to_point[k] * means[g, j] + axes
            to_M[j, k] = w2c[0, j] * to_N[0, k] + w2c[1, j] * to_N[1, k] + w2c[2, j] * to_N[2, k]
    for k in range(3):
        to_scales[g, k] += to_M[0, k] * rotation[0, k] + to_M[1, k] * rotation[1, k] + to_M[2, k] * rotation[2, k]
        for j in range(3):
            to_M[j, k] *= scales[g, k]
    if inverse == 0.0:
        return
    w, x = quaternions[g, 0] * inverse, quaternions[g, 1] * inverse
    y, z = quaternions[g, 2] * inverse, quaternions[g, 3] * inverse
    R = to_M
    to_w = 2.0 * (x * (R[2, 1] - R[1, 2]) + y * (R[0, 2] - R[2, 0]) + z * (R[1, 0] - R[0, 1]))
    to_x = 2.0 * (
        y * (R[0, 1] + R[1, 0]) + z * (R[0, 2] + R[2, 0]) + w * (R[2, 1] - R[1, 2]) - 2.0 * x * (R[1, 1] + R[2, 2])
    )
    to_y = 2.0 * (
        x * (R[0, 1] + R[1, 0]) + z * (R[1, 2] + R[2, 1]) + w * (R[0, 2] - R[2, 0]) - 2.0 * y * (R[0, 0] + R[2, 2])
    )
    to_z = 2.0 * (
        x * (R[0, 2] + R[2, 0]) + y * (R[1, 2] + R[2, 1]) + w * (R[1, 0] - R[0, 1]) - 2.0 * z * (R[0, 0] + R[1, 1])
    )
    along = to_w * w + to_x * x + to_y * y + to_z * z
    to_quaternions[g, 0] += (to_w - along * w) * inverse
    to_quaternions[g, 1] += (to_x - along * x) * inverse
    to_quaternions[g, 2] += (to_y - along * y) * inverse
    to_quaternions[g, 3] += (to_z - along * z) * inverse
