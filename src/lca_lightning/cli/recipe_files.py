"""Find recipes by name; `lca_lightning.composition` puts their parts together."""

from __future__ import annotations

import difflib
import os
from importlib import resources
from pathlib import Path

from lca_lightning.errors import UsageError

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
