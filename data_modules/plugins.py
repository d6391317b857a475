"""Data modules of other packages, found by their entry points."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import lca_data_modules
from lca_lightning import plugins

ENTRY_POINTS = "lca_lightning.data_modules"


def installed_plugins() -> dict[str, EntryPoint]:
    """Entry points of the group ``lca_lightning.data_modules`` by name; nothing is imported.

    Returns:
        By the names of the entry points and of their classes; our own classes keep their names.
    """
    ours = lca_data_modules.__all__
    found = plugins.installed_plugins(ENTRY_POINTS, ours)
    return {**{entry.attr: entry for entry in found.values() if entry.attr not in ours}, **found}


def plugin_class_path(name: str) -> str:
    """The dotted path behind the short name of an installed data module; other names as they are.

    Args:
        name: Name of an entry point or of its class, or anything else.

    Returns:
        What ``data.class_path`` takes.

    Raises:
        ConfigError: The package is there but cannot be imported; says why.
    """
    if "." in name or name not in (found := installed_plugins()):
        return name
    entry = found[name]
    plugins.load_plugin(entry, "data module")
    return f"{entry.module}.{entry.attr}"


def with_class_paths(data: Any) -> Any:
    """A configuration of ``data`` in which short names of plugins are dotted paths, sources included."""
    if isinstance(data, dict):
        resolved = {key: with_class_paths(value) for key, value in data.items()}
        if isinstance(resolved.get("class_path"), str):
            resolved["class_path"] = plugin_class_path(resolved["class_path"])
        return resolved
    return data


def with_plugins(words: list[str]) -> list[str]:
    """A command line in which ``--data NAME`` and ``--data.class_path NAME`` name plugins by their paths."""
    resolved = list(words)
    for place, word in enumerate(words):
        for option in ("--data", "--data.class_path", "--data.help"):
            if word.startswith(f"{option}="):
                resolved[place] = f"{option}={plugin_class_path(word.split('=', 1)[1])}"
            elif place and words[place - 1] == option:
                resolved[place] = plugin_class_path(word)
    return resolved
