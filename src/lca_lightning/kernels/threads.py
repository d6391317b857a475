"""Share a kernel's work between the threads torch may use, also after a fork and from several threads.

numba's own parallel loops are not used: their GNU OpenMP layer aborts a forked data-loader worker, and their
fork-safe layer aborts when two Python threads render at once. Kernels release the interpreter lock, so plain
threads do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Lock

import numpy as np
import torch

_lock = Lock()
_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def _forget_pools() -> None:
    global _lock
    _pools.clear()  # a forked child has the objects but not their threads
    _lock = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pools)


def _helpers(count: int) -> ThreadPoolExecutor:
    key = (os.getpid(), count)
    with _lock:
        if key not in _pools:
            _pools[key] = ThreadPoolExecutor(count, thread_name_prefix="lca-kernel")
        return _pools[key]


def run_chunks(task: Callable[[int], object], chunks: int) -> None:
    """Run ``task(0..chunks-1)``, each once, handing the next chunk to whichever thread is free.

    Args:
        task: Called with a chunk number; must release the interpreter lock to gain anything.
        chunks: Number of chunks.
    """
    threads = min(torch.get_num_threads(), chunks)
    numbers = iter(range(chunks))
    if threads < 2:
        _drain(task, numbers)
        return
    futures = [_helpers(threads - 1).submit(_drain, task, numbers) for _ in range(threads - 1)]
    _drain(task, numbers)
    for future in futures:
        if not future.cancel():  # a helper that never got to start has nothing left to do
            future.result()


def _drain(task: Callable[[int], object], numbers: Iterator[int]) -> None:
    for number in numbers:  # next() on a range iterator is atomic
        task(number)


def even_bounds(count: int, smallest: int, chunks_per_thread: int = 4) -> np.ndarray:
    """Cut ``range(count)`` into equal chunks, none smaller than ``smallest``.

    Args:
        count: Length of the range.
        smallest: Fewest items of a chunk.
        chunks_per_thread: More of them share uneven work better; one is best for even work of less than a
            millisecond, because threads wait for the interpreter lock between chunks.

    Returns:
        Chunk boundaries, first 0 and last ``count``.
    """
    most = chunks_per_thread * torch.get_num_threads()
    return _cut(count, max(1, min(most, count // max(1, smallest))))


@cache
def _cut(count: int, chunks: int) -> np.ndarray:
    return np.linspace(0, count, chunks + 1).astype(np.int64)


def balanced_bounds(starts: np.ndarray) -> np.ndarray:
    """Cut tiles into chunks with about equal numbers of intersections.

    Args:
        starts: First intersection of each tile and, last, their total, ``(tiles + 1,)``.

    Returns:
        Chunk boundaries in tiles, first 0 and last ``tiles``.
    """
    tiles = len(starts) - 1
    chunks = max(1, min(6 * torch.get_num_threads(), tiles))
    work = starts + 4 * np.arange(tiles + 1)  # an empty tile costs about as much as four intersections
    bounds = np.searchsorted(work, np.linspace(0, work[-1], chunks + 1))
    bounds[0], bounds[-1] = 0, tiles
    return bounds.astype(np.int64)
