"""Two kinds of checkpoints in the run directory: a rolling ``last.ckpt`` and ``best.ckpt`` by validation."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.exceptions import SIGTERMException


class RollingCheckpoint(Checkpoint):
    """Write ``last.ckpt`` by steps or minutes and at the end, ``interrupted.ckpt`` on an exception.

    The exception has a file of its own: a run that ends in NaN must not overwrite its last good weights.

    Args:
        every_n_steps: Optimiser steps between two writes, 0 for never.
        every_n_minutes: Minutes between two writes, 0 for never.
    """

    def __init__(self, every_n_steps: int = 1000, every_n_minutes: float = 15.0) -> None:
        self.every_n_steps = every_n_steps
        self.every_n_minutes = every_n_minutes
        self._saved_step = -1
        self._saved_at = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start counting from the step the run starts at."""
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Write when the step or the time says so."""
        step = trainer.global_step
        if step == self._saved_step:
            return
        by_step = self.every_n_steps > 0 and step % self.every_n_steps == 0
        by_time = self.every_n_minutes > 0 and time.monotonic() - self._saved_at > 60.0 * self.every_n_minutes
        if trainer.world_size > 1:  # clocks differ between processes, and all must write together
            by_time = bool(trainer.strategy.broadcast(by_time))
        if by_step or by_time:
            self._save(trainer, "last.ckpt")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the final state."""
        if trainer.global_step != self._saved_step:
            self._save(trainer, "last.ckpt")

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Write what was learned since the last checkpoint, unless only one of several processes failed."""
        everywhere = isinstance(exception, (KeyboardInterrupt, SIGTERMException))
        fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if not fitting or (trainer.world_size > 1 and not everywhere):
            return
        if trainer.global_step not in (0, self._saved_step):
            self._save(trainer, "interrupted.ckpt")

    def _save(self, trainer: pl.Trainer, name: str) -> None:
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            trainer.save_checkpoint(Path(trainer.default_root_dir) / name)


class BestCheckpoint(ModelCheckpoint):
    """Keep the checkpoint with the best validation score as ``best.ckpt``.

    Args:
        monitor: Logged value to watch.
        mode: ``max`` or ``min``.
    """

    def __init__(self, monitor: str = "val/psnr", mode: str = "max") -> None:
        super().__init__(
            filename="best",
            monitor=monitor,
            mode=mode,
            save_top_k=1,
            save_on_train_epoch_end=False,
            auto_insert_metric_name=False,
            enable_version_counter=False,
        )

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Point at the run directory."""
        self.dirpath = trainer.default_root_dir
        super().setup(trainer, pl_module, stage)
