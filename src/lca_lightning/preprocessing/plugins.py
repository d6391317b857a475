"""Finding a class by its short name, by ``module:Class``, or among the entry points of installed packages."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import Any

from lca_lightning.errors import ConfigError


def find_plugin(name: str, shipped: dict[str, str], group: str, what: str) -> Any:
    """The object with this name.

    Args:
        name: A short name, or ``module:Class``.
        shipped: Short names of this package and the ``module:Class`` they stand for.
        group: Entry-point group that other packages register short names in.
        what: What it is, for messages.

    Raises:
        ConfigError: Nothing of that name, or it cannot be imported.
    """
    path = shipped.get(name, name)
    found = {point.name: point for point in entry_points(group=group)}
    if path == name and name in found:
        path = found[name].value
    if ":" not in path:
        known = ", ".join(sorted({*shipped, *found}))
        raise ConfigError(f"There is no {what} {name!r}; choose one of {known}, or give module:Class.")
    module, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"The {what} {name!r} cannot be imported ({error}); install its package or correct module:Class."
        ) from error
