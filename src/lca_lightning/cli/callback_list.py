"""The list ``trainer.callbacks``, to which recipes, overlays and a checkpoint's configuration each add."""

from __future__ import annotations

from typing import Any


def last_of_each(callbacks: Any) -> Any:
    """Keep the last of each of our own callbacks: a recipe laid over the run that it made names them again.

    Args:
        callbacks: Parsed entries with ``class_path``; callbacks of others may be there several times. One
            entry alone, or None, stays what it is.

    Returns:
        The entries that count, in their order.
    """
    if not isinstance(callbacks, list):
        return callbacks
    names = [str(entry.class_path) for entry in callbacks]
    return [
        entry
        for place, (entry, name) in enumerate(zip(callbacks, names, strict=True))
        if not name.startswith("lca_lightning.") or name not in names[place + 1 :]
    ]
