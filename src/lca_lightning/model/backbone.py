"""Frozen image encoders: patch tokens of any ``transformers`` vision model (LCA section 3.1, eq. 1)."""

from __future__ import annotations

import contextlib
import inspect
import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from lca_lightning.errors import MissingAssetError, ShapeError, check_shape
from lca_lightning.model.frozen import FrozenNetwork

RANDOM_TINY = "random-tiny"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Backbone(FrozenNetwork):
    """Patch tokens of a frozen vision transformer.

    Args:
        network: A ``transformers`` vision model with ``config.hidden_size`` and ``config.patch_size``.
        name: What the user called it.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, name: str) -> None:
        super().__init__(network)
        self.name = name
        config: Any = network.config
        self.width = int(config.hidden_size)
        patch = config.patch_size
        self.patch = int(patch[0] if isinstance(patch, (list, tuple)) else patch)
        accepted = inspect.signature(network.forward).parameters
        self._options = {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in accepted else {}
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    @torch.no_grad()
    def forward(self, images_n3HW: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Encode images into patch tokens.

        Args:
            images_n3HW: Float sRGB in [0, 1], ``(n, 3, H, W)``; H and W multiples of the patch size.

        Returns:
            Patch tokens ``(n, N, width)``, row by row, and the grid ``(H / patch, W / patch)``.

        Raises:
            ShapeError: H or W is no multiple of the patch size, or the network gives too few tokens.
        """
        check_shape("images", images_n3HW, ("n", 3, "H", "W"))
        height, width = images_n3HW.shape[-2:]
        if height % self.patch or width % self.patch:
            raise ShapeError(
                f"images must have a height and width that are multiples of {self.patch} (the patch size of "
                f"{self.name}), got {height}x{width}; change the image size in the data configuration."
            )
        grid = (height // self.patch, width // self.patch)
        output = self.network((images_n3HW - self.mean) / self.std, **self._options).last_hidden_state
        if output.dim() == 4:
            output = output.flatten(2).transpose(1, 2)
        tokens = output[:, -grid[0] * grid[1] :]  # class and register tokens come first
        check_shape(
            f"patch tokens of {self.name}", tokens, (images_n3HW.shape[0], grid[0] * grid[1], self.width)
        )
        return tokens, grid


def load_backbone(name_or_path: str, precision: str = "auto", chunk: int = 4) -> Backbone:
    """Load a frozen image encoder.

    Args:
        name_or_path: ``random-tiny`` for a small seeded random transformer (tests, laptops), else the id
            of a ``transformers`` vision model or a local folder with ``config.json`` and weights.

    Returns:
        The encoder in evaluation mode, on the CPU.

    Raises:
        MissingAssetError: The weights are neither local, nor cached, nor reachable.
    """
    if name_or_path == RANDOM_TINY:
        return Backbone(_random_tiny(), RANDOM_TINY)
    return Backbone(_pretrained(name_or_path), name_or_path)


def _random_tiny() -> nn.Module:
    """Two layers, width 192, patch 16; its residual stream keeps the colours of each patch usable."""
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=192, num_hidden_layers=2, num_attention_heads=3, intermediate_size=768, image_size=256,
        patch_size=16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.manual_seed(0)
        return ViTModel(config, add_pooling_layer=False)


def _pretrained(name_or_path: str) -> nn.Module:
    """Look in the local folder or cache first, and on the network only when its host can be found."""
    from huggingface_hub import constants
    from transformers import AutoModel

    if Path(name_or_path).is_dir():
        attempts = [True]
    elif (
        constants.HF_HUB_OFFLINE
        or os.environ.get("TRANSFORMERS_OFFLINE")
        or not _resolves(constants.ENDPOINT)
    ):
        attempts = [True]
    else:
        attempts = [True, False]
    reason = ""
    for local_only in attempts:
        try:
            return AutoModel.from_pretrained(name_or_path, local_files_only=local_only)
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    raise MissingAssetError(
        f"Backbone '{name_or_path}' was found neither as a local folder nor in the cache "
        f"{constants.HF_HUB_CACHE} ({reason.rstrip('.')}); download it on a connected machine and set "
        f"model.avatar.backbone to its folder, or to {RANDOM_TINY} for a trial run without pretrained "
        "weights."
    )


def _resolves(endpoint: str) -> bool:
    """Whether the host has an address: saves the hub's retries on a machine without a network."""
    with contextlib.suppress(OSError):
        return bool(socket.getaddrinfo(urlparse(endpoint).hostname, 443))
    return False
