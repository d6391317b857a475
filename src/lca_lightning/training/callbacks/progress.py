"""A progress bar over the whole run, with rate and time left."""

from __future__ import annotations

import sys
import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from tqdm.auto import tqdm

_TERMINAL_SECONDS, _FILE_SECONDS = 0.2, 15.0  # between two drawings


class Progress(ProgressBar):
    """One bar for all training steps, and one for each evaluation.

    The rate is the mean since the start of this command, validations and checkpoints included, so that the
    time left is that of the whole run, also of a resumed one. Into a file, such as a job's log, the bar is
    drawn four times a minute, and those of validations are left out.

    Args:
        shown: Logged values to show beside the rate.
    """

    def __init__(self, shown: tuple[str, ...] = ("train/loss", "val/psnr")) -> None:
        super().__init__()
        self.shown = shown
        self._enabled = True
        self._training: tqdm | None = None
        self._evaluation: tqdm | None = None
        self._terminal = sys.stderr.isatty()
        self._interval = _TERMINAL_SECONDS if self._terminal else _FILE_SECONDS
        self._read_at = 0.0

    @property
    def is_enabled(self) -> bool:
        """Whether this process shows bars; Lightning's ``print`` asks."""
        return self._enabled

    def disable(self) -> None:
        """Show nothing; Lightning calls this on all but one process."""
        self._enabled = False

    def enable(self) -> None:
        """Show the bars again."""
        self._enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar of the run, at the step it starts from."""
        total = trainer.estimated_stepping_batches
        self._training = tqdm(
            total=None if total == float("inf") else int(total),
            initial=trainer.global_step,
            desc="fit",
            unit="step",
            disable=not self._enabled,
            dynamic_ncols=True,
            smoothing=0.0,
            mininterval=self._interval,
            maxinterval=2 * self._interval,
        )

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Move by the optimiser steps done."""
        if self._training is None or self._training.disable:
            return
        if time.monotonic() - self._read_at > self._interval:  # reading a value waits for the device
            self._show_values(trainer)
        self._training.update(trainer.global_step - self._training.n)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar of the run."""
        if self._training is not None and not self._training.disable:
            self._show_values(trainer)
        self._close()

    def on_exception(self, *_: Any) -> None:
        """Close whatever is open, so that the message stands on a line of its own."""
        self._close()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar of a validation."""
        batches = trainer.num_sanity_val_batches if trainer.sanity_checking else trainer.num_val_batches
        self._open("validate", batches)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar of a test."""
        self._open("test", trainer.num_test_batches)

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar of a prediction."""
        self._open("predict", trainer.num_predict_batches)

    def on_validation_batch_end(self, *_: Any) -> None:
        """Count one batch."""
        self._advance()

    def on_test_batch_end(self, *_: Any) -> None:
        """Count one batch."""
        self._advance()

    def on_predict_batch_end(self, *_: Any) -> None:
        """Count one batch."""
        self._advance()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar of a validation."""
        self._close_evaluation()

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar of a test."""
        self._close_evaluation()

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar of a prediction."""
        self._close_evaluation()

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print a line without tearing the bar."""
        text = " ".join(map(str, args))
        if self._terminal:
            tqdm.write(text)
        else:  # no need to draw the bar again
            print(text, flush=True)

    def _show_values(self, trainer: pl.Trainer) -> None:
        assert self._training is not None
        values = trainer.progress_bar_metrics | trainer.callback_metrics
        text = {name: f"{float(values[name]):.4g}" for name in self.shown if name in values}
        self._training.set_postfix(text, refresh=False)
        self._read_at = time.monotonic()

    def _open(self, name: str, batches: list[int | float]) -> None:
        total = sum(batches)
        self._evaluation = tqdm(
            total=None if total == float("inf") else int(total),
            desc=name,
            unit="batch",
            leave=name != "validate",
            disable=not self._enabled or (name == "validate" and not self._terminal),
            dynamic_ncols=True,
            mininterval=self._interval,
            maxinterval=2 * self._interval,
        )

    def _advance(self) -> None:
        if self._evaluation is not None:
            self._evaluation.update()

    def _close_evaluation(self) -> None:
        if self._evaluation is not None:
            self._evaluation.close()
            self._evaluation = None

    def _close(self) -> None:
        self._close_evaluation()
        if self._training is not None:
            self._training.close()
            self._training = None
