"""Pictures and videos into whichever logger a run has."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from torch import Tensor

from lca_lightning.datasets.pictures import to_uint8


def log_picture(loggers: Iterable[Logger], name: str, image_3HW: Tensor, step: int) -> None:
    """Show a picture in TensorBoard and in Weights & Biases; loggers that cannot show pictures get none.

    Args:
        loggers: Those of the trainer.
        name: Tag of the picture, such as ``validation/grid``.
        image_3HW: Float sRGB in [0, 1].
        step: Optimiser steps done.
    """
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(name, image_3HW, step)
        elif isinstance(logger, WandbLogger):
            logger.log_image(name, [to_uint8(image_3HW)], step=step)


def log_video(loggers: Iterable[Logger], name: str, path: Path, step: int) -> None:
    """Show a video in Weights & Biases; TensorBoard would need another encoder, and gets pictures instead.

    Args:
        loggers: Those of the trainer.
        name: Tag of the video.
        path: An ``.mp4``.
        step: Optimiser steps done.
    """
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_video(name, [str(path)], step=step, format=["mp4"])
