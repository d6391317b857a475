"""Monocular videos: references and targets are different frames of the one camera."""

from __future__ import annotations

from typing import Any

from lca_data_modules.captures import CaptureDataModule
from lca_lightning.datasets.captures import HoldOut


class InTheWildDataModule(CaptureDataModule):
    """Training pairs within one monocular video (LCA section 3.2, pretraining).

    Sequences of split ``test`` are tested where the data set has them; else the frames that
    ``test_frame_fraction`` holds out of the training sequences. A data set of several cameras is read as one
    video per camera.

    Args:
        root: Folder, packed folder or address of the data set.
        cameras: Use only these cameras; None for all.
        **options: Options of captures and of every data module.

    Raises:
        ConfigError: A value is out of range.
    """

    one_camera = True

    def __init__(self, root: str, cameras: tuple[str, ...] | None = None, **options: Any) -> None:
        super().__init__(root, **options)

    def hold_out(self) -> HoldOut:
        """Frames kept from training, and the cameras in use."""
        cameras = self.hparams["cameras"]
        return HoldOut(
            test_frame_fraction=self.hparams["test_frame_fraction"],
            only_cameras=tuple(cameras) if cameras else None,
        )
