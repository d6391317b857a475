"""Speed, memory and use of the device in training: logged, and printed as one line."""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.throughput import get_available_flops

from lca_lightning.batch import Batch
from lca_lightning.training.callbacks.data_wait import DataWait

_PRECISIONS = {"bf16": torch.bfloat16, "16": torch.float16}


class Throughput(pl.Callback):
    """Logs what training costs, at the trainer's logging interval; time spent in validation does not count.

    Logged under ``train/``: ``samples_per_second`` (subjects) and ``images_per_second`` (target frames) over
    all processes; ``tflops``, the model's operations a second on a device, and ``mfu``, their share of what
    its maker promises for this precision (left out where that is not known, as on CPUs);
    ``peak_memory_gib`` of this process so far, on CUDA what tensors held, else the resident set;
    ``data_wait_share``, the share of time waiting for batches (left out under a profiler of the user's).
    """

    def __init__(self) -> None:
        self._interval = _Interval()
        self._paused_at = 0.0
        self._step = 0
        self._peak: int | None = None
        self._memory = 0.0
        self._announced = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start counting."""
        self._interval, self._step = _Interval(_waited(trainer)), trainer.global_step
        self._peak = peak_flops(pl_module.device, str(trainer.precision))
        self._memory, self._announced = 0.0, False

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock."""
        self._paused_at = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let it go on."""
        self._interval.started += time.perf_counter() - self._paused_at

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Count the batch; log and print when the trainer logs."""
        flops = getattr(getattr(pl_module, "flops", None), "current", None)
        self._interval.add(batch, flops)
        self._memory = max(self._memory, peak_memory_gib(pl_module.device))
        if flops is not None and not self._announced:
            self._announced = True
            views = int(batch.references.view_mask_BV.sum())
            frames = batch.targets.w2c_BT44.shape[1]
            size = f"{batch.size} subject(s), {views} view(s), {frames} frame(s) each"
            pl_module.print(f"Training step: {flops} for {size}.")
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if trainer.global_step == self._step or not every or trainer.global_step % every:
            return
        self._step = trainer.global_step
        values = self._interval.rates(trainer.world_size, _waited(trainer), self._peak)
        values["peak_memory_gib"] = self._memory
        self._interval = _Interval(_waited(trainer))
        logged = {f"train/{name}": value for name, value in values.items() if value is not None}
        pl_module.log_dict(logged, batch_size=batch.size)
        loss = trainer.callback_metrics.get("train/loss")
        values["loss"] = None if loss is None else float(loss)
        pl_module.print(log_line(trainer.global_step, values))


class _Interval:
    """What was done since the last line of the log."""

    def __init__(self, waited: float | None = None) -> None:
        self.started = time.perf_counter()
        self.waited_before = waited
        self.samples, self.images = 0, 0
        self.flops: int | None = 0

    def add(self, batch: Batch, flops: Any) -> None:
        """Count a batch; one step of unknown cost makes the cost of the interval unknown."""
        self.samples += batch.size
        self.images += batch.targets.images_BT3HW.shape[0] * batch.targets.images_BT3HW.shape[1]
        self.flops = None if flops is None or self.flops is None else self.flops + flops.model

    def rates(self, processes: int, waited: float | None, peak: int | None) -> dict[str, float | None]:
        """Compute the rates; None where something is not known."""
        seconds = max(time.perf_counter() - self.started, 1e-9)
        speed = None if self.flops is None else self.flops / seconds
        wait = None if waited is None or self.waited_before is None else waited - self.waited_before
        return {
            "samples_per_second": self.samples * processes / seconds,
            "images_per_second": self.images * processes / seconds,
            "tflops": None if speed is None else speed / 1e12,
            "mfu": None if speed is None or not peak else speed / peak,
            "data_wait_share": None if wait is None else min(1.0, wait / seconds),
        }


def log_line(step: int, values: dict[str, float | None]) -> str:
    """Format one line of the log.

    Args:
        step: Optimiser steps done.
        values: ``loss``, ``peak_memory_gib``, ``samples_per_second``, ``tflops``, ``mfu`` and
            ``data_wait_share``; None for what is not known.

    Returns:
        A line whose columns keep their places.
    """
    columns = (
        ("loss", "loss {:.4f}", 1.0),
        ("peak_memory_gib", "memory {:.1f} GiB", 1.0),
        ("samples_per_second", "{:.2f} samples/s", 1.0),
        ("tflops", "{:.3g} TFLOP/s", 1.0),
        ("mfu", "MFU {:.1f}%", 100.0),
        ("data_wait_share", "data {:.0f}%", 100.0),
    )
    texts = [f"step {step}"]
    for name, text, factor in columns:
        value = values.get(name)
        before, after = text[: text.index("{")], text[text.index("}") + 1 :]
        texts.append(f"{before}-{after.rstrip('%')}" if value is None else text.format(value * factor))
    return "  ".join(texts)


def peak_flops(device: torch.device, precision: str) -> int | None:
    """Operations a second that the device's maker promises for dense products, None where not known.

    Args:
        device: Where training runs.
        precision: The trainer's, such as ``bf16-mixed``.
    """
    if device.type != "cuda":
        return None
    dtype = next((dtype for name, dtype in _PRECISIONS.items() if precision.startswith(name)), torch.float32)
    return get_available_flops(device, dtype)


def peak_memory_gib(device: torch.device) -> float:
    """Most memory that this process has held, GiB: tensors on CUDA, else its resident set."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def _waited(trainer: pl.Trainer) -> float | None:
    profiler = trainer.profiler  # type: ignore[attr-defined]
    return profiler.seconds if isinstance(profiler, DataWait) else None
