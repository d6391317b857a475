"""Calibrated multi-view captures: references from some cameras and frames, targets from others."""

from __future__ import annotations

from typing import Any

from lca_data_modules.captures import CaptureDataModule
from lca_lightning.datasets.captures import HoldOut


class StudioDataModule(CaptureDataModule):
    """Training pairs across cameras and frames of a multi-view capture (LCA section 3.2, post-training).

    Sequences of split ``test`` are tested where the data set has them: references from every second camera,
    targets from the others. Else the test uses what ``test_cameras`` and ``test_frame_fraction`` hold out of
    the training sequences: one real capture can be trained on three cameras and the first part of its frames,
    and tested on the fourth camera and the last part.

    Args:
        root: Folder, packed folder or address of the data set.
        train_cameras: Cameras for training and references; None for all that are not held out.
        test_cameras: Cameras held out; None for those that ``train_cameras`` leaves, if given.
        **options: Options of captures and of every data module.

    Raises:
        ConfigError: A value is out of range.
    """

    def __init__(
        self,
        root: str,
        train_cameras: tuple[str, ...] | None = None,
        test_cameras: tuple[str, ...] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(root, **options)

    def hold_out(self) -> HoldOut:
        """Cameras and frames kept from training."""
        train, test = self.hparams["train_cameras"], self.hparams["test_cameras"]
        return HoldOut(
            tuple(train) if train else None,
            tuple(test) if test else None,
            self.hparams["test_frame_fraction"],
        )
