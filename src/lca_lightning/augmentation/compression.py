"""Compression as JPEG does it, without files: 8x8 cosine transforms, quantised by the standard's tables."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

# ITU T.81, annex K.1: what the eye misses least
_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62), (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99), (18, 21, 26, 66, 99, 99, 99, 99), (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99), *((99,) * 8,) * 4,
)  # fmt: skip
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def compress(images_n3HW: Tensor, quality_n: Tensor) -> Tensor:
    """Lose what JPEG of a quality loses, without subsampling of colours.

    Args:
        images_n3HW: sRGB in [0, 1].
        quality_n: 1 to 100 as in libjpeg.

    Returns:
        Images of the same shape in [0, 1]. Rounding has no gradient.
    """
    height, width = images_n3HW.shape[-2:]
    to_ycc, to_rgb, cosines, tables = _constants(images_n3HW.device)
    percent = torch.where(quality_n < 50, 5000 / quality_n.clamp(min=1), 200 - 2 * quality_n)
    steps = (tables * percent[:, None, None, None] / 100).round().clamp(1, 255) / 255  # (n, 3, 8, 8)
    padded = functional.pad(images_n3HW - 0.5, (0, -width % 8, 0, -height % 8), mode="replicate")
    colors = torch.einsum("ij,njhw->nihw", to_ycc, padded)
    blocks = colors.unflatten(-1, (-1, 8)).unflatten(-3, (-1, 8)).transpose(-3, -2)  # n 3 h w 8 8
    steps = steps[:, :, None, None]
    rounded = (cosines @ blocks @ cosines.T / steps).round() * steps
    plain = (cosines.T @ rounded @ cosines).transpose(-3, -2).flatten(-2).flatten(-3, -2)
    return (torch.einsum("ij,njhw->nihw", to_rgb, plain)[..., :height, :width] + 0.5).clamp(0, 1)


@cache
def _constants(device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Colour matrices, the orthonormal cosine transform ``(8, 8)`` and the tables ``(3, 8, 8)``."""
    with torch.inference_mode(False):
        to_ycc = torch.tensor(_TO_YCC, dtype=torch.float64)
        row, column = torch.arange(8.0)[:, None], torch.arange(8.0)[None]
        cosines = torch.cos((2 * column + 1) * row * math.pi / 16) * torch.where(row == 0, 0.125, 0.25).sqrt()
        tables = torch.tensor([_LUMA, _CHROMA, _CHROMA], dtype=torch.float32)
        matrices = (to_ycc.float(), torch.linalg.inv(to_ycc).float(), cosines, tables)
        to_ycc_f, to_rgb_f, cosines_f, tables_f = (matrix.to(device) for matrix in matrices)
        return to_ycc_f, to_rgb_f, cosines_f, tables_f
