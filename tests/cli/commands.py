"""Run `lca` in this process, at sizes that take seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from lca_lightning.cli.main import main

SMALL_MODEL = {
    "backbone": "random-tiny",
    "width": 16,
    "heads": 2,
    "layers": 2,
    "anchors": 64,
    "gaussians_per_anchor": 2,
    "decoder_hidden": 8,
    "gradient_checkpointing": "false",
}
SMALL_DATA = {
    "image_size": "[64,48]",
    "face_size": "[32,32]",
    "views": "[1,2]",
    "test_views": 2,
    "targets_per_sample": 1,
    "num_workers": 0,
    "frame_cache_mb": 16,
    "test_targets": 2,
}
SMALL_RUN = {
    "trainer.max_steps": 4,
    "trainer.val_check_interval": 2,
    "trainer.limit_val_batches": 1,
    "trainer.num_sanity_val_steps": 0,
    "trainer.log_every_n_steps": 1,
    "trainer.accelerator": "cpu",
    "image_grids.every_n_steps": 2,
    "model.losses.perceptual_weight": 0,
    "model.optimizer.warmup_steps": 1,
}


def lca(*words: str) -> int:
    """Run one command and return its exit status."""
    try:
        main(list(words))
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def small(root: Path, **run: Any) -> list[str]:
    """Options that shrink a recipe to seconds.

    Args:
        root: Data set.
        **run: Further run options, with ``__`` for the dots.
    """
    options = {f"model.avatar.{name}": value for name, value in SMALL_MODEL.items()}
    options |= {f"data.init_args.{name}": value for name, value in SMALL_DATA.items()}
    options |= SMALL_RUN | {"data.init_args.root": root}
    options |= {name.replace("__", "."): value for name, value in run.items()}
    return [f"--{name}={value}" for name, value in options.items()]


class Recorder(pl.Callback):
    """Keeps the loss and the frames of every step, for all runs of a process."""

    steps: list[tuple[int, str, float]] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the step just taken."""
        self.steps.append((trainer.global_step, batch.frames[0][0], float(outputs["loss"])))


class InterruptAt(pl.Callback):
    """Press Ctrl-C when a step is done.

    Args:
        step: Optimiser steps done by then.
    """

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Interrupt before the next step begins."""
        if trainer.global_step == self.step:
            raise KeyboardInterrupt
