"""Checkpoints that appear complete or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from lca_lightning.training.checkpoint_shards import (
    ShardWriter,
    checkpoint_source,
    remove_shards,
    write_sharded,
)
from lca_lightning.training.checkpoints import read_checkpoint, weights_of
from lca_lightning.writing import write_atomically


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint beside its final name, then rename it.

    Lightning's own writer copies from the temporary folder where that is another file system, and a full disk
    then leaves half a file in the place of the last good one. Tensors stream to the file: at the paper's size
    a copy in memory would take 9 GB. The disk has the new file before it takes the place of the old one.

    Args:
        shard_mib: Largest size of a piece of a checkpoint, MiB; None writes each in one piece.
    """

    def __init__(self, shard_mib: float | None = None) -> None:
        super().__init__()
        self.shard_mib = shard_mib

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
        if self.shard_mib is not None:
            write_sharded(path, self.shard_mib, lambda writer: _save(checkpoint, writer))
            return
        write_atomically(path, lambda temporary: _stream(checkpoint, temporary), durable=True)
        remove_shards(path)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read one checkpoint, in one piece or in shards.

        Args:
            path: The file.
            map_location: As of ``torch.load``.
            weights_only: As of ``torch.load``.

        Raises:
            CheckpointError: A shard is missing or damaged.
        """
        source = checkpoint_source(path)
        if isinstance(source, Path):
            return super().load_checkpoint(source, map_location, weights_only)
        return torch.load(source, map_location=map_location, weights_only=weights_only)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove one checkpoint with its shards."""
        super().remove_checkpoint(path)
        remove_shards(path)


class _CheckpointFile:
    """A binary file that remembers why it could not be written: torch reports only that it could not.

    Args:
        file: The open file, or what cuts it into shards.
    """

    def __init__(self, file: BinaryIO | ShardWriter) -> None:
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
        _save(checkpoint, file)


def _save(checkpoint: dict[str, Any], file: BinaryIO | ShardWriter) -> None:
    target = _CheckpointFile(file)
    try:
        torch.save(checkpoint, target)  # type: ignore[arg-type]
    except RuntimeError:
        if target.failure is not None:
            raise target.failure from None
        raise


def write_weights(
    source: str | Path, target: str | Path, shard_mib: float | None = None, half: bool = False
) -> None:
    """Write the weights of a checkpoint without the state of its training: a third of the size, to carry.

    `lca test`, `lca create`, `load_model` and `model.init_from` take it; a run cannot continue from it.

    Args:
        source: A checkpoint of `lca fit`, in one piece or in shards.
        target: The file to write.
        shard_mib: Largest size of a piece, MiB; None writes it in one piece.
        half: Round matrices to half precision: a sixth of the size.

    Raises:
        CheckpointError: The source is missing, damaged or none of ours.
        DataError: The target cannot be written.
    """
    AtomicCheckpointIO(shard_mib).save_checkpoint(weights_of(read_checkpoint(source), half), target)
