"""LPIPS (Zhang et al., 2018) with trained weights, frozen and invisible to checkpoints."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from lca_lightning.errors import check_shape
from lca_lightning.losses.half_weights import Precision, choose_trunk
from lca_lightning.losses.perceptual_weights import NetName
from lca_lightning.model.frozen import FrozenNetwork

SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)


class LPIPS(FrozenNetwork):
    """Perceptual distance of images in [0, 1]; features of a target serve several predictions.

    Args:
        net: ``vgg`` for training, ``alex`` for evaluation and for laptops, ``squeeze`` for LHM's protocol.
        weights: Precision of the stored weights: ``float32``, ``float16`` (carried to machines without a
            network), or ``auto`` for the first of them that is on this machine.
    """

    def __init__(self, net: NetName = "vgg", weights: Precision = "auto") -> None:
        network, source = _load_lpips(net, weights)
        super().__init__(network)
        self.net, self.source = net, source

    def features(self, images_n3HW: Tensor) -> list[Tensor]:
        """Unit-normalised activations of five layers (seven of ``squeeze``).

        Args:
            images_n3HW: sRGB in [0, 1], at least 32 pixels a side.

        Returns:
            One tensor ``(n, channels, h, w)`` per layer.
        """
        check_shape("images", images_n3HW, ("n", 3, "H", "W"))
        activations: Sequence[Tensor] = self.network.net(self.network.scaling_layer(2 * images_n3HW - 1))
        return [
            activation / (activation.square().sum(1, keepdim=True).sqrt() + 1e-10)
            for activation in activations
        ]

    def distance(self, features: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
        """Distance of images from their features, ``(n,)``."""
        layers = [
            linear(functional.mse_loss(mine, theirs, reduction="none")).mean(dim=(1, 2, 3))
            for linear, mine, theirs in zip(self.network.lins, features, others, strict=True)
        ]
        return torch.stack(layers).sum(0)

    def forward(self, images_n3HW: Tensor, others_n3HW: Tensor) -> Tensor:
        """Perceptual distance of each pair.

        Args:
            images_n3HW: sRGB in [0, 1].
            others_n3HW: The images to compare with.

        Returns:
            Distances ``(n,)``.
        """
        check_shape("others", others_n3HW, tuple(images_n3HW.shape))
        return self.distance(self.features(images_n3HW), self.features(others_n3HW))


def _load_lpips(net: NetName, weights: Precision) -> tuple[nn.Module, str]:
    """The package's own network, built without memory or random numbers and then filled; and from what."""
    import lpips

    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision warns about the argument name that lpips still uses
        network = lpips.LPIPS(net=net, pnet_rand=True, pretrained=False, use_dropout=False, verbose=False)
    state = _linear_layers(Path(lpips.__file__).parent / "weights" / "v0.1" / f"{net}.pth")
    trunk, source = choose_trunk(net, weights)
    for name, _ in network.net.named_parameters():
        state[f"net.{name}"] = trunk[name.split(".", 1)[1]]  # below the slice that lpips puts it in
    state["scaling_layer.shift"] = torch.tensor(SHIFT).view(1, 3, 1, 1)
    state["scaling_layer.scale"] = torch.tensor(SCALE).view(1, 3, 1, 1)
    network.load_state_dict(state, strict=True, assign=True)
    return network, source


def _linear_layers(path: Path) -> dict[str, Tensor]:
    """The calibrated 1x1 layers shipped inside lpips, under both names that its module registers."""
    stored = torch.load(path, map_location="cpu", weights_only=True)
    state: dict[str, Tensor] = {}
    for index in range(sum(name.endswith("model.1.weight") for name in stored)):
        weight = stored[f"lin{index}.model.1.weight"]
        state[f"lin{index}.model.0.weight"] = weight  # position 0: built without dropout
        state[f"lins.{index}.model.0.weight"] = weight
    return state
