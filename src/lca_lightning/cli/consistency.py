"""Parts of a run that contradict each other are refused before anything slow starts; both keys are named."""

from __future__ import annotations

from typing import Any

import torch

from lca_lightning.datasets.reader import open_dataset
from lca_lightning.errors import ConfigError


def runs_on_cuda(accelerator: str | Any) -> bool:
    """Whether a Lightning accelerator means CUDA here."""
    return accelerator in ("cuda", "gpu") or (accelerator == "auto" and torch.cuda.is_available())


def check_precision(trainer: Any) -> None:
    """Refuse half precision without CUDA, and float16 everywhere: its overflows look like a broken run.

    Raises:
        ConfigError: Names the option.
    """
    if "16" in str(trainer.precision) and not runs_on_cuda(trainer.accelerator):
        raise ConfigError(
            f"trainer.precision {trainer.precision!r} needs CUDA; leave it out: the run then takes bf16-mixed"
            " on CUDA and 32-true elsewhere."
        )
    if str(trainer.precision).startswith("16"):
        raise ConfigError(
            f"trainer.precision {trainer.precision!r} is not supported: its range is too small; use"
            " bf16-mixed."
        )


def check_counts(trainer: Any) -> None:
    """Refuse numbers of steps that the Trainer would divide by, or that leave nothing to do.

    Raises:
        ConfigError: Names the option.
    """
    if trainer.max_steps == 0:
        raise ConfigError("trainer.max_steps is 0: nothing would be learned; raise it.")
    for name in ("accumulate_grad_batches", "val_check_interval"):
        value = trainer.get(name)
        if isinstance(value, (int, float)) and value <= 0:
            raise ConfigError(f"trainer.{name} must be positive, got {value}.")


def check_data(config: Any) -> None:
    """Compare data and model: rig and numbers of views; a wrong root should cost a second, not a minute.

    Args:
        config: Parsed configuration of the command.

    Raises:
        ConfigError: Data of another rig, or more views than the model takes.
        DataError: There is no data set at a root.
    """
    if config.get("data"):
        _check_module(config.data, config.model.avatar, "data.init_args")


def _check_module(data: Any, avatar: Any, place: str) -> None:
    """Check one data module, and the sources of a mixture."""
    arguments = data.get("init_args") or {}
    for name, source in (arguments.get("sources") or {}).items():
        _check_module(source, avatar, f"{place}.sources.{name}.init_args")
    if "root" in arguments and data.class_path.startswith("lca_data_modules."):
        rig = open_dataset(arguments["root"]).rig
        if rig != avatar.rig:
            raise ConfigError(
                f"The data of {place}.root ({arguments['root']}) are for the rig {rig!r} but "
                f"model.avatar.rig is {avatar.rig!r}; set it to {rig} or use other data."
            )
    for name in ("views", "test_views"):
        value = arguments.get(name)
        most = max(value, default=0) if isinstance(value, (list, tuple)) else value
        if isinstance(most, int) and most > avatar.max_views:
            raise ConfigError(
                f"{place}.{name} asks for {most} views but model.avatar.max_views is "
                f"{avatar.max_views}; lower the first or raise the second."
            )


def check_image_sizes(patch: int, backbone: str, options: Any) -> None:
    """Refuse image sizes that the image encoder cannot cut into patches.

    Args:
        patch: Patch size of the image encoder, pixels.
        backbone: Its name.
        options: Options of the data module, with ``image_size`` and ``face_size`` where it has them.

    Raises:
        ConfigError: Names both keys and the nearest sizes that fit.
    """
    for name in ("image_size", "face_size"):
        size = options.get(name)
        if size is not None and any(side % patch for side in size):
            fitting = [patch * max(1, round(side / patch)) for side in size]
            raise ConfigError(
                f"data.init_args.{name} {list(size)} must be multiples of {patch}, the patch size of "
                f"model.avatar.backbone {backbone!r}; use {fitting} or another backbone."
            )
