"""Sapiens v1 image encoders (Khirodkar et al. 2024) from their original checkpoint files.

The network is ``transformers.ViTModel`` with the embeddings of the original: files from pretraining carry a
class token and cut patches without padding, files of downstream tasks have none and pad by two pixels.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lca_lightning.errors import CheckpointError
from lca_lightning.model.sapiens_layout import (
    PATCH,
    STEM,
    check_tensors,
    convert_tensors,
    encoder_part,
    expected_shapes,
    stored_grid,
)
from lca_lightning.model.weight_files import read_tensors

DOWNSTREAM_PADDING = 2


@dataclass(frozen=True)
class SapiensSize:
    """Width, layers and attention heads of one Sapiens."""

    width: int
    layers: int
    heads: int

    def __str__(self) -> str:
        return f"{self.layers} layers of width {self.width}"


SIZES = {
    "0.3b": SapiensSize(1024, 24, 16),
    "0.6b": SapiensSize(1280, 32, 16),
    "1b": SapiensSize(1536, 40, 24),
    "2b": SapiensSize(1920, 48, 32),
}


class SapiensEmbeddings(nn.Module):
    """Patch embeddings with a class token where there is one, plus resized position embeddings.

    Args:
        width: Token width.
        grid: Patches of the stored position embedding, (rows, columns).
        class_token: Whether the file is one of pretraining.
    """

    def __init__(self, width: int, grid: tuple[int, int], class_token: bool) -> None:
        super().__init__()
        self.grid = grid
        padding = 0 if class_token else DOWNSTREAM_PADDING
        projection = nn.Conv2d(3, width, PATCH, PATCH, padding)
        self.patch_embeddings = nn.ModuleDict({"projection": projection})  # the name ViTModel looks for
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width)) if class_token else None
        self.position_embeddings = nn.Parameter(torch.zeros(1, grid[0] * grid[1] + class_token, width))

    def forward(self, pixel_values: Tensor, **_: Any) -> Tensor:
        """Tokens ``(n, [1 +] N, width)`` of normalised images ``(n, 3, H, W)``; called by ``ViTModel``."""
        patches = self.patch_embeddings["projection"](pixel_values)
        rows, columns = patches.shape[-2:]
        tokens = patches.flatten(2).transpose(1, 2)
        if self.cls_token is not None:
            tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        return tokens + self._positions(rows, columns)

    def _positions(self, rows: int, columns: int) -> Tensor:
        """Bicubic and in float32, as the original does."""
        if (rows, columns) == self.grid:
            return self.position_embeddings
        extra = 0 if self.cls_token is None else 1
        stored = self.position_embeddings[:, extra:].unflatten(1, self.grid).permute(0, 3, 1, 2)
        resized = nn.functional.interpolate(
            stored.float(), size=(rows, columns), mode="bicubic", align_corners=False
        )
        resized = resized.flatten(2).transpose(1, 2).to(stored.dtype)
        return torch.cat([self.position_embeddings[:, :extra], resized], dim=1)


def load_sapiens(path: Path, size: str | None = None, heads: int | None = None) -> nn.Module:
    """Load a Sapiens v1 encoder from a checkpoint in the original layout.

    Args:
        path: The file; its tensors may lie under ``state_dict`` and ``backbone.``, beside task heads.
        size: ``0.3b``, ``0.6b``, ``1b`` or ``2b`` when the file must be of that size.
        heads: Attention heads, which no tensor tells; by default those of the known size of that width, else
            one per 64 channels.

    Returns:
        A ``ViTModel`` whose last hidden state is the class token, where there is one, and the patch tokens.

    Raises:
        MissingAssetError: There is no such file.
        CheckpointError: The file is damaged, holds another model or layout, or one of another size.
    """
    tensors = encoder_part(read_tensors(path), path)
    found = _architecture(tensors, path, heads)
    if size is not None and found != SIZES[size]:
        raise CheckpointError(
            f"{path} holds {found}, but sapiens-{size} has {SIZES[size]}; give the file's own size."
        )
    class_token = "cls_token" in tensors
    grid = stored_grid(tensors["pos_embed"].shape[1] - class_token, path)
    network = _network(found, grid, class_token)
    network.load_state_dict(convert_tensors(tensors), assign=True)
    return network


def _network(size: SapiensSize, grid: tuple[int, int], class_token: bool) -> nn.Module:
    """The network without values: they are assigned from the file."""
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=size.width, num_hidden_layers=size.layers, num_attention_heads=size.heads,
        intermediate_size=4 * size.width, hidden_act="gelu", layer_norm_eps=1e-6, qkv_bias=True,
        patch_size=PATCH, image_size=PATCH * max(grid),
    )  # fmt: skip
    with torch.device("meta"):
        network = ViTModel(config, add_pooling_layer=False)
        network.embeddings = SapiensEmbeddings(size.width, grid, class_token)  # type: ignore[assignment]
    return network


def _architecture(tensors: dict[str, Tensor], path: Path, heads: int | None) -> SapiensSize:
    """Size of the network, after a look at every name and shape."""
    width = tensors[STEM].shape[0]
    layers = 1 + max(
        (int(found[1]) for name in tensors if (found := re.match(r"layers\.(\d+)\.", name))), default=-1
    )
    check_tensors(tensors, expected_shapes(tensors, width, layers), path)
    known = next((size for size in SIZES.values() if size.width == width), None)
    if heads is not None or known is None:
        heads = width // 64 if heads is None else heads
        if not heads or width % heads:
            division = f"which {heads} attention heads do not divide" if heads else "less than one head of 64"
            raise CheckpointError(
                f"{path} has width {width}, {division}: no Sapiens v1 is of that kind; take one of the files "
                "in docs/weights.md."
            )
        return SapiensSize(width, layers, heads)
    if layers != known.layers:
        raise CheckpointError(
            f"{path} holds {layers} layers of width {width}, but the Sapiens v1 of that width has {known}; "
            "take one of the files in docs/weights.md."
        )
    return known
