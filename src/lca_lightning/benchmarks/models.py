"""Models of the packaged sizes with random weights: speed does not depend on the weights."""

from __future__ import annotations

import copy
import functools
import shutil
import sys
from dataclasses import replace
from typing import Any

import torch

from lca_lightning.benchmarks.sizes import Size, load_config
from lca_lightning.model.avatar_model import AvatarModel
from lca_lightning.model.backbone import Backbone
from lca_lightning.model.configuration import AvatarModelConfig
from lca_lightning.rig.anchors import Anchors, sample_anchors
from lca_lightning.rig.loading import load_rig

# Width, layers and heads of the image encoders that the recipes name: random-tiny, Sapiens 0.3b and 1b.
ENCODERS: dict[Size, tuple[int, int, int]] = {
    "tiny": (192, 2, 3),
    "small": (1024, 24, 16),
    "base": (1536, 40, 24),
}
TRAINED_AT, PATCH = 1024, 16  # pixels


def random_vit(width: int, layers: int, heads: int, intermediate: int, device: torch.device) -> Any:
    """A randomly initialised ``transformers.ViTModel`` in evaluation mode, made on its device.

    Args:
        width: Token width.
        layers: Transformer layers.
        heads: Attention heads.
        intermediate: Hidden width of its MLPs.
        device: Where it is made.
    """
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=intermediate, image_size=TRAINED_AT, patch_size=PATCH, layer_norm_eps=1e-6,
    )  # fmt: skip
    with torch.device(device):
        return ViTModel(config, add_pooling_layer=False).eval().requires_grad_(False)


def random_backbone(size: Size, config: AvatarModelConfig, device: torch.device) -> Backbone:
    """The image encoder of a size, in the precision and chunks that the configuration asks for."""
    width, layers, heads = ENCODERS[size]
    network = random_vit(width, layers, heads, 4 * width, device)
    name = f"random ViT, {layers} layers of width {width}, {heads} heads"
    return Backbone(network, name, config.backbone_precision, config.backbone_chunk).to(device)


def random_model(size: Size, device: torch.device, **changes: Any) -> AvatarModel:
    """An untrained model of a packaged size around a random image encoder.

    Args:
        size: Whose configuration is used.
        device: Where it goes.
        changes: Configuration values that differ from the recipe.
    """
    torch.manual_seed(0)
    config = replace(load_config(size), **changes)
    backbone = random_backbone(size, config, device)
    rig = copy.deepcopy(load_rig(config.rig))
    return AvatarModel(config, rig, backbone, copy.deepcopy(cached_anchors(config))).to(device)


def cached_anchors(config: AvatarModelConfig) -> Anchors:
    """Anchors of a configuration, sampled once a process (8192 take several seconds)."""
    return _sample(
        config.rig, config.anchors, config.gaussians_per_anchor, config.anchor_seed, config.face_anchor_share
    )


def announce_compiling() -> None:
    """Say why nothing is timed yet."""
    print(
        "torch.compile works before anything is timed: a minute or more on a CPU.",
        file=sys.stderr,
        flush=True,
    )


def compiled_graphs() -> int:
    """Graphs that this process has compiled so far."""
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


def can_compile(device: torch.device) -> bool:
    """Whether ``torch.compile`` can work: it needs a C++ compiler on the CPU and Triton on CUDA."""
    if device.type == "cuda":
        return torch.utils._triton.has_triton()
    return any(shutil.which(name) for name in ("g++", "clang++"))


@functools.cache
def _sample(rig: str, anchors: int, gaussians: int, seed: int, face_share: float) -> Anchors:
    return sample_anchors(load_rig(rig), anchors, gaussians, seed, face_share)
