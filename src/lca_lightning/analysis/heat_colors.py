"""Heat maps over photos: colours, blending and marks."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional

# Even steps from black over purple and orange to pale yellow, and from blue over white to red.
_HEAT = np.array(
    [(0, 0, 4), (40, 11, 84), (101, 21, 110), (159, 42, 99), (212, 72, 66), (245, 125, 21), (250, 193, 39)]
    + [(252, 255, 164)],
    float,
)
_CHANGE = np.array([(33, 80, 190), (120, 165, 230), (245, 245, 245), (235, 140, 110), (180, 20, 30)], float)
_PHOTO = 0.55  # brightness of the grey photo under the heat
MARK_SEEN, MARK_HIDDEN = (80, 255, 140), (150, 190, 255)


def upsample(maps_VRC: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Smooth maps of patches to pixels, ``(V, H, W)``.

    Args:
        maps_VRC: One value per patch; each stands for the patch's middle.
        size: Height and width in pixels.
    """
    grown = functional.interpolate(
        maps_VRC[:, None].double(), size=size, mode="bilinear", align_corners=False
    )
    return np.asarray(grown[:, 0].numpy())


def heat_picture(photo_HW3: np.ndarray, heat_HW: np.ndarray) -> np.ndarray:
    """A photo in dark grey under a map with values in [0, 1], uint8."""
    heat_HW1 = np.clip(heat_HW, 0, 1)[..., None]
    return _blend(photo_HW3, _colors(_HEAT, heat_HW1[..., 0]), np.minimum(1.0, 0.1 + 1.6 * heat_HW1))


def change_picture(photo_HW3: np.ndarray, change_HW: np.ndarray) -> np.ndarray:
    """A photo in dark grey under a map with values in [-1, 1]: blue is less, red is more, uint8."""
    change_HW = np.clip(change_HW, -1, 1)
    strength_HW1 = np.minimum(1.0, 1.6 * np.abs(change_HW))[..., None]
    return _blend(photo_HW3, _colors(_CHANGE, 0.5 + 0.5 * change_HW), strength_HW1)


def mark(picture: Image.Image, place: tuple[float, float], visible: bool) -> None:
    """Draw a ring where the token's point of the body is: green where it is seen, pale blue where hidden."""
    x, y = place[0] * picture.width, place[1] * picture.height
    draw = ImageDraw.Draw(picture)
    for radius, color in ((7, (0, 0, 0)), (6, MARK_SEEN if visible else MARK_HIDDEN)):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=color, width=2)


def color_bar(width: int, height: int, change: bool = False) -> Image.Image:
    """The colours from least to most, left to right."""
    values_1W = np.linspace(0, 1, width)[None].repeat(height, 0)
    return Image.fromarray(_colors(_CHANGE if change else _HEAT, values_1W).round().astype(np.uint8))


def _colors(table_N3: np.ndarray, values_HW: np.ndarray) -> np.ndarray:
    places = np.linspace(0, 1, len(table_N3))
    return np.stack([np.interp(values_HW, places, table_N3[:, channel]) for channel in range(3)], -1)


def _blend(photo_HW3: np.ndarray, colors_HW3: np.ndarray, strength_HW1: np.ndarray) -> np.ndarray:
    grey_HW1 = _PHOTO * photo_HW3.astype(float).mean(-1, keepdims=True)
    blended = (1 - strength_HW1) * grey_HW1 + strength_HW1 * colors_HW3
    return blended.round().clip(0, 255).astype(np.uint8)
