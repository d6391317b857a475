"""Processes of a pool, which would outlive a parent that was killed and wait for its work for ever."""

from __future__ import annotations

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """Make this child process end as soon as its parent is gone; an initializer for pools of processes."""
    threading.Thread(target=_follow, daemon=True).start()


def _follow() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
