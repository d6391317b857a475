"""Files that appear complete or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from lca_lightning.errors import DataError

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a place that takes no more: a full disk, a quota, a limit on the size of files."""


def write_atomically(path: str | Path, write: Callable[[Path], object], durable: bool = False) -> Path:
    """Write a file under a temporary name, then rename it.

    Args:
        path: The file; its folder is made.
        write: Fills the temporary file it is given.
        durable: Wait until the disk has it, so that a power cut cannot leave an empty file under the name.

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
        if durable:
            flush_to_disk(temporary)
        temporary.replace(path)
        if durable:
            flush_to_disk(path.parent)
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"Cannot write {path} ({write_failure(error)}); free some space or choose another folder."
        ) from error
    finally:
        with contextlib.suppress(OSError):  # there is nothing to remove where nothing could be written
            temporary.unlink()
    return path


def flush_to_disk(path: str | Path) -> None:
    """Wait until the disk has a file, or the names in a folder.

    Args:
        path: A file, or a folder; Windows cannot be asked for a folder.

    Raises:
        OSError: The disk failed.
    """
    if os.name == "nt" and os.path.isdir(path):
        return
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_unwritable(path: str | Path) -> None:
    """Refuse a place that cannot be written before long work is done for it; makes nothing.

    Args:
        path: A file or folder that will be made.

    Raises:
        DataError: A file stands where a folder must be, or the folder may not be written.
    """
    path = Path(path)
    existing = next(place for place in (path, *path.absolute().parents) if place.exists())
    if existing != path and not existing.is_dir():
        raise DataError(f"Cannot write {path}: {existing} is a file, not a folder; choose another place.")
    if not os.access(existing, os.W_OK):
        raise DataError(f"Cannot write {path}: {existing} may not be written; choose another place.")


def write_failure(error: Exception) -> str:
    """Why a write failed, in words: a file in the place of a folder reads as such, not as "File exists"."""
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        return f"{error.filename} is a file, not a folder"
    return getattr(error, "strerror", None) or str(error)


def write_text(path: str | Path, text: str) -> Path:
    """Write a UTF-8 text file by `write_atomically`."""
    return write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
