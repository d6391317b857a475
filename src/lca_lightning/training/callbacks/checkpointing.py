"""Two kinds of checkpoints in the run directory: a rolling ``last.ckpt`` and ``best.ckpt`` by validation."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any, Literal, NoReturn

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint, WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn

from lca_lightning.errors import ConfigError
from lca_lightning.training.callbacks.interruption import StopRequest
from lca_lightning.training.checkpoint_writing import write_weights


class RollingCheckpoint(Checkpoint):
    """Write ``last.ckpt`` by steps or minutes, at the end and when a signal asks the run to stop.

    Another exception gets ``interrupted.ckpt``: a run that ends in NaN must not overwrite its last good
    weights. Of several processes, only one may have failed, and nothing is written then.

    Args:
        every_n_steps: Optimiser steps between two writes, 0 for never.
        every_n_minutes: Minutes between two writes, 0 for never.
        slice_minutes: Minutes after which the run writes, says how to continue and ends with status 0, for
            machines that are lent in slices; counted from the start of the command's work, 0 for never.
        shard_mib: Largest size of a piece of a checkpoint, MiB; None writes each checkpoint in one piece.
        weights: Precision, ``float32`` or ``float16``, in which ``weights.ckpt`` is written too when the run
            or its slice ends: the weights without the state of the training, to carry; None for never.
    """

    def __init__(
        self,
        every_n_steps: int = 1000,
        every_n_minutes: float = 15.0,
        slice_minutes: float = 0.0,
        shard_mib: float | None = None,
        weights: Literal["float32", "float16"] | None = None,
    ) -> None:
        self.every_n_steps = every_n_steps
        self.every_n_minutes = every_n_minutes
        self.slice_minutes, self.shard_mib, self.weights = slice_minutes, shard_mib, weights
        self._began = time.monotonic()
        self.stop = StopRequest()
        self._step = self._saved_step = -1
        self._saved_at = 0.0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take over the signals before loading processes start: they would die of them."""
        self.stop.listen()

    def on_sanity_check_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take over the signals that Lightning has claimed in the meantime."""
        self.stop.listen()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start counting from the step the run starts at."""
        self.stop.listen()
        self._step = self._saved_step = trainer.global_step
        self._saved_at = time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """After an optimiser step, write when the step, the time or a signal says so."""
        step = trainer.global_step
        if step == self._step:  # gradients are being accumulated: they are in no checkpoint
            return
        self._step = step
        late = self.every_n_minutes > 0 and time.monotonic() - self._saved_at > 60.0 * self.every_n_minutes
        over = self.slice_minutes > 0 and time.monotonic() - self._began > 60.0 * self.slice_minutes
        number, by_time, slice_over = self.stop.agree(trainer, late, over and step != trainer.max_steps)
        by_step = self.every_n_steps > 0 and step % self.every_n_steps == 0
        if by_step or by_time or number or slice_over:
            self._save(trainer, "last.ckpt")
        if number:
            path = Path(trainer.default_root_dir) / "last.ckpt"
            name = signal.Signals(number).name
            pl_module.print(f"{name} at step {step}: wrote {path}. To go on: lca fit --ckpt_path {path}")
            self.stop.leave(trainer, number)
        if slice_over:
            self._end_slice(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the final state."""
        if trainer.global_step != self._saved_step:
            self._save(trainer, "last.ckpt")
        self._write_weights(trainer)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Leave the signals alone again."""
        self.stop.release()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Write what was learned since the last checkpoint; several processes cannot agree to do so now."""
        fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if fitting and trainer.world_size == 1 and trainer.global_step not in (0, self._saved_step):
            self._save(trainer, "interrupted.ckpt")

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Refuse to go on from averaged weights as if they were the trained ones.

        Raises:
            ConfigError: The run averaged its weights, this one does not.
        """
        averaging = any(isinstance(callback, WeightAveraging) for callback in trainer.callbacks)  # type: ignore[attr-defined]
        if trainer.state.fn == TrainerFn.FITTING and "averaging_state" in checkpoint and not averaging:
            raise ConfigError(
                f"{trainer.ckpt_path} is of a run that averages its weights; add `--config overlay/ema` to"
                " continue it, or start from the average by model.init_from."
            )

    def _end_slice(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> NoReturn:
        """End the command, not the run: its state is written."""
        self._write_weights(trainer)
        path = Path(trainer.default_root_dir) / "last.ckpt"
        pl_module.print(
            f"The slice of {self.slice_minutes:g} minutes ended at step {trainer.global_step} of"
            f" {trainer.max_steps}: wrote {path}. To go on: lca fit --ckpt_path {path}"
        )
        raise SystemExit(0)

    def _write_weights(self, trainer: pl.Trainer) -> None:
        if self.weights and trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            folder = Path(trainer.default_root_dir)
            write_weights(
                folder / "last.ckpt", folder / "weights.ckpt", self.shard_mib, self.weights == "float16"
            )

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
