"""Parts that other packages bring: found by their entry points, loaded with one clear error."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Collection, Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from lca_lightning.errors import ConfigError


def installed_plugins(group: str, ours: Collection[str] = ()) -> dict[str, EntryPoint]:
    """Entry points of other packages by name; nothing is imported.

    Args:
        group: Such as ``lca_lightning.importers``.
        ours: Names of our own, which no other package can take.

    Returns:
        Entry points by short name.
    """
    return {point.name: point for point in entry_points(group=group) if point.name not in ours}


def load_plugin(point: EntryPoint, what: str) -> Any:
    """The object behind an entry point.

    Args:
        point: From :func:`installed_plugins`.
        what: What it is, for the message.

    Raises:
        ConfigError: It cannot be imported; names the package.
    """
    try:
        return point.load()
    except Exception as error:  # whatever another package does at import is its own affair
        package = point.dist.name if point.dist else point.module
        raise ConfigError(
            f"The {what} {point.name!r} of package {package} cannot be imported "
            f"({type(error).__name__}: {error}); repair or uninstall that package."
        ) from error


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
    found = installed_plugins(group, shipped)
    if name in found:
        return load_plugin(found[name], what)
    path = shipped.get(name, name)
    if ":" not in path:
        known = {*shipped, *found}
        raise ConfigError(
            f"There is no {what} {name!r}{did_you_mean(name, known)}; choose one of "
            f"{', '.join(sorted(known))}, or give module:Class."
        )
    module, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise ConfigError(
            f"The {what} {name!r} cannot be imported ({type(error).__name__}: {error}); install its package "
            "or correct module:Class."
        ) from error


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``", did you mean 'x'?"`` for the nearest known name, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {near[0]!r}?" if near else ""
