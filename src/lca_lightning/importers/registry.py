"""Importers by name: ours, and those that other packages register as entry points."""

from __future__ import annotations

import importlib

from lca_lightning.errors import ConfigError, UsageError
from lca_lightning.importers.source import Importer
from lca_lightning.plugins import did_you_mean, installed_plugins, load_plugin

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
    return sorted({*_OURS, *installed_plugins(ENTRY_POINT_GROUP, _OURS)})


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
    elif name in (others := installed_plugins(ENTRY_POINT_GROUP, _OURS)):
        found = load_plugin(others[name], "importer")
    else:
        hint = did_you_mean(name, importer_names())
        raise UsageError(f"There is no importer {name!r}{hint}; `lca import --list` lists them.")
    if not (isinstance(found, type) and issubclass(found, Importer)):
        raise ConfigError(
            f"The importer {name!r} is no subclass of lca_lightning's Importer; repair its package."
        )
    return found
