"""Speed and memory of training: target images per second, the learning rate, peak device memory."""

from __future__ import annotations

import time
from typing import Any

import lightning.pytorch as pl
import torch

from lca_lightning.batch import Batch


class Throughput(pl.Callback):
    """Logs ``train/images_per_second`` over all processes, and CUDA's peak memory."""

    def __init__(self) -> None:
        self._started = 0.0
        self._images = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start counting."""
        self._started, self._images = time.perf_counter(), 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Count the batch; log when the trainer logs."""
        self._images += batch.targets.images_BT3HW.shape[0] * batch.targets.images_BT3HW.shape[1]
        if trainer.global_step % trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return
        seconds = max(time.perf_counter() - self._started, 1e-9)
        rate = self._images * trainer.world_size / seconds
        pl_module.log("train/images_per_second", rate, batch_size=batch.size)
        if pl_module.device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(pl_module.device) / 2**30
            pl_module.log("train/peak_memory_gib", peak, batch_size=batch.size)
        self._started, self._images = time.perf_counter(), 0
