"""Find recipes by name and compose them from their parts.

A recipe is a YAML file for the training commands. Its optional key ``parts`` maps a place in the
configuration to a file named relative to the recipe::

    parts:
      model.avatar: ../model/tiny.yaml
      data: ../data/studio.yaml

Parts are laid down in order, then the recipe's own keys on top: mappings merge, lists and values replace, and
a new ``class_path`` drops the arguments of the old one. A part named ``.`` is laid down at the root.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from lca_lightning.errors import ConfigError, UsageError

PART_FOLDERS = ("model", "data", "training", "overlay")


def packaged_root() -> Path:
    """Return the folder of the packaged recipes."""
    return Path(str(resources.files("lca_configs")))


def recipe_names(overlays: bool = False) -> list[str]:
    """Return the packaged recipes' names without suffix, e.g. ``tiny/posttrain``.

    Args:
        overlays: Return the overlays instead, which add to a recipe by a second ``--config``.
    """
    root = packaged_root()
    names = sorted(path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.yaml"))
    if overlays:
        return [name for name in names if name.startswith("overlay/")]
    return [name for name in names if name.split("/")[0] not in PART_FOLDERS]


def find_recipe(name: str) -> Path:
    """Find a recipe: working directory, then ``$LCA_CONFIG_PATH``, then the packaged ones.

    Args:
        name: Path or bare name, with or without ``.yaml``.

    Raises:
        UsageError: No such recipe; lists the packaged ones and the nearest name.
    """
    places = [Path.cwd(), *map(Path, filter(None, os.environ.get("LCA_CONFIG_PATH", "").split(os.pathsep)))]
    for place in [*places, packaged_root()]:
        for candidate in (place / name, place / f"{name}.yaml"):
            if candidate.is_file():
                return candidate
    known = [*recipe_names(), *recipe_names(overlays=True)]
    near = difflib.get_close_matches(name.removesuffix(".yaml"), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UsageError(f"No recipe {name!r}: {hint}packaged are {', '.join(known)}; or give a file's path.")


def recipe_label(path: Path) -> str:
    """Return the name under which runs of a recipe are filed, e.g. ``tiny/posttrain``."""
    root = packaged_root().resolve()
    resolved = path.resolve()
    relative = resolved.relative_to(root) if resolved.is_relative_to(root) else Path(resolved.name)
    return relative.with_suffix("").as_posix()


def first_comment(path: Path) -> str:
    """Return the first comment line of a recipe, its one-line description."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("#"):
                return line.lstrip("# ").strip()
    return ""


def compose(path: Path, trail: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a recipe with all its parts as one nested mapping.

    Args:
        path: The recipe.
        trail: Recipes being composed, to notice one that contains itself.

    Raises:
        ConfigError: Not a YAML mapping, a missing part, or a recipe that contains itself.
    """
    path = path.resolve()
    if path in trail:
        raise ConfigError(f"Recipe {path.name} contains itself through {trail[-1].name}; remove that part.")
    own = _read_mapping(path)
    parts = own.pop("parts", None) or {}
    if not isinstance(parts, Mapping):
        raise ConfigError(f"`parts` in {path} must map a place such as `model` or `.` to a file name.")
    composed: dict[str, Any] = {}
    for place, name in parts.items():
        part_path = path.parent / str(name)
        if not part_path.is_file():
            raise ConfigError(f"Recipe {path} names the part {name!r}, which is not at {part_path}.")
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
        raise ConfigError(f"Recipe {path} is not YAML; {where}.") from error
    if not loaded:
        raise ConfigError(f"Recipe {path} is empty; `lca recipes tiny/pretrain` prints one to start from.")
    if not isinstance(loaded, dict):
        raise ConfigError(
            f"Recipe {path} must be a YAML mapping, got {type(loaded).__name__};"
            " `lca recipes tiny/pretrain` prints one to start from."
        )
    return loaded
