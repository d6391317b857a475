"""Looks into a run that averages its weights."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch

Weights = dict[str, torch.Tensor]


def weights_of(module: torch.nn.Module) -> Weights:
    """A copy of all weights and stored buffers."""
    return {name: value.clone() for name, value in module.state_dict().items()}


class Probe(pl.Callback):
    """Keeps the weights after each step and those that validation measured, for all runs of a process.

    Args:
        stop_in_validation: Press Ctrl-C in the validation after this step; 0 for never.
    """

    trained: dict[int, Weights] = {}
    validated: dict[int, Weights] = {}

    def __init__(self, stop_in_validation: int = 0) -> None:
        self.stop_in_validation = stop_in_validation

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Note the weights just trained."""
        self.trained[trainer.global_step] = weights_of(pl_module)

    def on_validation_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Note the weights that are measured."""
        self.validated[trainer.global_step] = weights_of(pl_module)
        if self.stop_in_validation and trainer.global_step == self.stop_in_validation:
            raise KeyboardInterrupt
