"""Makes a run that can be killed in the middle of writing a checkpoint."""

from __future__ import annotations

import time
from typing import Any, BinaryIO

import lightning.pytorch as pl
import torch


class _SlowFile:
    """Hands on what is written, with a pause before each piece.

    Args:
        file: Where it goes.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, content: Any) -> int:
        """Write one piece."""
        time.sleep(0.05)
        written = self._file.write(content)
        self._file.flush()
        return written

    def flush(self) -> None:
        """Hand everything on."""
        self._file.flush()


class SlowWriting(pl.Callback):
    """From a step on, writing a checkpoint takes many seconds.

    Args:
        step: Optimiser steps done by then.
    """

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Slow writing down; the callbacks that write come later."""
        if trainer.global_step == self.step:
            save = torch.save
            torch.save = lambda content, file: save(content, _SlowFile(file))  # type: ignore[assignment]


class FailAt(pl.Callback):
    """A run with a fault in it.

    Args:
        step: Optimiser steps done by then.
    """

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Fail before the next step begins."""
        if trainer.global_step == self.step:
            raise RuntimeError("a fault in somebody's callback")
