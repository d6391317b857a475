"""The list ``trainer.callbacks``, to which recipes, overlays and a checkpoint's configuration each add."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def last_of_each(callbacks: Sequence[Any] | None) -> list[Any] | None:
    """Keep the last of each of our own callbacks: a recipe laid over the run that it made names them again.

    Args:
        callbacks: Parsed entries with ``class_path``; callbacks of others may be there several times.

    Returns:
        The entries that count, in their order.
    """
    if callbacks is None:
        return None
    names = [_own_class(entry) for entry in callbacks]
    last = {name: place for place, name in enumerate(names)}
    return [
        entry
        for place, (entry, name) in enumerate(zip(callbacks, names, strict=True))
        if name is None or last[name] == place
    ]


def _own_class(entry: Any) -> str | None:
    name = str(entry.get("class_path", "")) if hasattr(entry, "get") else ""
    return name if name.startswith("lca_lightning.") else None
