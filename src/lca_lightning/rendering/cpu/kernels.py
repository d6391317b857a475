"""Kernels that composite a tile's splats and carry pixel gradients back to them.

A kernel walks a tile's list and, for each splat, only the rows it reaches. Rows are 16 pixels, one or two
vector registers; all per-pixel state sits in one scratch buffer at constant offsets, so that the compiler can
prove that they do not overlap and vectorises without run-time checks. Indices are unsigned because numba
tests signed ones for negative values, which would block vectorisation as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lca_lightning.kernels.compilation import compiled
from lca_lightning.rendering.renderer import ALPHA_CUTOFF, ALPHA_LIMIT, TILE_SIZE, TRANSMITTANCE_STOP

Array = Any
FLOAT, INDEX = np.float32, np.uint64
SIDE = INDEX(TILE_SIZE)
PIXELS = INDEX(TILE_SIZE * TILE_SIZE)
ZERO, HALF, ONE, TWO = FLOAT(0), FLOAT(0.5), FLOAT(1), FLOAT(2)
CUTOFF, LIMIT, STOP = FLOAT(ALPHA_CUTOFF), FLOAT(ALPHA_LIMIT), FLOAT(TRANSMITTANCE_STOP)
TINY = FLOAT(1e-10)
LOG2_E = FLOAT(1.4426950408889634)
EXPONENT_FLOOR = FLOAT(-126)
# Chebyshev fit of 2^x on [-1/2, 1/2], relative error 8e-8.
P0, P1, P2 = FLOAT(1.00000007), FLOAT(0.69314695), FLOAT(0.24022122)
P3, P4, P5 = FLOAT(0.05550743), FLOAT(0.00967546), FLOAT(0.0013267)

CHANNELS_AT_ONCE = 4  # handled inside the main loop; further ones follow in loops of their own
GROUP = INDEX(CHANNELS_AT_ONCE)
CHECK_EVERY = 16  # splats between two looks at whether a tile is finished

# Rows of the scratch buffer, 256 floats each.
TRANSMITTANCE, ALIVE, WEIGHT, LAST, ACCUMULATED = (
    INDEX(0),
    PIXELS,
    INDEX(2) * PIXELS,
    INDEX(3) * PIXELS,
    INDEX(4) * PIXELS,
)
# Columns of the splat table, one row per (camera, Gaussian): x, y, conic a b c, opacity, depth, half width,
# half height, log2 opacity, compensation, unused.
SPLAT_COLUMNS = 12
GRADIENT_COLUMNS = 6  # x, y, conic a b c, opacity; then the channels


@compiled
def exp2(t: float) -> float:
    """Two to the power of ``t`` within 1e-7 of its value, for ``t`` from -126 to 127."""
    whole = np.rint(t)
    x = t - whole
    value = ((((P5 * x + P4) * x + P3) * x + P2) * x + P1) * x + P0
    return value * np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)


@compiled
def row_range(center: float, half_height: float, rows: int) -> tuple[int, int]:
    """Rows of a tile within reach of a splat; ``center`` is relative to the first row's centre."""
    first = max(np.ceil(center - half_height), ZERO)
    last = min(np.floor(center + half_height), FLOAT(rows - 1))
    if not first <= last:
        return 0, 0
    return int(first), int(last) + 1


