"""Checkpoints that appear complete or not at all."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from lca_lightning.writing import write_atomically


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint beside its final name, then rename it.

    Lightning's own writer copies from the temporary folder where that is another file system, and a full disk
    then leaves half a file in the place of the last good one.
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
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_atomically(path, lambda temporary: temporary.write_bytes(content.getbuffer()))
