"""Whether a person was photographed or drawn, from statistics of the colours inside the mask.

Toon shading fills areas with one colour, bounds them by a few strong edges and uses few tones; skin and cloth
before a lens do the opposite, even after strong compression. Nothing is learned, so that the score says what
it sees.
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
# Neighbours that differ by at most this many grey levels count as flat.
FLAT_RANGE = 2.0
# Value of each statistic that speaks for a drawing (0) and for a photograph (1).
_DRAWN_TO_PHOTOGRAPHED = {"flat": (0.8, 0.2), "edges": (0.7, 0.3), "palette": (4.0, 6.0), "tones": (5.0, 7.0)}
Image = NDArray[np.uint8]


class PhotographicScore:
    """The mean of four statistics, each 0 for drawings and 1 for photographs; the median over frames."""

    name = "photographic"
    threshold = 0.45
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
        shares = [
            np.clip((statistics[name] - drawn) / (photographed - drawn), 0.0, 1.0)
            for name, (drawn, photographed) in _DRAWN_TO_PHOTOGRAPHED.items()
        ]
        return float(np.mean(shares))


def picture_statistics(image_HW3: Image, mask_HW: Image) -> dict[str, float] | None:
    """What the colours inside a mask are like; None where there are too few of them.

    Args:
        image_HW3: RGB picture.
        mask_HW: Person 0..255.

    Returns:
        ``flat``: share of pixels whose neighbours hardly differ; ``edges``: sparsity of gradient magnitudes
        (Hoyer 2004), 0 when all are alike, 1 when a single one is not 0; ``palette``: binary logarithm of
        the number of colours that cover nine tenths; ``tones``: entropy of the grey levels in bits.
    """
    cut = _cut(image_HW3, mask_HW)
    if cut is None:
        return None
    picture, inner = cut
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    square = np.ones((3, 3), np.uint8)
    spread = np.asarray(cv2.dilate(grey, square) - cv2.erode(grey, square))[inner]
    gradient = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0) / 8, cv2.Sobel(grey, cv2.CV_32F, 0, 1) / 8)[inner]
    colours = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)[inner].astype(np.int64) // 8
    return {
        "flat": float((spread <= FLAT_RANGE).mean()),
        "edges": _sparsity(gradient),
        "palette": _palette_bits((colours[:, 0] * 32 + colours[:, 1]) * 32 + colours[:, 2]),
        "tones": _entropy(grey[inner].astype(np.int64)),
    }


def _cut(image_HW3: Image, mask_HW: Image) -> tuple[Image, NDArray[np.bool_]] | None:
    """The person alone, not higher than compared, and the pixels well inside of the outline."""
    box = mask_box(mask_HW)
    if box is None:
        return None
    left, top, right, bottom = box
    picture, mask = image_HW3[top:bottom, left:right], mask_HW[top:bottom, left:right]
    scale = min(1.0, COMPARED_HEIGHT / (bottom - top))
    size = (max(8, round(scale * (right - left))), max(8, round(scale * (bottom - top))))
    picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    mask = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_AREA), np.uint8)
    inner = cv2.erode((mask > 200).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return (picture, inner) if inner.sum() >= FEWEST_PIXELS else None


def _sparsity(values_N: FloatArray) -> float:
    root = float(np.sqrt(len(values_N)))
    length = float(np.sqrt(np.square(values_N).sum()))
    return 1.0 if length == 0 else (root - float(values_N.sum()) / length) / (root - 1)


def _palette_bits(codes_N: NDArray[np.int64]) -> float:
    counts = np.sort(np.unique(codes_N, return_counts=True)[1])[::-1]
    return float(np.log2(np.searchsorted(np.cumsum(counts), 0.9 * len(codes_N)) + 1))


def _entropy(levels_N: NDArray[np.int64]) -> float:
    share = np.bincount(levels_N, minlength=256) / len(levels_N)
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum())
