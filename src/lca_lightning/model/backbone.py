"""Frozen image encoders: patch tokens of Sapiens or any plain vision transformer (LCA section 3.1, eq. 1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from lca_lightning.errors import ConfigError, ShapeError, check_shape
from lca_lightning.model.backbone_loading import load_network
from lca_lightning.model.bundled_encoders import BUNDLED, bundled_network
from lca_lightning.model.frozen import FrozenNetwork
from lca_lightning.model.patch_grid import forward_options, patch_size
from lca_lightning.model.pretrained import IMAGENET, Normalisation

Precision = Literal["auto", "float32", "bfloat16"]


class Backbone(FrozenNetwork):
    """Patch tokens of a frozen vision transformer.

    Its weights keep their own precision wherever the model moves and whatever ``autocast`` says: with
    ``auto`` they are bfloat16 on CUDA and float32 elsewhere. Moving back from CUDA restores no lost digits.

    Args:
        network: A ``transformers`` vision model with ``config.hidden_size`` and ``config.patch_size``.
        name: What the user called it.
        precision: ``auto``, ``float32`` or ``bfloat16``.
        chunk: Images encoded at a time.
        normalisation: Mean and standard deviation per channel that the network expects.

    Raises:
        ConfigError: Precision or chunk are none of those.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        name: str,
        precision: Precision = "auto",
        chunk: int = 4,
        normalisation: Normalisation = IMAGENET,
    ) -> None:
        super().__init__(network)
        if precision not in get_args(Precision) or chunk < 1:
            raise ConfigError(
                "model.avatar.backbone_precision must be auto, float32 or bfloat16 and backbone_chunk at "
                f"least 1, got {precision} and {chunk}."
            )
        self.name, self.precision, self.chunk = name, precision, chunk
        self.width, self.patch = int(self.network.config.hidden_size), patch_size(network)
        self._options = forward_options(network)
        for key, values in zip(("mean", "std"), normalisation, strict=True):
            self.register_buffer(key, torch.tensor(values).view(3, 1, 1), persistent=False)
        self._apply(lambda tensor: tensor)  # brings the weights to their precision

    @torch.no_grad()
    def forward(self, images_n3HW: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Encode images into patch tokens.

        Args:
            images_n3HW: Float sRGB in [0, 1], ``(n, 3, H, W)``; H and W multiples of the patch size.

        Returns:
            Patch tokens ``(n, N, width)``, row by row, in the type of the images or, inside ``autocast``, in
            that of autocast; and the grid ``(H / patch, W / patch)``.

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
        device = images_n3HW.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else images_n3HW.dtype
        with torch.autocast(device, enabled=False):
            tokens = [self._encode(chunk, grid).to(dtype) for chunk in images_n3HW.split(self.chunk)]
        return torch.cat(tokens), grid

    def _encode(self, images_n3HW: Tensor, grid: tuple[int, int]) -> Tensor:
        """Patch tokens of a few images; class and register tokens come first and are left out."""
        pixels = ((images_n3HW - self.mean) / self.std).to(self._weight_dtype(images_n3HW.device))
        output = self.network(pixels, **self._options).last_hidden_state
        tokens = output[:, -grid[0] * grid[1] :]
        check_shape(f"patch tokens of {self.name}", tokens, (len(pixels), grid[0] * grid[1], self.width))
        return tokens

    def _weight_dtype(self, device: torch.device) -> torch.dtype:
        half = self.precision == "bfloat16" or (self.precision == "auto" and device.type == "cuda")
        return torch.bfloat16 if half else torch.float32

    def _placement(self, fn: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """Weights go one by one to the type of their device; buffers such as frequencies keep theirs."""

        def place(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            if not isinstance(tensor, nn.Parameter):
                return moved
            if moved.dtype != tensor.dtype:  # a cast of the whole model is not meant for these weights
                moved = tensor.to(moved.device)
            return moved.to(self._weight_dtype(moved.device))

        return place


def load_backbone(name_or_path: str, precision: Precision = "auto", chunk: int = 4) -> Backbone:
    """Load a frozen image encoder.

    Args:
        name_or_path: ``sapiens-0.3b``, ``-0.6b``, ``-1b`` or ``-2b``; ``sapiens2-0.1b`` to ``-5b``; a Sapiens
            v1 checkpoint file or the folder that holds it; the id or local folder of a ``transformers``
            vision transformer; or one of the package: ``synthetic-tiny``, trained on synthetic people, for
            laptops; seeded random ones: ``random-tiny`` for tests, ``random-small``, which loses nothing of
            a patch's pixels, for synthetic people on one GPU.
        precision: ``auto`` for bfloat16 on CUDA and float32 elsewhere, or ``float32``, ``bfloat16``.
        chunk: Images encoded at a time; memory grows with it, results do not change.

    Returns:
        The encoder in evaluation mode, on the CPU.

    Raises:
        MissingAssetError: The weights are neither local, nor cached, nor reachable; says how to get them.
        CheckpointError: The weights are damaged, incomplete, or those of another model or size.
        ConfigError: The model is no vision transformer with a grid of patch tokens.
    """
    if name_or_path in BUNDLED:
        return Backbone(bundled_network(name_or_path), name_or_path, precision, chunk)
    network, normalisation = load_network(name_or_path)
    return Backbone(network, name_or_path, precision, chunk, normalisation)
