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


def to_jpeg(image_HW3: np.ndarray) -> bytes:
    """A picture as the bytes of a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(image_HW3).save(buffer, format="JPEG", quality=80)
    return buffer.getvalue()
