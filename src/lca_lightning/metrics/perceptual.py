"""Perceptual scores of pairs of pictures, the same at any precision of the rest."""

from __future__ import annotations

import torch
from torch import Tensor

from lca_lightning.losses.perceptual import LPIPS
from lca_lightning.losses.perceptual_weights import NetName


def shared_lpips(lpips: LPIPS | bool | None, net: NetName) -> LPIPS | None:
    """The network to score with.

    Args:
        lpips: A loaded one to share; None or True loads one, False asks for none.
        net: Which one to load.

    Raises:
        MissingAssetError: Its trained weights are not on this machine.
    """
    if lpips is False:
        return None
    return lpips if isinstance(lpips, LPIPS) else LPIPS(net)


def over_white(images_n3HW: Tensor, mask_n1HW: Tensor) -> Tensor:
    """Pictures with everything outside a boolean mask set to white."""
    return torch.where(mask_n1HW, images_n3HW, torch.ones_like(images_n3HW))


def pairwise_lpips(lpips: LPIPS, predicted_n3HW: Tensor, images_n3HW: Tensor) -> Tensor:
    """Distances ``(n,)``, double, one pair at a time: at 512 px a batch of features would not be small."""
    with torch.autocast(images_n3HW.device.type, enabled=False):
        pairs = zip(predicted_n3HW.float(), images_n3HW.float(), strict=True)
        return torch.cat([lpips(mine[None], true[None]) for mine, true in pairs]).double()
