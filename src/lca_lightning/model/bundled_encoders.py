"""Image encoders that need no download: seeded random ones, and a small one trained on synthetic people."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from lca_lightning.errors import CheckpointError

RANDOM_TINY, RANDOM_SMALL, SYNTHETIC_TINY = "random-tiny", "random-small", "synthetic-tiny"
ASSETS = Path(__file__).parent / "assets"


@dataclass(frozen=True)
class Architecture:
    """A plain vision transformer with patches of 16 pixels, its positions learned on a 16x16 grid.

    Args:
        width: Token width.
        layers: Transformer layers.
        heads: Attention heads.
        intermediate: Hidden width of the MLPs.
        trained: Whether its weights are a file of the package (``scripts/train_synthetic_encoder.py`` makes
            it) instead of drawn from a seed.
    """

    width: int
    layers: int
    heads: int
    intermediate: int
    trained: bool = False


BUNDLED = {
    RANDOM_TINY: Architecture(192, 2, 3, 768),
    # as many numbers describe a patch as it has values
    RANDOM_SMALL: Architecture(768, 2, 12, 3072),
    SYNTHETIC_TINY: Architecture(192, 4, 3, 384, trained=True),
}


def bundled_network(name: str) -> nn.Module:
    """Build an encoder of the package.

    Args:
        name: A key of ``BUNDLED``.

    Raises:
        CheckpointError: The package's file of weights is missing or damaged.
    """
    architecture = BUNDLED[name]
    return _trained_network(ASSETS / name) if architecture.trained else untrained_network(architecture)


def untrained_network(architecture: Architecture) -> nn.Module:
    """Seeded random weights; the residual stream keeps the colours of each patch usable.

    Args:
        architecture: Its sizes.
    """
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=architecture.width, num_hidden_layers=architecture.layers,
        num_attention_heads=architecture.heads, intermediate_size=architecture.intermediate,
        image_size=256, patch_size=16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.manual_seed(0)
        return ViTModel(config, add_pooling_layer=False)


def _trained_network(folder: Path) -> nn.Module:
    """Weights stored in half precision, used in float32; the library knows the names of its own versions."""
    from safetensors import SafetensorError
    from transformers import ViTModel

    try:
        with torch.random.fork_rng(devices=[]):
            return ViTModel.from_pretrained(
                folder, add_pooling_layer=False, local_files_only=True, dtype=torch.float32
            )
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"The image encoder {folder.name} of the package is missing or damaged "
            f"({str(error).splitlines()[0].rstrip('.')}); install lca-lightning again."
        ) from error
