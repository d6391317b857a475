"""A module of a few thousand weights and a trainer that does nothing but its loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer, seed_everything

from lca_lightning.augmentation import AugmentationConfig
from lca_lightning.losses.reconstruction import LossConfig
from lca_lightning.model.configuration import AvatarModelConfig
from lca_lightning.training.module import LCALightningModule
from lca_lightning.training.optim import OptimizerConfig

SIZES: dict[str, Any] = {
    "width": 16,
    "heads": 2,
    "layers": 2,
    "anchors": 64,
    "gaussians_per_anchor": 2,
    "decoder_hidden": 8,
    "adaln_gate_init": 0.2,
}


def module(avatar: dict[str, Any] | None = None, **optimizer: Any) -> LCALightningModule:
    """A tiny module, the same at every call."""
    seed_everything(0, verbose=False)
    return LCALightningModule(
        AvatarModelConfig(backbone="random-tiny", **SIZES | (avatar or {})),
        LossConfig(perceptual_weight=0.0),
        OptimizerConfig(warmup_steps=1, **optimizer),
        AugmentationConfig(),
    )


def quiet_trainer(folder: Path, steps: int, **options: Any) -> Trainer:
    """Nothing but the loop."""
    quiet = dict(
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, logger=False
    )
    return Trainer(max_steps=steps, accelerator="cpu", default_root_dir=folder, **quiet | options)
