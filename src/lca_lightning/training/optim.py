"""AdamW with layer-wise learning rates, linear warm-up and a cosine per step."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from lca_lightning.errors import ConfigError

_ENCODER_LAYER = re.compile(r"(?:^|\.)encoder\.(?:layers|blocks)\.(\d+)\.")
_BEHIND_LAYERS = re.compile(r"(?:^|\.)encoder\.(?:global_vector|final_norm)")
_REGISTERS = re.compile(r"(?:^|[._])registers?(?:$|[._])")
_FULL_RATE = re.compile(r"(?:^|\.|_)(?:decoders?|head|expression(?:_encoder)?)\.")
_NO_DECAY = re.compile(r"(?:^|[._])(?:norm\w*|embed\w*|embedding\w*|registers?|type)(?:$|[._])")


@dataclass
class OptimizerConfig:
    """How the weights are updated; every value is ours unless the paper says otherwise.

    Args:
        learning_rate: Peak rate, 2e-4 from scratch and 5e-5 in post-training.
        betas: AdamW's averaging factors.
        weight_decay: On matrices only, never on norms, biases, embeddings or registers.
        warmup_steps: Steps of linear warm-up.
        total_steps: Length of the cosine in optimiser steps; ``trainer.max_steps`` when None.
        final_fraction: Rate at the end as a fraction of the peak.
        layer_decay: Gamma of the layer-wise decay; 1 is none, 0 freezes the encoder.
        nonfinite_patience: Consecutive steps with a loss or gradient that is not finite, each skipped, after
            which the run stops.
        sharded: Spread AdamW's averages over the processes (ZeRO stage 1) instead of keeping all on each.

    Raises:
        ConfigError: A value is out of range, or two contradict each other.
    """

    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.05
    warmup_steps: int = 2000
    total_steps: int | None = None
    final_fraction: float = 0.0
    layer_decay: float = 1.0
    nonfinite_patience: int = 3
    sharded: bool = False

    def __post_init__(self) -> None:
        if not 0.0 <= self.layer_decay <= 1.0:
            raise ConfigError(f"model.optimizer.layer_decay must lie in [0, 1], got {self.layer_decay}.")
        if self.learning_rate <= 0.0:
            raise ConfigError(f"model.optimizer.learning_rate must be positive, got {self.learning_rate}.")
        if len(self.betas) != 2 or not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise ConfigError(f"model.optimizer.betas must be two values in [0, 1), got {list(self.betas)}.")
        for name in ("weight_decay", "warmup_steps"):
            if getattr(self, name) < 0:
                raise ConfigError(f"model.optimizer.{name} must not be negative, got {getattr(self, name)}.")
        if not 0.0 <= self.final_fraction <= 1.0:
            raise ConfigError(
                f"model.optimizer.final_fraction must lie in [0, 1], got {self.final_fraction}."
            )
        if self.total_steps is not None:
            self._check_warmup("model.optimizer.total_steps", self.total_steps)
        if self.nonfinite_patience < 1:
            raise ConfigError(
                f"model.optimizer.nonfinite_patience must be at least 1, got {self.nonfinite_patience}."
            )

    def check_length(self, max_steps: int) -> None:
        """Refuse a run whose length contradicts the schedule.

        Args:
            max_steps: Optimiser steps of the run.

        Raises:
            ConfigError: The warm-up outlasts the run, or the rate is zero for the rest of it.
        """
        if self.total_steps is None:
            self._check_warmup("trainer.max_steps", max_steps)
        elif self.total_steps < max_steps and self.final_fraction == 0.0:
            raise ConfigError(
                f"model.optimizer.total_steps ({self.total_steps}) ends before trainer.max_steps"
                f" ({max_steps}): nothing would be learned after it; raise it, leave it out, or set"
                " model.optimizer.final_fraction above 0."
            )

    def _check_warmup(self, key: str, steps: int) -> None:
        if self.warmup_steps > steps:
            raise ConfigError(
                f"model.optimizer.warmup_steps ({self.warmup_steps}) is longer than {key} ({steps}): the"
                " learning rate would never reach its peak; lower the one or raise the other."
            )


def layer_id(name: str, layers: int) -> int | None:
    """Give a parameter its depth in the layer-wise decay (Sapiens' convention).

    Args:
        name: Parameter name inside the avatar model.
        layers: Number of encoder layers ``L``.

    Returns:
        None for decoders and the expression encoder (full rate), ``i`` = 1..L for encoder layers, ``L`` for
        the global-vector MLP and the final norm, 0 for projections, registers and type embeddings.
    """
    if _REGISTERS.search(name):
        return 0
    inside_layer = _ENCODER_LAYER.search(name)
    if inside_layer:
        return int(inside_layer.group(1)) + 1
    if _BEHIND_LAYERS.search(name):
        return layers
    return None if _FULL_RATE.search(name) else 0


def rate_multiplier(name: str, layers: int, gamma: float) -> float:
    """Return ``gamma^(L + 1 - id)``, or 1 for the parts that keep the full rate."""
    depth = layer_id(name, layers)
    return 1.0 if depth is None else gamma ** (layers + 1 - depth)


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Say whether weight decay applies: only to matrices that are not norms, embeddings or registers."""
    return parameter.ndim >= 2 and not _NO_DECAY.search(name)


def freeze_by_gamma(model: nn.Module, gamma: float) -> list[str]:
    """Switch gradients off for all decayed parts when gamma is 0 (the encoder is then not trained).

    Args:
        model: The avatar model.
        gamma: Layer-wise decay.

    Returns:
        Names of the parameters that were frozen.
    """
    if gamma > 0.0:
        return []
    slow = [(name, parameter) for name, parameter in _trainable(model) if layer_id(name, 1) is not None]
    for _, parameter in slow:
        parameter.requires_grad_(False)
    return [name for name, _ in slow]


def parameter_groups(model: nn.Module, layers: int, config: OptimizerConfig) -> list[dict[str, object]]:
    """Sort the trainable parameters by learning rate and weight decay.

    Args:
        model: The avatar model.
        layers: Number of encoder layers ``L``.
        config: Rates and decay.

    Returns:
        AdamW parameter groups, slowest rate first, each with a ``name`` for the log.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in _trainable(model):
        rate = config.learning_rate * rate_multiplier(name, layers, config.layer_decay)
        decay = config.weight_decay if decays(name, parameter) else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return [
        {"params": groups[key], "lr": key[0], "weight_decay": key[1], "name": f"lr{key[0]:.2e}_wd{key[1]:g}"}
        for key in sorted(groups)
    ]


def keep_configured_rates(
    checkpoint: dict[str, Any], groups: list[dict[str, Any]], betas: tuple[float, float], path: str
) -> None:
    """Put a run's own rates, decay and averaging factors in the place of those its checkpoint was made with.

    Restoring an optimiser brings its old options back, and a lower rate on the command line would do nothing.

    Args:
        checkpoint: Lightning's checkpoint, changed in place; the averages are left alone.
        groups: Output of ``parameter_groups`` for the run.
        betas: AdamW's averaging factors.
        path: Of the checkpoint, for the message.

    Raises:
        ConfigError: The parameters were grouped in another way.
    """
    stored, schedule = checkpoint["optimizer_states"][0]["param_groups"], checkpoint["lr_schedulers"][0]
    if [len(old["params"]) for old in stored] != [len(new["params"]) for new in groups]:
        raise ConfigError(
            f"{path} was trained with a model.optimizer.layer_decay or model.optimizer.weight_decay that"
            " groups the weights in another way; continue with its values, or start from its weights by"
            " model.init_from."
        )
    for index, (old, new) in enumerate(zip(stored, groups, strict=True)):
        old["weight_decay"], old["betas"] = new["weight_decay"], tuple(betas)
        if old["initial_lr"] != new["lr"]:
            old["lr"] *= new["lr"] / old["initial_lr"]
            old["initial_lr"] = schedule["base_lrs"][index] = new["lr"]


def schedule_factor(step: int, warmup_steps: int, total_steps: int, final_fraction: float = 0.0) -> float:
    """Return the learning rate's factor: linear from 1/warm-up to 1, then a half cosine.

    Args:
        step: Optimiser steps done.
        warmup_steps: Length of the warm-up.
        total_steps: Step at which the cosine ends.
        final_fraction: Value after the end.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return final_fraction + (1.0 - final_fraction) * 0.5 * (1.0 + math.cos(math.pi * progress))


def build_optimizer(
    model: nn.Module, layers: int, config: OptimizerConfig, total_steps: int
) -> tuple[torch.optim.Optimizer, LambdaLR]:
    """Build AdamW and its schedule; sharded over the processes when so configured and there are several.

    Args:
        model: The avatar model.
        layers: Number of encoder layers ``L``.
        config: Rates and decay.
        total_steps: Used when the configuration leaves ``total_steps`` open.

    Returns:
        The optimiser, and a schedule to step once per optimiser step.

    Raises:
        ConfigError: The schedule contradicts the length of the run.
    """
    config.check_length(total_steps)
    groups, rate = parameter_groups(model, layers, config), config.learning_rate
    optimizer: torch.optim.Optimizer
    if config.sharded and distributed.is_initialized() and distributed.get_world_size() > 1:
        from lca_lightning.training.sharded import ShardedAdamW  # its imports are slow

        optimizer = ShardedAdamW(groups, lr=rate, betas=config.betas)
    else:
        optimizer = AdamW(groups, lr=rate, betas=config.betas)
    length = config.total_steps or total_steps

    def factor(step: int) -> float:
        return schedule_factor(step, config.warmup_steps, length, config.final_fraction)

    return optimizer, LambdaLR(optimizer, factor)


def _trainable(model: nn.Module) -> Iterable[tuple[str, nn.Parameter]]:
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)
