"""Checkpoints that appear complete or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from lca_lightning.writing import write_atomically


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint beside its final name, then rename it.

    Lightning's own writer copies from the temporary folder where that is another file system, and a full disk
    then leaves half a file in the place of the last good one. Tensors stream to the file: at the paper's size
    a copy in memory would take 9 GB.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write one checkpoint.

        Args:
            checkpoint: What to write.
            path: The file.
            storage_options: Not used.

        Raises:
            DataError: The folder cannot be written or the disk is full; the file that was there is untouched.
        """
        write_atomically(path, lambda temporary: _stream(checkpoint, temporary))


class _CheckpointFile:
    """A binary file that remembers why it could not be written: torch reports only that it could not.

    Args:
        file: The open file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.failure: OSError | None = None

    def write(self, content: Any) -> int:
        """Write all of the content."""
        try:
            return self._file.write(content)
        except OSError as error:
            self.failure = error
            raise

    def flush(self) -> None:
        """Hand everything to the disk."""
        self._file.flush()


def _stream(checkpoint: dict[str, Any], path: Path) -> None:
    with path.open("wb") as file:
        target = _CheckpointFile(file)
        try:
            torch.save(checkpoint, target)  # type: ignore[arg-type]
        except RuntimeError:
            if target.failure is not None:
                raise target.failure from None
            raise
