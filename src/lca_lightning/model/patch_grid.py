"""What makes a ``transformers`` model an image encoder for us: tokens on a grid of square patches."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from lca_lightning.errors import ConfigError

ADVICE = "set model.avatar.backbone to a plain vision transformer such as Sapiens, DINOv2, DINOv3 or ViT"


def patch_size(network: Any) -> int:
    """Side of the square patches of a network, in pixels.

    Args:
        network: A ``transformers`` vision model.

    Raises:
        ConfigError: It has none, or patches that are not square.
    """
    patch = getattr(network.config, "patch_size", None)
    sides = set(patch) if isinstance(patch, (list, tuple)) else {patch}
    side = sides.pop()
    if sides or not isinstance(side, int):
        raise ConfigError(f"{type(network).__name__} has no square patches (patch_size {patch}).")
    return side


def forward_options(network: Any) -> dict[str, bool]:
    """Arguments that let a network take pictures of any size.

    Args:
        network: A ``transformers`` vision model.
    """
    name = "interpolate_pos_encoding"
    return {name: True} if name in inspect.signature(network.forward).parameters else {}


def check_patch_grid(network: Any, name: str) -> None:
    """Refuse a network whose tokens are not those of the patches, after class and register tokens.

    Args:
        network: A ``transformers`` model in evaluation mode.
        name: What the user called it.

    Raises:
        ConfigError: Says what the network is or gave instead.
    """
    kind = f"Backbone '{name}' ({type(network).__name__})"
    if getattr(network, "main_input_name", "") != "pixel_values" or hasattr(network.config, "tubelet_size"):
        raise ConfigError(f"{kind} does not take single pictures; {ADVICE}.")
    if getattr(network.config, "num_detection_tokens", 0):
        raise ConfigError(f"{kind} is a detector whose last tokens are no patches; {ADVICE}.")
    try:
        shapes = [_output_shape(network, rows, 3) for rows in (2, 3)]
    except Exception as error:  # models fail in many ways at a picture size they cannot take
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(
            f"{kind} gives no grid of patch tokens for pictures of any size ({reason.rstrip('.')}); {ADVICE}."
        ) from error
    (batch, tokens, *width), (_, more, *_rest) = shapes
    if batch != 1 or tokens < 6 or more != tokens + 3 or width != [network.config.hidden_size]:
        raise ConfigError(
            f"{kind} gives no grid of patch tokens: 2 x 3 patches came out as {shapes[0]}; {ADVICE}."
        )


def _output_shape(network: Any, rows: int, columns: int) -> tuple[int, ...]:
    patch = patch_size(network)
    weight = next(network.parameters())
    pixels = torch.zeros(1, 3, rows * patch, columns * patch, dtype=weight.dtype, device=weight.device)
    with torch.no_grad():
        return tuple(network(pixels, **forward_options(network)).last_hidden_state.shape)
