"""What each process of a run saw, in a file that the test reads when the run is over."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch


class Recorder(pl.Callback):
    """Writes losses, gradients and optimiser state of a process to ``rank<N>.json`` in the run directory."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self.never_reached: set[str] | None = None
        self.null: set[str] | None = None

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the batch just learned from."""
        self.steps.append(
            {
                "step": trainer.global_step,
                "loss": float(outputs["loss"]),
                "frames": [row[0] for row in batch.frames],
                "faces": int((batch.references.face_mask_BV & batch.references.view_mask_BV).sum()),
            }
        )

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Look at the gradients that all processes agreed on."""
        trained = {name: value for name, value in pl_module.named_parameters() if value.requires_grad}
        without = {name for name, value in trained.items() if value.grad is None}
        null = {name for name, value in trained.items() if value.grad is None or not bool(value.grad.any())}
        self.never_reached = without | (self.never_reached or set())
        self.null = null if self.null is None else null & self.null

    def on_exception(self, trainer: pl.Trainer, *_: Any) -> None:
        """Write the file when the run is interrupted."""
        self.on_train_end(trainer)

    def on_train_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Write the file."""
        optimizer = trainer.optimizers[0]
        local = getattr(optimizer, "optim", optimizer)  # the share of a sharded optimiser
        wrapper = trainer.strategy.model
        report = {
            "steps": self.steps,
            "without_gradient_once": sorted(self.never_reached or ()),
            "null_always": sorted(self.null or ()),
            "optimizer": type(optimizer).__name__,
            "optimizer_values": sum(state["exp_avg"].numel() for state in local.state.values()),
            "stale_values": len(optimizer.state) if local is not optimizer else 0,
            "wrapper": type(wrapper).__name__,
            "searches_unused": bool(getattr(wrapper, "find_unused_parameters", False)),
            "world_size": trainer.world_size,
        }
        path = Path(trainer.default_root_dir) / f"rank{trainer.global_rank}.json"
        path.write_text(json.dumps(report))


class SignalAt(pl.Callback):
    """Sends a signal to one process only, while a step is under way.

    Args:
        step: Optimiser steps done when it comes.
        rank: The process.
        number: The signal, `SIGTERM` by default.
    """

    def __init__(self, step: int, rank: int = 0, number: int = 15) -> None:
        self.step, self.rank, self.number = step, rank, number

    def on_before_optimizer_step(self, trainer: pl.Trainer, *_: Any) -> None:
        """Send it between the backward pass and the update."""
        if trainer.global_step == self.step and trainer.global_rank == self.rank:
            os.kill(os.getpid(), self.number)