@compiled
def rasterize(
    first_tile: int,
    last_tile: int,
    gaussians: int,
    width: int,
    height: int,
    tile_starts: Array,
    splat_ids: Array,
    splats: Array,
    features: Array,
    channels: int,
    background: Array,
    color: Array,
    alpha: Array,
    depth: Array,
    transmittance: Array,
    last_index: Array,
) -> None:
    """Composite tiles ``first_tile..last_tile-1``, counted over all cameras.

    Args:
        gaussians: Rows of ``splats`` per camera.
        tile_starts: ``(T * tiles + 1,)`` int64.
        splat_ids: Rows of ``splats`` in tile order, nearest first.
        splats: ``(T * G, SPLAT_COLUMNS)``.
        features: Colours padded with at least one zero column to a multiple of four, ``(G, F)``.
        channels: Number of colour channels C.
        background: ``(T, C)``.
        color, alpha, depth: Outputs ``(T, C, H, W)``, ``(T, H, W)``, ``(T, H, W)``.
        transmittance: Output, what is left of the light from behind, ``(T, H, W)``.
        last_index: Output, place in the tile's list of the last splat that counted, or -1, ``(T, H, W)``.
    """
    tiles_x = (width + TILE_SIZE - 1) // TILE_SIZE
    tiles = tiles_x * ((height + TILE_SIZE - 1) // TILE_SIZE)
    padded = INDEX(features.shape[1])
    buffer = np.empty((INDEX(4) + padded) * PIXELS, np.float32)
    feature, splat = np.empty(padded, np.float32), np.empty(SPLAT_COLUMNS, np.float32)
    for tile in range(first_tile, last_tile):
        camera = tile // tiles
        x0 = (tile % tiles) % tiles_x * TILE_SIZE
        y0 = (tile % tiles) // tiles_x * TILE_SIZE
        rows, columns = min(TILE_SIZE, height - y0), min(TILE_SIZE, width - x0)
        start, end = tile_starts[tile], tile_starts[tile + 1]
        _clear(buffer, padded, rows, columns)
        for n in range(start, end):
            if (n - start) % CHECK_EVERY == CHECK_EVERY - 1 and not _any_alive(buffer):
                break
            row = splat_ids[n]
            for k in range(SPLAT_COLUMNS):  # a slice would count references, atomically, on every splat
                splat[k] = splats[row, k]
            center_y = splat[1] - FLOAT(y0) - HALF
            first, last = row_range(center_y, splat[8], rows)
            if first == last:
                continue
            g = row - camera * gaussians
            for k in range(padded):
                feature[k] = features[g, k]
            feature[channels] = splat[6]
            _blend(
                buffer,
                first,
                last,
                FLOAT(n - start),
                splat,
                splat[0] - FLOAT(x0) - HALF,
                center_y,
                feature,
                padded,
            )
        for r in range(rows):
            for c in range(columns):
                p = INDEX(r) * SIDE + INDEX(c)
                left = buffer[p]
                covered = ONE - left
                y, x = y0 + r, x0 + c
                transmittance[camera, y, x] = left
                alpha[camera, y, x] = covered
                last_index[camera, y, x] = np.int32(buffer[LAST + p])
                depth[camera, y, x] = buffer[ACCUMULATED + INDEX(channels) * PIXELS + p] / max(covered, TINY)
        for k in range(channels):
            behind = background[camera, k]
            for r in range(rows):
                for c in range(columns):
                    p = INDEX(r) * SIDE + INDEX(c)
                    color[camera, k, y0 + r, x0 + c] = (
                        buffer[ACCUMULATED + INDEX(k) * PIXELS + p] + buffer[p] * behind
                    )


@compiled
def _clear(buffer: Array, padded: int, rows: int, columns: int) -> None:
    for p in range(PIXELS):
        buffer[p] = ONE
        buffer[LAST + p] = -ONE
        buffer[ALIVE + p] = ZERO
    for r in range(rows):
        for c in range(columns):
            buffer[ALIVE + INDEX(r) * SIDE + INDEX(c)] = ONE
    for p in range(padded * PIXELS):
        buffer[ACCUMULATED + p] = ZERO


@compiled
def _any_alive(buffer: Array) -> bool:
    total = ZERO
    for p in range(PIXELS):
        total += buffer[ALIVE + p]
    return bool(total > ZERO)


@compiled
def _blend(
    buffer: Array,
    first: int,
    last: int,
    index: float,
    splat: Array,
    center_x: float,
    center_y: float,
    feature: Array,
    padded: int,
) -> None:
    """Composite one splat over rows ``first..last-1`` of a tile."""
    peak = splat[9]
    squared = -HALF * LOG2_E * splat[2]
    f0, f1, f2, f3 = feature[0], feature[1], feature[2], feature[3]
    for r in range(first, last):
        dy = FLOAT(r) - center_y
        crossed = -LOG2_E * splat[3] * dy
        level = peak - HALF * LOG2_E * splat[4] * dy * dy
        row = INDEX(r) * SIDE
        for i in range(SIDE):
            p = row + i
            dx = FLOAT(i) - center_x
            exponent = max(level + dx * (crossed + squared * dx), EXPONENT_FLOOR)
            opacity = min(exp2(exponent), LIMIT)
            counts = opacity >= CUTOFF and exponent <= peak
            opacity = opacity * buffer[ALIVE + p] if counts else ZERO
            before = buffer[p]
            after = before * (ONE - opacity)
            stopped = after <= STOP
            weight = ZERO if stopped else opacity * before
            buffer[p] = before if stopped else after
            buffer[ALIVE + p] = ZERO if stopped else buffer[ALIVE + p]
            buffer[WEIGHT + p] = weight
            buffer[LAST + p] = index if weight > ZERO else buffer[LAST + p]
            buffer[ACCUMULATED + p] += weight * f0
            buffer[ACCUMULATED + PIXELS + p] += weight * f1
            buffer[ACCUMULATED + INDEX(2) * PIXELS + p] += weight * f2
            buffer[ACCUMULATED + INDEX(3) * PIXELS + p] += weight * f3
    for k in range(GROUP, padded):
        value = feature[k]
        base = ACCUMULATED + k * PIXELS
        for p in range(INDEX(first) * SIDE, INDEX(last) * SIDE):
            buffer[base + p] += buffer[WEIGHT + p] * value
