"""The original layout of Sapiens v1 checkpoints: names, shapes, and the names in ``ViTModel``."""

from __future__ import annotations

import re
from math import isqrt
from pathlib import Path

from torch import Tensor

from lca_lightning.errors import CheckpointError

PATCH = 16
STEM = "patch_embed.projection.weight"


def encoder_part(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Tensors of the encoder alone, without their prefix.

    Args:
        tensors: Everything in the file, task heads included.
        path: Of the file, for the message.

    Raises:
        CheckpointError: The file holds no Sapiens v1 encoder, or several.
    """
    prefixes = [name.removesuffix(STEM) for name in tensors if name.endswith(STEM)]
    if len(prefixes) > 1 and "backbone." in prefixes:
        prefixes = ["backbone."]
    part = {
        name.removeprefix(prefix): tensor
        for prefix in prefixes
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
    if len(prefixes) == 1 and "pos_embed" in part and part[STEM].dim() == 4:
        return part
    hint = ""
    if any(name.startswith("blocks.") and ".wq." in name for name in tensors):
        hint = " (it looks like Sapiens2, which is loaded by its id or its folder with config.json)"
    raise CheckpointError(
        f"{path} is no Sapiens v1 checkpoint in the original layout{hint}: expected one {STEM} with a "
        f"pos_embed beside it, found {len(tensors)} tensors such as {next(iter(tensors))}; docs/weights.md "
        "lists the files."
    )


def convert_tensors(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of the original layout to those of ``ViTModel`` and split the packed q, k, v.

    Args:
        tensors: Original names without prefix.

    Returns:
        The same values under the names of ``ViTModel``.
    """
    converted = {}
    for name, tensor in tensors.items():
        for pattern, replacement in _RENAMED:
            name = re.sub(pattern, replacement, name)
        if ".attn.qkv." in name:
            for part, values in zip("qkv", tensor.chunk(3), strict=True):
                converted[name.replace("attn.qkv", f"attention.{part}_proj")] = values
        else:
            converted[name] = tensor
    return converted


_RENAMED = (
    (r"^patch_embed\.", "embeddings.patch_embeddings."),
    (r"^cls_token$", "embeddings.cls_token"),
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^ln1\.", "layernorm."),
    (r"\.ln1\.", ".layernorm_before."),
    (r"\.ln2\.", ".layernorm_after."),
    (r"\.attn\.proj\.", ".attention.o_proj."),
    (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
    (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
)


def expected_shapes(tensors: dict[str, Tensor], width: int, layers: int) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor of the original layout, by its name.

    Args:
        tensors: The encoder's tensors; they tell the number of positions and whether there is a class token.
        width: Token width.
        layers: Number of layers.
    """
    shapes: dict[str, tuple[int, ...]] = {
        STEM: (width, 3, PATCH, PATCH),
        "patch_embed.projection.bias": (width,),
        "pos_embed": (1, tensors["pos_embed"].shape[1] if tensors["pos_embed"].dim() == 3 else 1, width),
        "ln1.weight": (width,),
        "ln1.bias": (width,),
    }
    if "cls_token" in tensors:
        shapes["cls_token"] = (1, 1, width)
    for layer in range(layers):
        for name, (rows, columns) in {
            "attn.qkv": (3 * width, width),
            "attn.proj": (width, width),
            "ffn.layers.0.0": (4 * width, width),
            "ffn.layers.1": (width, 4 * width),
        }.items():
            shapes |= {
                f"layers.{layer}.{name}.weight": (rows, columns),
                f"layers.{layer}.{name}.bias": (rows,),
            }
        for name in ("ln1", "ln2"):
            shapes |= {f"layers.{layer}.{name}.{kind}": (width,) for kind in ("weight", "bias")}
    return shapes


def check_tensors(tensors: dict[str, Tensor], expected: dict[str, tuple[int, ...]], path: Path) -> None:
    """Refuse missing, unknown and misshapen tensors.

    Args:
        tensors: The encoder's tensors by name.
        expected: Shape of every tensor it must have.
        path: Of the file, for the message.

    Raises:
        CheckpointError: Names the first tensor that is wrong.
    """
    for problem, names in (
        ("lacks", sorted(expected.keys() - tensors.keys())),
        ("has the unknown", sorted(tensors.keys() - expected.keys())),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise CheckpointError(
                f"{path} is no complete Sapiens v1 encoder: it {problem} {names[0]}{more}; "
                "download it again, or take one of the files in docs/weights.md."
            )
    for name, shape in expected.items():
        if tuple(tensors[name].shape) != shape:
            raise CheckpointError(
                f"{path} is no Sapiens v1 encoder: {name} should have shape {shape}, found "
                f"{tuple(tensors[name].shape)}; take one of the files in docs/weights.md."
            )


def stored_grid(patches: int, path: Path) -> tuple[int, int]:
    """Rows and columns of the stored position embedding: square, or 4 to 3 as for 1024x768 pictures.

    Args:
        patches: Number of stored positions without the class token's.
        path: Of the file, for the message.

    Raises:
        CheckpointError: The number fits neither.
    """
    side, quarter = isqrt(patches), isqrt(patches // 12)
    if side * side == patches:
        return side, side
    if 12 * quarter * quarter == patches:
        return 4 * quarter, 3 * quarter
    raise CheckpointError(
        f"{path} has positions for {patches} patches, which are neither a square nor a 4:3 grid, so its "
        "class token is missing or its picture size is not one that Sapiens was released with."
    )
