"""Learning rates against closed forms: layer-wise decay, weight decay, warm-up and cosine."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lca_lightning.errors import ConfigError
from lca_lightning.model.avatar_model import AvatarModel, build_avatar_model
from lca_lightning.model.configuration import AvatarModelConfig
from lca_lightning.training import optim
from lca_lightning.training.optim import OptimizerConfig

LAYERS = 3


@pytest.fixture(scope="module")
def model() -> AvatarModel:
    sizes = {"width": 16, "heads": 2, "layers": LAYERS, "anchors": 64, "gaussians_per_anchor": 1}
    return build_avatar_model(AvatarModelConfig(backbone="random-tiny", decoder_hidden=8, **sizes))


def rates(model: nn.Module, config: OptimizerConfig) -> dict[str, float]:
    """Learning rate of every parameter that the optimiser holds, by name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = optim.parameter_groups(model, LAYERS, config)
    return {names[id(parameter)]: group["lr"] for group in groups for parameter in group["params"]}


def test_layer_ids_follow_the_method(model: AvatarModel) -> None:
    for name, _ in model.named_parameters():
        part = name.split(".")
        if "decoder" in part[0]:
            expected = None
        elif part[:2] == ["encoder", "layers"]:
            expected = int(part[2]) + 1
        elif part[:2] in (["encoder", "global_vector"], ["encoder", "final_norm"]):
            expected = LAYERS
        else:
            assert part[0] == "tokenizer", name
            expected = 0
        if "registers" in name:
            expected = 0
        assert optim.layer_id(name, LAYERS) == expected, name


@pytest.mark.parametrize("gamma", [1.0, 0.65])
def test_rates_are_powers_of_gamma(model: AvatarModel, gamma: float) -> None:
    found = rates(model, OptimizerConfig(learning_rate=1e-3, layer_decay=gamma))
    assert set(found) == {name for name, _ in model.named_parameters()}
    for name, rate in found.items():
        depth = optim.layer_id(name, LAYERS)
        power = 0 if depth is None else LAYERS + 1 - depth
        assert rate == pytest.approx(1e-3 * gamma**power, rel=1e-12), name
    last = next(rate for name, rate in found.items() if name.startswith(f"encoder.layers.{LAYERS - 1}.geom"))
    assert last == pytest.approx(1e-3 * gamma)


def test_gamma_zero_freezes_all_but_the_decoders() -> None:
    model = nn.ModuleDict({"tokenizer": nn.Linear(2, 2), "pose_decoder": nn.Linear(2, 2)})
    assert optim.freeze_by_gamma(model, 0.5) == []
    assert optim.freeze_by_gamma(model, 0.0) == ["tokenizer.weight", "tokenizer.bias"]
    assert [name for name, p in model.named_parameters() if p.requires_grad] == [
        "pose_decoder.weight",
        "pose_decoder.bias",
    ]
    held = sum(len(g["params"]) for g in optim.parameter_groups(model, 1, OptimizerConfig(layer_decay=0.0)))
    assert held == 2


def test_weight_decay_only_on_matrices(model: AvatarModel) -> None:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = optim.parameter_groups(model, LAYERS, OptimizerConfig(weight_decay=0.1))
    decayed = {names[id(p)] for group in groups if group["weight_decay"] for p in group["params"]}
    spared = set(names.values()) - decayed
    assert "encoder.layers.0.geometry_attention" in " ".join(decayed)
    assert all(model.get_parameter(name).ndim >= 2 for name in decayed)
    for word in ("bias", "norm", "type", "registers"):
        assert not [name for name in decayed if word in name.rsplit(".", 2)[-1]], word
    assert {"tokenizer.body_type", "encoder.final_norm.weight"} <= spared


def test_schedule_is_linear_then_cosine() -> None:
    factors = [optim.schedule_factor(step, 4, 20, 0.1) for step in range(25)]
    assert factors[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert factors[4] == pytest.approx(1.0)
    assert factors[12] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 8 / 16)))
    assert factors[20:] == pytest.approx([0.1] * 5)


def test_optimiser_steps_at_the_scheduled_rate() -> None:
    model = nn.ModuleDict({"decoder": nn.Linear(1, 1, bias=False)})
    config = OptimizerConfig(learning_rate=0.1, warmup_steps=2, weight_decay=0.0)
    optimizer, schedule = optim.build_optimizer(model, 1, config, total_steps=10)
    assert optimizer.defaults["betas"] == (0.9, 0.95)
    for step in range(4):
        before = model["decoder"].weight.item()
        model["decoder"].weight.grad = torch.ones(1, 1)
        optimizer.step()
        schedule.step()
        moved = before - model["decoder"].weight.item()  # a constant gradient moves AdamW by its rate
        assert moved == pytest.approx(0.1 * optim.schedule_factor(step, 2, 10), rel=1e-4)


@pytest.mark.parametrize("values", [{"layer_decay": 1.5}, {"learning_rate": 0.0}])
def test_impossible_values_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        OptimizerConfig(**values)
