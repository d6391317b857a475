"""Kernels of the backward pass, first half: from pixels to the intersections of splats and tiles."""

from __future__ import annotations

from typing import Any

import numpy as np

from lca_lightning.kernels.compilation import compiled
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
    SPLAT_COLUMNS,
    TINY,
    ZERO,
    exp2,
    row_range,
)
from lca_lightning.rendering.renderer import TILE_SIZE

Array = Any

# Rows of the scratch buffer, 256 floats each; the channels' gradients follow.
BEHIND, WEIGHT, LAST, DOT = PIXELS, INDEX(2) * PIXELS, INDEX(3) * PIXELS, INDEX(4) * PIXELS
GRADIENTS = INDEX(5) * PIXELS
LANES = (INDEX(3) + GROUP) * SIDE  # sums kept by column, so that rows add up without crossing lanes


@compiled
def rasterize_backward(
    first_tile: int,
    last_tile: int,
    gaussians: int,
    width: int,
    height: int,
    tile_starts: Array,
    splat_ids: Array,
    slots: Array,
    splats: Array,
    features: Array,
    channels: int,
    background: Array,
    alpha: Array,
    depth: Array,
    transmittance: Array,
    last_index: Array,
    grad_color: Array,
    grad_alpha: Array,
    grad_depth: Array,
    gradients: Array,
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
    buffer = np.empty(GRADIENTS + padded * PIXELS, np.float32)
    sums = np.empty(LANES, np.float32)
    feature, splat = np.empty(padded, np.float32), np.empty(SPLAT_COLUMNS, np.float32)
    for tile in range(first_tile, last_tile):
        camera = tile // tiles
        x0 = (tile % tiles) % tiles_x * TILE_SIZE
        y0 = (tile % tiles) // tiles_x * TILE_SIZE
        rows = min(TILE_SIZE, height - y0)
        start = tile_starts[tile]
        if tile_starts[tile + 1] == start:
            continue
        used = _load_pixels(
            buffer,
            padded,
            camera,
            x0,
            y0,
            width,
            height,
            channels,
            background,
            alpha,
            depth,
            transmittance,
            last_index,
            grad_color,
            grad_alpha,
            grad_depth,
        )
        for n in range(start + used - 1, start - 1, -1):
            row = splat_ids[n]
            for k in range(SPLAT_COLUMNS):
                splat[k] = splats[row, k]
            center_x, center_y = splat[0] - FLOAT(x0) - HALF, splat[1] - FLOAT(y0) - HALF
            first, last = row_range(center_y, splat[8], rows)
            if first == last:
                continue
            g = row - camera * gaussians
            for k in range(padded):
                feature[k] = features[g, k]
            feature[channels] = splat[6]
            index = FLOAT(n - start)
            _blend_backward(buffer, sums, first, last, index, splat, center_x, center_y, feature, padded)
            _write_slot(buffer, sums, first, last, padded, splat, center_x, gradients, slots[n])


@compiled
def _load_pixels(
    buffer: Array,
    padded: int,
    camera: int,
    x0: int,
    y0: int,
    width: int,
    height: int,
    channels: int,
    background: Array,
    alpha: Array,
    depth: Array,
    transmittance: Array,
    last_index: Array,
    grad_color: Array,
    grad_alpha: Array,
    grad_depth: Array,
) -> int:
    """Fill the scratch buffer for a tile; return how many splats of its list any pixel used."""
    used = 0
    for i in range(GRADIENTS + padded * PIXELS):
        buffer[i] = ZERO
    for i in range(PIXELS):
        buffer[i] = ONE
        buffer[LAST + i] = -ONE
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
            used = max(used, int(last_index[camera, y, x]) + 1)
    return used


@compiled
def _blend_backward(
    buffer: Array,
    sums: Array,
    first: int,
    last: int,
    index: float,
    splat: Array,
    center_x: float,
    center_y: float,
    feature: Array,
    padded: int,
) -> None:
    """Undo one splat on rows ``first..last-1`` and add up its gradients lane by lane.

    With v the gradient of the exponent, the sums hold v, v dy and v dy^2 by column, then each channel's.
    """
    peak = splat[9]
    squared = -HALF * LOG2_E * splat[2]
    f0, f1, f2, f3 = feature[0], feature[1], feature[2], feature[3]
    start, stop = INDEX(first) * SIDE, INDEX(last) * SIDE
    if padded > GROUP:
        for p in range(start, stop):
            buffer[DOT + p] = ZERO
        for k in range(GROUP, padded):
            value, base = feature[k], GRADIENTS + k * PIXELS
            for p in range(start, stop):
                buffer[DOT + p] += buffer[base + p] * value
    for i in range(LANES):
        sums[i] = ZERO
    for r in range(first, last):
        dy = FLOAT(r) - center_y
        crossed = -LOG2_E * splat[3] * dy
        level = peak - HALF * LOG2_E * splat[4] * dy * dy
        row = INDEX(r) * SIDE
        for i in range(SIDE):
            p = row + i
            dx = FLOAT(i) - center_x
            exponent = max(level + dx * (crossed + squared * dx), EXPONENT_FLOOR)
            raw = exp2(exponent)
            opacity = min(raw, LIMIT)
            counts = opacity >= CUTOFF and exponent <= peak and index <= buffer[LAST + p]
            opacity = opacity if counts else ZERO
            rest = ONE / (ONE - opacity)
            before = buffer[p] * rest
            weight = opacity * before
            g0, g1 = buffer[GRADIENTS + p], buffer[GRADIENTS + PIXELS + p]
            g2, g3 = buffer[GRADIENTS + INDEX(2) * PIXELS + p], buffer[GRADIENTS + INDEX(3) * PIXELS + p]
            dot = buffer[DOT + p] + g0 * f0 + g1 * f1 + g2 * f2 + g3 * f3
            v = raw * (before * dot - buffer[BEHIND + p] * rest) if counts and raw <= LIMIT else ZERO
            buffer[p] = before
            buffer[BEHIND + p] += weight * dot
            buffer[WEIGHT + p] = weight
            sums[i] += v
            sums[SIDE + i] += v * dy
            sums[INDEX(2) * SIDE + i] += v * dy * dy
            sums[INDEX(3) * SIDE + i] += weight * g0
            sums[INDEX(4) * SIDE + i] += weight * g1
            sums[INDEX(5) * SIDE + i] += weight * g2
            sums[INDEX(6) * SIDE + i] += weight * g3


@compiled
def _write_slot(
    buffer: Array,
    sums: Array,
    first: int,
    last: int,
    padded: int,
    splat: Array,
    center_x: float,
    gradients: Array,
    slot: int,
) -> None:
    total, total_x, total_y, total_xx, total_xy, total_yy = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
    c0, c1, c2, c3 = ZERO, ZERO, ZERO, ZERO
    for i in range(SIDE):
        dx = FLOAT(i) - center_x
        v, v_y = sums[i], sums[SIDE + i]
        total += v
        total_x += v * dx
        total_xx += v * dx * dx
        total_y += v_y
        total_xy += v_y * dx
        total_yy += sums[INDEX(2) * SIDE + i]
        c0 += sums[INDEX(3) * SIDE + i]
        c1 += sums[INDEX(4) * SIDE + i]
        c2 += sums[INDEX(5) * SIDE + i]
        c3 += sums[INDEX(6) * SIDE + i]
    gradients[slot, 0] = splat[2] * total_x + splat[3] * total_y
    gradients[slot, 1] = splat[3] * total_x + splat[4] * total_y
    gradients[slot, 2], gradients[slot, 3], gradients[slot, 4] = -HALF * total_xx, -total_xy, -HALF * total_yy
    gradients[slot, 5] = total / splat[5]
    gradients[slot, 6], gradients[slot, 7], gradients[slot, 8], gradients[slot, 9] = c0, c1, c2, c3
    for k in range(GROUP, padded):
        total = ZERO
        base = GRADIENTS + k * PIXELS
        for p in range(INDEX(first) * SIDE, INDEX(last) * SIDE):
            total += buffer[WEIGHT + p] * buffer[base + p]
        gradients[slot, INDEX(GRADIENT_COLUMNS) + k] = total
