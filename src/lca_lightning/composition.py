"""YAML files that are composed of parts: recipes and experiments.

The optional key ``parts`` maps a place in the file to another file, named relative to it::

    parts:
      model.avatar: ../model/tiny.yaml
      data: ../data/studio.yaml

Parts are laid down in order, then the file's own keys on top: mappings merge, lists and values replace, and
a new ``class_path`` drops the arguments of the old one. A part named ``.`` is laid down at the root.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lca_lightning.errors import ConfigError

_EXAMPLES = (
    "`lca recipes tiny/pretrain` prints a recipe to start from, experiments/table1.yaml is an experiment"
)


def compose(path: Path, trail: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a file with all its parts as one nested mapping.

    Args:
        path: The file.
        trail: Files being composed, to notice one that contains itself.

    Raises:
        ConfigError: Not a YAML mapping, a missing part, or a file that contains itself.
    """
    path = path.resolve()
    if path in trail:
        raise ConfigError(f"{path} contains itself through {trail[-1].name}; remove that part.")
    own = _read_mapping(path)
    parts = own.pop("parts", None) or {}
    if not isinstance(parts, Mapping):
        raise ConfigError(f"`parts` in {path} must map a place such as `model` or `.` to a file name.")
    composed: dict[str, Any] = {}
    for place, name in parts.items():
        part_path = path.parent / str(name)
        if not part_path.is_file():
            raise ConfigError(f"{path} names the part {name!r}, which is not at {part_path}.")
        part = compose(part_path, (*trail, path))
        composed = merge(composed, part if place == "." else _mounted(str(place), part))
    return merge(composed, own)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay ``over`` on ``base``: mappings merge, all else replaces, another ``class_path`` starts afresh."""
    if "class_path" in base and over.get("class_path", base["class_path"]) != base["class_path"]:
        return dict(over)
    merged = dict(base)
    for key, value in over.items():
        known = merged.get(key)
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            value = merge(known, value)
        merged[key] = value
    return merged


def _mounted(place: str, part: dict[str, Any]) -> dict[str, Any]:
    for key in reversed(place.split(".")):
        part = {key: part}
    return part


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"look at line {mark.line + 1}" if mark else "write it as UTF-8 text"
        raise ConfigError(f"{path} is not YAML; {where}.") from error
    if not loaded:
        raise ConfigError(f"{path} is empty; {_EXAMPLES}.")
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path} must be a YAML mapping, got {type(loaded).__name__}; {_EXAMPLES}.")
    return loaded
