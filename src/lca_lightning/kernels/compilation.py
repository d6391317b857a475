"""Compile kernels with numba, keeping the machine code wherever this installation lets us write."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

# Plain fastmath=True would also assume that no NaN exists and delete the tests that cull them.
FAST_MATH = {"reassoc", "contract", "arcp", "nsz", "afn"}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a kernel at its first call; it releases the interpreter lock, so threads can share the work.

    Args:
        function: Python function in numba's language.

    Returns:
        The dispatcher. Its machine code is cached beside the source, else in the user's cache folder (numba's
        own order), else in a private folder under the temporary directory, else not at all.
    """
    options: dict[str, Any] = {"nogil": True, "fastmath": FAST_MATH, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba found no folder it may write to
        folder = private_cache_folder()
    if folder is None:
        return numba.njit(**options)(function)
    settings: Any = numba.config
    previous = settings.CACHE_DIR
    settings.CACHE_DIR = str(folder)
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:
        return numba.njit(**options)(function)
    finally:
        settings.CACHE_DIR = previous


def private_cache_folder() -> Path | None:
    """Make a cache folder that no other user can write to, because numba's index files are trusted when read.

    Returns:
        The folder, or ``None`` when there is nowhere to write or somebody else has the name.
    """
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"lca-lightning-kernels-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return None
    foreign = hasattr(os, "getuid") and status.st_uid != user
    if foreign or not stat.S_ISDIR(status.st_mode) or stat.S_IMODE(status.st_mode) & 0o022:
        return None
    return folder
