"""What the writer measures in every frame: where the person is, and how sharp."""

from __future__ import annotations

import numpy as np
from PIL import Image

_HEIGHT = 256  # rows of the picture of the person in which sharpness is measured


def mask_box(mask_HW: np.ndarray) -> np.ndarray:
    """Bounding box of the mask where it is at least half.

    Args:
        mask_HW: uint8, 255 on the person.

    Returns:
        ``(4,)`` float32 left, top, right, bottom in pixels (right and bottom are outer edges); NaN when
        the mask is empty.
    """
    person = mask_HW >= 128
    rows, columns = np.flatnonzero(person.any(1)), np.flatnonzero(person.any(0))
    if not len(rows):
        return np.full(4, np.nan, np.float32)
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)


def person_sharpness(image_HW3: np.ndarray, mask_HW: np.ndarray, box: np.ndarray) -> float:
    """How sharp the person is: variance of the Laplacian of the grey picture inside the mask.

    The person is first brought to one height, so that frames near and far compare.

    Args:
        image_HW3: uint8 sRGB.
        mask_HW: uint8, 255 on the person.
        box: ``(4,)`` left, top, right, bottom of the mask in pixels; NaN where nobody is seen.

    Returns:
        The variance in squared levels of 255; NaN where nobody is seen.
    """
    if not np.isfinite(box).all():
        return float("nan")
    left, top, right, bottom = (int(edge) for edge in box)
    size = (max(3, round((right - left) * _HEIGHT / (bottom - top))), _HEIGHT)
    person = Image.fromarray(image_HW3[top:bottom, left:right]).convert("L").resize(size)
    inside = np.asarray(Image.fromarray(mask_HW[top:bottom, left:right]).resize(size))[1:-1, 1:-1] >= 128
    grey = np.asarray(person, np.float64)  # the same digits on every machine
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]
    return round(float(laplacian[inside].var()), 3) if inside.any() else float("nan")
