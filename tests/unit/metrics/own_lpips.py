"""The lpips package's own module, filled with the weights that ours has."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import nn

from lca_lightning.losses.perceptual_weights import NetName, load_trunk


def own_lpips(net: NetName) -> nn.Module:
    """The package's module in its own layout and range."""
    import lpips

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision dislikes how lpips calls it
        module = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    trunk = load_trunk(net)
    with torch.no_grad():
        for name, parameter in module.net.named_parameters():
            parameter.copy_(trunk[name.split(".", 1)[1]])
    return module


def distance(module: nn.Module, first_HW3: np.ndarray, second_HW3: np.ndarray) -> float:
    """Distance of two pictures in [0, 1], channels last."""
    pair = (torch.from_numpy(picture.transpose(2, 0, 1)[None]).float() for picture in (first_HW3, second_HW3))
    with torch.no_grad():
        return float(module(*pair, normalize=True))
