"""Small pictures for people: the person with the outlines of mask and rig."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

MASK_COLOR, RIG_COLOR = (255, 70, 60), (40, 220, 255)


def outline(covered_HW: np.ndarray) -> np.ndarray:
    """Pixels of a region that touch its outside, ``(H, W)`` bool."""
    padded = np.pad(covered_HW, 1, mode="edge")
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return covered_HW & ~inner


def shrink(image_HW3: np.ndarray, longest: int) -> np.ndarray:
    """Picture whose longer side has at most so many pixels, by area averages."""
    scale = min(1.0, longest / max(image_HW3.shape[:2]))
    size = max(1, round(image_HW3.shape[1] * scale)), max(1, round(image_HW3.shape[0] * scale))
    return np.asarray(Image.fromarray(image_HW3).resize(size, Image.Resampling.BOX))


def draw_outlines(
    image_HW3: np.ndarray, mask_HW: np.ndarray | None = None, rig_HW: np.ndarray | None = None
) -> np.ndarray:
    """Draw the outlines of a mask (red) and of the rig (blue) over a picture.

    Args:
        image_HW3: uint8 sRGB.
        mask_HW: bool, of the picture's size, or None.
        rig_HW: The same for the rig's silhouette.

    Returns:
        A new picture.
    """
    drawn = image_HW3.copy()
    for region, color in ((mask_HW, MASK_COLOR), (rig_HW, RIG_COLOR)):
        if region is not None:
            drawn[outline(region)] = color
    return drawn


def draw_closely(
    image_HW3: np.ndarray, mask_HW: np.ndarray | None, rig_HW: np.ndarray | None, longest: int
) -> np.ndarray:
    """Cut out where mask and rig are, with a margin, and draw their outlines.

    Args:
        image_HW3: uint8 sRGB.
        mask_HW: bool, of the picture's size, or None.
        rig_HW: The same for the rig's silhouette.
        longest: Most pixels of the longer side of the result.

    Returns:
        The picture; the whole one where neither is seen.
    """
    regions = [region for region in (mask_HW, rig_HW) if region is not None]
    cut = _box_with_margin(np.logical_or.reduce(regions)) if regions else (slice(None), slice(None))
    small = shrink(image_HW3[cut], longest)
    height, width = small.shape[:2]
    drawn = [None if region is None else _resize(region[cut], width, height) for region in (mask_HW, rig_HW)]
    return draw_outlines(small, *drawn)


def _box_with_margin(region_HW: np.ndarray) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(region_HW.any(1)), np.flatnonzero(region_HW.any(0))
    if not len(rows):
        return slice(None), slice(None)
    margin = max(4, round(0.12 * max(rows[-1] - rows[0], columns[-1] - columns[0])))
    return (
        slice(max(0, int(rows[0]) - margin), int(rows[-1]) + 1 + margin),
        slice(max(0, int(columns[0]) - margin), int(columns[-1]) + 1 + margin),
    )


def _resize(region_HW: np.ndarray, width: int, height: int) -> np.ndarray:
    grey = Image.fromarray(region_HW.astype(np.uint8) * 255)
    return np.asarray(grey.resize((width, height), Image.Resampling.BOX)) >= 128


def to_jpeg(image_HW3: np.ndarray) -> bytes:
    """A picture as the bytes of a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(image_HW3).save(buffer, format="JPEG", quality=80)
    return buffer.getvalue()
