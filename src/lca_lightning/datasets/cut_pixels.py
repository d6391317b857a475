"""Pixels of four bytes (colour and mask) written and read as one word: one pass over memory each.

Bytes follow each other as on every machine PyTorch runs on: the first is the lowest of its word.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from lca_lightning.kernels.compilation import compiled


@compiled
def _merge(pixels_HW: np.ndarray, mask_HW: np.ndarray) -> None:
    color = np.uint32(0xFFFFFF)
    for y in range(pixels_HW.shape[0]):
        pixels, mask = pixels_HW[y], mask_HW[y]
        for x in range(pixels.shape[0]):
            pixels[x] = (pixels[x] & color) | (np.uint32(mask[x]) << np.uint32(24))


@compiled
def _unpack(
    pixels_HW: np.ndarray, background: float, over: bool, color_3HW: np.ndarray, matte_HW: np.ndarray
) -> None:
    level, behind = np.float32(1 / 255), np.float32(background)
    byte, one = np.uint32(255), np.float32(1)
    for y in range(pixels_HW.shape[0]):
        pixels, matte = pixels_HW[y], matte_HW[y]
        red, green, blue = color_3HW[0, y], color_3HW[1, y], color_3HW[2, y]
        for x in range(pixels.shape[0]):
            word = pixels[x]
            # signed numbers are the ones that processors convert to floats
            person = np.float32(np.int32(word >> np.uint32(24))) * level
            matte[x] = person
            kept = person if over else one
            red[x] = (np.float32(np.int32(word & byte)) * level - behind) * kept + behind
            green[x] = (np.float32(np.int32((word >> np.uint32(8)) & byte)) * level - behind) * kept + behind
            blue[x] = (np.float32(np.int32((word >> np.uint32(16)) & byte)) * level - behind) * kept + behind


def merge_mask(rgba_HW4: np.ndarray, mask_HW: np.ndarray) -> None:
    """Write a mask into the fourth channel of a picture.

    Args:
        rgba_HW4: uint8, the four bytes of a pixel side by side; changed in place.
        mask_HW: uint8.
    """
    _merge(rgba_HW4.view(np.uint32)[..., 0], mask_HW)


def stack_cuts(
    cuts_4HW: Iterable[np.ndarray | None], size: tuple[int, int], background: float | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cuts as float tensors.

    Args:
        cuts_4HW: uint8 picture and mask of each; None gives zeros.
        size: Height and width in pixels.
        background: Grey value in [0, 1] that replaces what is not the person; None leaves pictures whole.

    Returns:
        Pictures ``(N, 3, H, W)`` and masks ``(N, 1, H, W)``, float32 in [0, 1].
    """
    cuts = list(cuts_4HW)
    colors_N3HW, mattes_N1HW = torch.empty(len(cuts), 3, *size), torch.empty(len(cuts), 1, *size)
    over, grey = background is not None, background or 0.0
    for cut_4HW, color_3HW, matte_HW in zip(
        cuts, colors_N3HW.numpy(), mattes_N1HW[:, 0].numpy(), strict=True
    ):
        if cut_4HW is None:
            color_3HW.fill(0.0)
            matte_HW.fill(0.0)
        else:
            words_HW = np.ascontiguousarray(cut_4HW.transpose(1, 2, 0)).view(np.uint32)[..., 0]
            _unpack(words_HW, grey, over, color_3HW, matte_HW)
    return colors_N3HW, mattes_N1HW
