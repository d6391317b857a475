"""Whether a person was photographed or drawn, from simple statistics inside and along the mask.

Toon shading fills areas with one colour, bounds them by hard steps and draws a dark line around the person;
light on skin and cloth falls off softly, even after strong compression and on patterned clothes. Nothing is
learned, so that the score says what it sees.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lca_lightning.calibration.opencv import cv2
from lca_lightning.preprocessing.landmarks import FloatArray
from lca_lightning.preprocessing.masks import mask_box

# People are compared at this height in pixels at most; they are never enlarged.
COMPARED_HEIGHT = 384
FEWEST_PIXELS = 200
# Grey levels per pixel: below is flat, above is an edge; what lies between is shading.
SOFT = (1.0, 6.0)
# A line is so many grey levels darker than both of its sides.
LINE_DEPTH = 40
# Value of each statistic that speaks for a drawing (0) and for a photograph (1), and its weight.
_DRAWN_TO_PHOTOGRAPHED = {"soft": (0.1, 0.45, 0.55), "outline": (0.9, 0.5, 0.3), "palette": (4.0, 6.0, 0.15)}
Image = NDArray[np.uint8]


class PhotographicScore:
    """Weighted mean of three statistics, each 0 for drawings and 1 for photographs; median over frames."""

    name = "photographic"
    threshold = 0.55
    reason = "looks drawn or rendered"

    def score(self, images: Sequence[Image], masks: Sequence[Image]) -> float:
        """Score of some frames, 0 to 1; 1 where the person is too small to tell."""
        values = [self._share(image, mask) for image, mask in zip(images, masks, strict=True)]
        known = [value for value in values if value is not None]
        return float(np.median(known)) if known else 1.0

    def _share(self, image_HW3: Image, mask_HW: Image) -> float | None:
        statistics = picture_statistics(image_HW3, mask_HW)
        if statistics is None:
            return None
        return sum(
            weight * float(np.clip((statistics[name] - drawn) / (photographed - drawn), 0.0, 1.0))
            for name, (drawn, photographed, weight) in _DRAWN_TO_PHOTOGRAPHED.items()
        )


def picture_statistics(image_HW3: Image, mask_HW: Image) -> dict[str, float] | None:
    """What a person's colours are like; None where there are too few of them.

    Args:
        image_HW3: RGB picture.
        mask_HW: Person 0..255.

    Returns:
        ``soft``: share of inner pixels whose brightness changes a little, neither not at all nor in a step;
        ``outline``: share of the mask's border with a dark line nearby; ``palette``: binary logarithm of the
        number of colours that cover nine tenths of the person.
    """
    cut = _cut(image_HW3, mask_HW)
    if cut is None:
        return None
    picture, mask = cut
    inner = cv2.erode((mask > 200).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    if inner.sum() < FEWEST_PIXELS:
        return None
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    slope = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))[inner] / 8
    colours = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)[inner].astype(np.int64) // 8
    return {
        "soft": float(((slope > SOFT[0]) & (slope < SOFT[1])).mean()),
        "outline": _outlined(grey, (mask > 127).astype(np.uint8)),
        "palette": _palette_bits((colours[:, 0] * 32 + colours[:, 1]) * 32 + colours[:, 2]),
    }


def _cut(image_HW3: Image, mask_HW: Image) -> tuple[Image, Image] | None:
    """The person with a little around, picture and mask not higher than compared."""
    box = mask_box(mask_HW)
    if box is None:
        return None
    left, top, right, bottom = box
    margin = max(4, round(0.02 * (bottom - top)))
    left, top, right, bottom = max(0, left - margin), max(0, top - margin), right + margin, bottom + margin
    picture, mask = image_HW3[top:bottom, left:right], mask_HW[top:bottom, left:right]
    height, width = mask.shape
    scale = min(1.0, COMPARED_HEIGHT / height)
    size = (max(8, round(scale * width)), max(8, round(scale * height)))
    picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    return picture, np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_AREA), np.uint8)


def _outlined(grey_HW: FloatArray, person_HW: Image) -> float:
    """Share of a mask's border near which a thin line is darker than what lies on both sides of it."""
    border = (person_HW - cv2.erode(person_HW, np.ones((3, 3), np.uint8))) > 0
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
    depth = cv2.morphologyEx(grey_HW, cv2.MORPH_BLACKHAT, disc)
    # Masks of estimators miss the true border by a few pixels.
    near = cv2.dilate(depth, np.ones((7, 7), np.uint8))
    return float((np.asarray(near)[border] > LINE_DEPTH).mean())


def _palette_bits(codes_N: NDArray[np.int64]) -> float:
    counts = np.sort(np.unique(codes_N, return_counts=True)[1])[::-1]
    return float(np.log2(np.searchsorted(np.cumsum(counts), 0.9 * len(codes_N)) + 1))
