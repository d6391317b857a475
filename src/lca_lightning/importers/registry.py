"""Importers by name: ours, and those that other packages register as entry points."""

from __future__ import annotations

import difflib
import importlib
from importlib.metadata import EntryPoint, entry_points

from lca_lightning.errors import ConfigError, UsageError
from lca_lightning.importers.source import Importer

ENTRY_POINT_GROUP = "lca_lightning.importers"
_OURS = {
    "goliath": "goliath:GoliathImporter",
    "ava256": "ava256:Ava256Importer",
    "dna_rendering": "dna_rendering:DNARenderingImporter",
    "mvhumannet": "mvhumannet:MVHumanNetImporter",
    "actorshq": "actorshq:ActorsHQImporter",
    "nersemble": "nersemble:NeRSembleImporter",
    "zju_mocap": "zju_mocap:ZJUMoCapImporter",
    "neuman": "neuman:NeuManImporter",
    "huge100k": "huge100k:HuGe100KImporter",
    "people_snapshot": "people_snapshot:PeopleSnapshotImporter",
    "humanolat": "humanolat:HumanOLATImporter",
    "generic": "generic:GenericImporter",
}


def importer_names() -> list[str]:
    """Names of all importers on this machine."""
    return sorted({*_OURS, *_others()})


def importer_class(name: str) -> type[Importer]:
    """The importer of a name; its module is imported now.

    Args:
        name: As `importer_names` lists it.

    Returns:
        The class.

    Raises:
        UsageError: No importer has that name.
        ConfigError: A registered importer cannot be loaded or is no importer.
    """
    if name in _OURS:
        module, attribute = _OURS[name].split(":")
        found = getattr(importlib.import_module(f"lca_lightning.importers.{module}"), attribute)
    elif name in (others := _others()):
        found = _load(others[name])
    else:
        near = difflib.get_close_matches(name, importer_names(), n=1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"There is no importer {name!r}{hint}; `lca import --list` lists them.")
    if not (isinstance(found, type) and issubclass(found, Importer)):
        raise ConfigError(
            f"The importer {name!r} is no subclass of lca_lightning's Importer; repair its package."
        )
    return found


def _others() -> dict[str, EntryPoint]:
    """Importers of other packages; ours keep their names."""
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP) if point.name not in _OURS}


def _load(point: EntryPoint) -> object:
    try:
        return point.load()
    except Exception as error:  # whatever a foreign package raises while it is imported
        raise ConfigError(
            f"The importer {point.name!r} of {point.value!r} cannot be loaded "
            f"({type(error).__name__}: {error}); repair or uninstall its package."
        ) from error
