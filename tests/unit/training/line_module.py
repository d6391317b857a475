"""A module of two weights for tests of what happens around training; it takes milliseconds."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader


class Line(pl.LightningModule):
    """Fits a line; its validation score rises with every step."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.model = self.layer

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Squared error of the line."""
        loss = (self.layer(batch) - 2.0 * batch).square().mean()
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """Two scores and a count, as the real module logs them."""
        values = {"val/psnr": 10.0 + self.global_step, "val/frames": 1.0}
        self.log_dict(values, batch_size=len(batch))

    def configure_optimizers(self) -> Any:
        """Plain descent."""
        return torch.optim.SGD(self.parameters(), lr=0.1)


class LineData(pl.LightningDataModule):
    """Sixteen numbers to learn from, two batches to validate.

    Args:
        validated: Whether there is anything to validate.
    """

    def __init__(self, validated: bool = True) -> None:
        super().__init__()
        self.validated = validated

    def train_dataloader(self) -> DataLoader:
        """Batches of one."""
        return DataLoader([torch.tensor([float(i % 3)]) for i in range(16)])  # type: ignore[arg-type]

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        """Two batches, or nothing."""
        return DataLoader([torch.ones(1)] * 2) if self.validated else []  # type: ignore[arg-type]
