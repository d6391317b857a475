"""Configurations of stages: a composed recipe with overrides, and with the benchmark's folders in place."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lca_lightning.errors import ConfigError

Compose = Callable[[str], Mapping[str, Any]]
"""Gives a recipe by its name, with its parts put together."""

PARTS = {
    "InTheWildDataModule": "wild",
    "StudioDataModule": "studio",
    "LightStageDataModule": "light_stage",
}
"""Folder of a benchmark that a data module reads."""


def set_dotted(config: dict[str, Any], key: str, value: Any) -> None:
    """Set a value by its dotted key; mappings on the way are made.

    Args:
        config: Changed in place.
        key: Such as ``data.init_args.fraction``.
        value: The value.

    Raises:
        ConfigError: Something that is no mapping stands on the way.
    """
    *path, last = key.split(".")
    place: Any = config
    for name in path:
        place = place.setdefault(name, {})
        if not isinstance(place, dict):
            raise ConfigError(f"The override {key!r} goes through {name!r}, which is a value; correct it.")
    place[last] = value


def data_modules(data: Any) -> Iterator[dict[str, Any]]:
    """Data modules that read a folder, in a ``data`` part of a configuration, those of mixtures too."""
    if not isinstance(data, dict):
        return
    if isinstance(data.get("class_path"), str) and data["class_path"].rsplit(".", 1)[-1] in PARTS:
        yield data
        return
    for value in data.values():
        yield from data_modules(value)


def part_of(module: Mapping[str, Any]) -> str:
    """Folder of a benchmark that a data module of a configuration reads."""
    return PARTS[module["class_path"].rsplit(".", 1)[-1]]


def stage_config(
    recipe: Mapping[str, Any], overrides: Mapping[str, Any], steps: int, seed: int
) -> dict[str, Any]:
    """Configuration of a stage, still with ``<part>`` in the place of folders.

    Args:
        recipe: Composed.
        overrides: Dotted keys and their values.
        steps: Optimiser steps.
        seed: Of the run and of the draws of data.

    Raises:
        ConfigError: The recipe reads no data that a benchmark has.
    """
    config = copy.deepcopy(dict(recipe))
    for key, value in overrides.items():
        set_dotted(config, key, value)
    set_dotted(config, "seed_everything", seed)
    set_dotted(config, "data.init_args.seed", seed)
    set_dotted(config, "trainer.max_steps", steps)
    interval = config["trainer"].get("val_check_interval")
    if isinstance(interval, int) and interval > steps:
        config["trainer"]["val_check_interval"] = steps
    config.get("model", {}).pop("init_from", None)
    name_parts(config["data"])
    return config


def name_parts(data: dict[str, Any]) -> set[str]:
    """Put ``<part>`` in the place of every folder.

    Args:
        data: The ``data`` of a configuration, changed in place.

    Returns:
        The parts.

    Raises:
        ConfigError: There is none.
    """
    modules = list(data_modules(data))
    if not modules:
        raise ConfigError("A recipe of an experiment must read in-the-wild, studio or light-stage data.")
    for module in modules:
        module.setdefault("init_args", {})["root"] = f"<{part_of(module)}>"
    return {part_of(module) for module in modules}


def with_folders(config: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """The configuration as it runs, with the folders of a benchmark.

    Args:
        config: Of a stage or a test.
        root: Folder of the benchmark.
    """
    resolved = copy.deepcopy(dict(config))
    for module in data_modules(resolved["data"]):
        module["init_args"]["root"] = str(root / module["init_args"]["root"].strip("<>"))
    return resolved
