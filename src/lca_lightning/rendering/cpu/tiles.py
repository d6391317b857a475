"""Kernels that sort splats by depth and hand each tile its list, nearest first."""

from __future__ import annotations

from typing import Any

import numpy as np

from lca_lightning.kernels.compilation import compiled

Array = Any
RADIX_BITS = 11


@compiled
def _sort_by_depth(depth_bits: Array, order: Array, kept: int) -> Array:
    """Stable radix sort of ``order[:kept]`` by ``depth_bits``; positive floats order as their bits."""
    buckets = 1 << RADIX_BITS
    source, target = order, np.empty_like(order)
    for shift in (0, RADIX_BITS, 2 * RADIX_BITS):
        start = np.zeros(buckets + 1, np.int64)
        for i in range(kept):
            start[((depth_bits[source[i]] >> shift) & (buckets - 1)) + 1] += 1
        for b in range(buckets):
            start[b + 1] += start[b]
        for i in range(kept):
            g = source[i]
            bucket = (depth_bits[g] >> shift) & (buckets - 1)
            target[start[bucket]] = g
            start[bucket] += 1
        source, target = target, source
    return source


@compiled
def fill_tiles(
    tiles_x: int,
    depth_bits: Array,
    rectangles: Array,
    counts: Array,
    slot_starts: Array,
    tile_starts: Array,
    splat_ids: Array,
    slots: Array,
    camera: int,
) -> None:
    """List each tile's splats of one camera, nearest first.

    Args:
        tiles_x: Tiles in a row.
        depth_bits: Depths reinterpreted as int32, ``(G,)``.
        rectangles, counts: From the projection, ``(G, 4)`` and ``(G,)``.
        slot_starts: First gradient slot of each Gaussian, ``(G,)`` int64.
        tile_starts: Output, first intersection of each tile of this camera and the end of the last,
            ``(tiles + 1,)`` int64; entry 0 holds the camera's first intersection on entry.
        splat_ids: Output rows of the splat table, for all cameras, ``(intersections,)`` int32.
        slots: Output gradient slots, ``(intersections,)`` int32.
        camera: Number of this camera.
    """
    gaussians = counts.shape[0]
    order = np.empty(gaussians, np.int32)
    kept = 0
    cursor = np.zeros(tile_starts.shape[0], np.int64)
    for g in range(gaussians):
        if counts[g] > 0:
            order[kept] = g
            kept += 1
            for y in range(rectangles[g, 2], rectangles[g, 3]):
                for x in range(rectangles[g, 0], rectangles[g, 1]):
                    cursor[y * tiles_x + x] += 1
    for tile in range(tile_starts.shape[0] - 1):
        tile_starts[tile + 1] = tile_starts[tile] + cursor[tile]
        cursor[tile] = tile_starts[tile]
    order = _sort_by_depth(depth_bits, order, kept)
    for i in range(kept):
        g = order[i]
        slot = slot_starts[g]
        for y in range(rectangles[g, 2], rectangles[g, 3]):
            for x in range(rectangles[g, 0], rectangles[g, 1]):
                tile = y * tiles_x + x
                splat_ids[cursor[tile]] = camera * gaussians + g
                slots[cursor[tile]] = slot
                cursor[tile] += 1
                slot += 1
