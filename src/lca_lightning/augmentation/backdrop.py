"""What is behind the person in references: a constant colour, seen through the soft matte."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

CLEAR = 0.02  # pixels with less person than this show the colour behind it


@dataclass(frozen=True)
class Backdrop:
    """Matte and colour of composited pictures.

    Args:
        matte_BN1HW: How much of each pixel is the person.
        color_BN3: Colour behind it.
    """

    matte_BN1HW: Tensor
    color_BN3: Tensor


def color_behind(images_BN3HW: Tensor, matte_BN1HW: Tensor | None) -> Tensor:
    """The constant colour behind the person, read off the pictures.

    Args:
        images_BN3HW: Pictures composited over one colour each.
        matte_BN1HW: How much of each pixel is the person; None where unknown.

    Returns:
        ``(B, N, 3)``; white where no pixel shows it or nothing is known.
    """
    if matte_BN1HW is None:
        return images_BN3HW.new_ones(*images_BN3HW.shape[:2], 3)
    weight = (1 - matte_BN1HW / CLEAR).clamp(min=0) ** 2
    total = weight.sum(dim=(-2, -1))
    color = (images_BN3HW * weight).sum(dim=(-2, -1)) / total.clamp(min=1e-6)
    return torch.where(total > 1e-3, color, torch.ones_like(color))
