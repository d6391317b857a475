"""Recipes as ``--config`` of the parser, and what a command line names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ActionConfigFile, ArgumentError

from lca_data_modules.plugins import plugin_class_path, with_class_paths
from lca_lightning.cli import recipe_files
from lca_lightning.composition import compose
from lca_lightning.errors import CheckpointError, ConfigError
from lca_lightning.training.checkpoints import BLOCK, read_checkpoint

FROM_CHECKPOINT = "checkpoint:"
NOT_STORED = ("config", "ckpt_path", "weights_only", "run_dir")


class RecipeAction(ActionConfigFile):
    """``--config``: a recipe by name or path, with its parts, or the configuration in ``checkpoint:FILE``."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        """Add the recipe's keys to the configuration parsed so far."""
        text = recipe_text(str(values))
        known = {action.dest.split(".")[0] for action in parser._actions}
        for key in yaml.safe_load(text) or {}:
            if key not in known:  # the parser itself lets empty groups pass
                raise ArgumentError(None, f"Unrecognized arguments: {key}")
        self.apply_config(parser, cfg, self.dest, text)


def recipe_text(name: str) -> str:
    """Return a recipe as one YAML text; the data of packaged recipes are in ``$LCA_DATA`` where that is set.

    Args:
        name: Bare name, path, or ``checkpoint:FILE``.

    Raises:
        UsageError: No such recipe.
        CheckpointError: The checkpoint is not ours, or carries no configuration.
    """
    if name.startswith(FROM_CHECKPOINT):
        source = name.removeprefix(FROM_CHECKPOINT)
        stored = read_checkpoint(source)[BLOCK].get("config")
        if not stored:
            raise CheckpointError(f"{source} carries no configuration; give the recipe by --config.")
        return str(stored)
    path = recipe_files.find_recipe(name)
    composed = compose(path)
    if "LCA_DATA" in os.environ and path.is_relative_to(recipe_files.packaged_root()):
        _take_data_from(os.environ["LCA_DATA"], (composed.get("data") or {}).get("init_args") or {})
    if "data" in composed:
        data = composed["data"]
        composed["data"] = plugin_class_path(data) if isinstance(data, str) else with_class_paths(data)
    return yaml.safe_dump(composed, sort_keys=False)


def _take_data_from(place: str, arguments: dict[str, Any]) -> None:
    """Look for a recipe's data in one place.

    Args:
        place: A data set; or a folder of data sets by the names that the recipe's roots end in, which recipes
            of several sources need.
        arguments: Options of the recipe's data module, changed in place.
    """
    if "root" in arguments:
        inside = Path(place, Path(arguments["root"]).name)
        arguments["root"] = str(inside) if inside.is_dir() else place
    for source in (arguments.get("sources") or {}).values():
        options = source.get("init_args") or {}
        if "root" in options:
            options["root"] = f"{place.rstrip('/')}/{Path(options['root']).name}"


def option_values(words: list[str], option: str) -> list[str]:
    """Return the values given to an option, in order, in either spelling.

    Args:
        words: Command line.
        option: With its dashes.
    """
    values = [word.split("=", 1)[1] for word in words if word.startswith(f"{option}=")]
    following = zip(words, words[1:], strict=False)
    return values + [value for word, value in following if word == option]


def run_label(words: list[str]) -> str:
    """Return the name a run is filed under: its first recipe, else ``run``."""
    for name in option_values(words, "--config") + option_values(words, "-c"):
        if not name.startswith(FROM_CHECKPOINT):
            return recipe_files.recipe_label(recipe_files.find_recipe(name))
    return "run"


def checked_file(path: str, option: str) -> Path:
    """Return an option's file.

    Raises:
        ConfigError: It does not exist.
    """
    if not Path(path).is_file():
        raise ConfigError(f"{option} names {path}, which does not exist.")
    return Path(path)
