"""``lca recipes``: list the packaged recipes, or print one."""

from __future__ import annotations

import argparse
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Register the arguments of ``lca recipes``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "recipes",
        help="list the packaged recipes, or print one",
        description="List the packaged recipes with what each does; with a name, print that recipe.",
    )
    parser.add_argument("name", nargs="?", help="recipe to print, e.g. tiny/posttrain")
    parser.add_argument("--composed", action="store_true", help="print it with all its parts put together")


def run(namespace: argparse.Namespace) -> None:
    """Print the list, or the named recipe."""
    from lca_lightning.cli import recipe_files

    if namespace.name is None:
        print(_listing())
        return
    path = recipe_files.find_recipe(namespace.name)
    if namespace.composed:
        import yaml

        from lca_lightning.composition import compose

        print(yaml.safe_dump(compose(path), sort_keys=False), end="")
    else:
        print(path.read_text(encoding="utf-8"), end="")


def _listing() -> str:
    from lca_lightning.cli import recipe_files

    root = recipe_files.packaged_root()
    recipes, overlays = recipe_files.recipe_names(), recipe_files.recipe_names(overlays=True)
    width = max(map(len, [*recipes, *overlays]), default=0) + 2
    described = {name: recipe_files.first_comment(root / f"{name}.yaml") for name in [*recipes, *overlays]}
    lines = ["Recipes (lca fit --config NAME):"]
    lines += [f"  {name:<{width}}{described[name]}" for name in recipes]
    lines += ["", "Overlays (added by a second --config):"] if overlays else []
    lines += [f"  {name:<{width}}{described[name]}" for name in overlays]
    return "\n".join([*lines, "", "`lca recipes NAME` prints one, `--composed` with its parts put together."])
