"""Image grids in the logger and in the run directory: references, target, renderings, error, mask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from lca_lightning.batch import Batch
from lca_lightning.datasets.pictures import write_png
from lca_lightning.training.callbacks.logged_pictures import log_picture
from lca_lightning.training.pictures import picture_grid


class ImageGrids(pl.Callback):
    """Shows what the model makes of a batch; the module keeps the last one, with its renderings, as
    ``rendered``.

    Args:
        every_n_steps: Training steps between two grids, 0 for none.
        rows: Target frames in a grid.
    """

    def __init__(self, every_n_steps: int = 500, rows: int = 4) -> None:
        self.every_n_steps = every_n_steps
        self.rows = rows

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Show the batch just learned from."""
        if self.every_n_steps > 0 and trainer.global_step % self.every_n_steps == 0:
            self._show(trainer, pl_module, "train")

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Show the first batch of each validation."""
        if batch_idx == 0 and self.every_n_steps > 0 and not trainer.sanity_checking:
            self._show(trainer, pl_module, "validation")

    def _show(self, trainer: pl.Trainer, pl_module: pl.LightningModule, name: str) -> None:
        rendered = getattr(pl_module, "rendered", None)
        if rendered is None or not trainer.is_global_zero:
            return
        batch, pictures = rendered
        grid_3HW = picture_grid(batch, pictures, self.rows)
        file_name = f"{name}_{trainer.global_step:07d}.png"
        write_png(grid_3HW, Path(trainer.default_root_dir) / "images" / file_name)
        log_picture(trainer.loggers, f"{name}/grid", grid_3HW, trainer.global_step)
