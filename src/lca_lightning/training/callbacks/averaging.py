"""A moving average of the weights, for validation, tests and avatars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from lca_lightning.errors import ConfigError


class AveragedWeights(WeightAveraging):
    """Average the weights after every optimiser step and measure the average instead of the latest weights.

    In a checkpoint, ``state_dict`` is the average, so that every reader of checkpoints uses it, and
    ``current_model_state`` what training goes on from. Differences to Lightning's ``EMAWeightAveraging``:
    counters and other buffers are copied, not averaged (an averaged step counter is rounded down and lags);
    the average starts short and grows long, so that it also serves runs much shorter than ``1 / (1 - decay)``
    steps; an interruption in mid-validation, and the end of a run, do not mix up the two sets of weights in
    the checkpoint.

    Args:
        decay: Weight of the past in each update, once ``10 / (1 - decay)`` steps are done; before that it is
            ``(1 + n) / (10 + n)`` after ``n`` updates. None is the plain mean of all steps so far: in a
            second stage it stays near the weights of the first and forgets less of its data than the last
            weights do (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022).
        device: Where the average is kept: ``cpu`` saves device memory; that of the model when None.
    """

    def __init__(self, decay: float | None = 0.9999, device: str | None = None) -> None:
        self.decay = decay
        self._swapped = False
        super().__init__(device=device, use_buffers=False, multi_avg_fn=self._average)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Copy the trained weights; frozen networks are shared with the model.

        Raises:
            ConfigError: The decay is not between 0 and 1.
        """
        if self.decay is not None and not 0.0 < self.decay < 1.0:
            raise ConfigError(f"The decay of averaged weights must lie between 0 and 1, got {self.decay}.")
        super().setup(trainer, pl_module, stage)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin with the weights of the start, which another run may have given."""
        assert self._average_model is not None
        young = int(self._average_model.n_averaged) == 0
        if self._device is None:  # the copy was made before the model moved to its device
            self._average_model.to(pl_module.device)
        if young:
            average = self._average_model.module
            average.load_state_dict(pl_module.state_dict())

    @torch.no_grad()
    def _average(self, averages: Sequence[Tensor], weights: Sequence[Tensor], updates: Tensor | int) -> None:
        count = int(updates)
        plain = count / (count + 1)
        decay = plain if self.decay is None else min(self.decay, (1 + count) / (10 + count))
        torch._foreach_lerp_(list(averages), list(weights), 1.0 - decay)

    def _swap_models(self, pl_module: pl.LightningModule) -> None:
        super()._swap_models(pl_module)
        self._swapped = not self._swapped

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Put the trained weights back when a validation is interrupted, before a checkpoint is written."""
        if self._swapped:
            self._swap_models(pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep both sets of weights: the last checkpoint is still to be written."""

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the average in the module."""
        self._copy_average_to_current(pl_module)
        self._average_model = None

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore both sets of weights; outside of training the average is all that is needed."""
        if self._average_model is not None:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store both sets of weights."""
        if self._average_model is not None:
            super().on_save_checkpoint(trainer, pl_module, checkpoint)
