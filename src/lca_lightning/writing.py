"""Files that appear complete or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from lca_lightning.errors import DataError


def write_atomically(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Write a file under a temporary name, then rename it.

    Args:
        path: The file; its folder is made.
        write: Fills the temporary file it is given.

    Returns:
        The path.

    Raises:
        DataError: The folder cannot be written or the disk is full; nothing is left behind.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.partial-{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(
            f"Cannot write {path} ({reason}); free some space or choose another folder."
        ) from error
    finally:
        with contextlib.suppress(OSError):  # there is nothing to remove where nothing could be written
            temporary.unlink()
    return path


def write_text(path: str | Path, text: str) -> Path:
    """Write a UTF-8 text file by `write_atomically`."""
    return write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
