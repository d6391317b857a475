"""Learning rates against closed forms: layer-wise decay, weight decay, warm-up and cosine."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from lca_lightning.cli import recipe_files
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


NORM, LINEAR = {"weight": False, "bias": False}, {"weight": True, "bias": False}
SCALE_ONLY = {"weight": False}  # RMS norms of queries and keys


def named(prefix: str, entries: dict[str, bool]) -> dict[str, bool]:
    """Prefix names; True where weight decay applies."""
    return {f"{prefix}.{name}": decayed for name, decayed in entries.items()}


def attention_part(prefix: str, self_attention: bool, adaln: bool, keys_only: bool) -> dict[str, bool]:
    """Parameters of one attention block or of one modality of a joint one."""
    parts = {"qkv.projection": LINEAR, "qkv.key_norm": SCALE_ONLY}
    if not keys_only:
        parts |= {"qkv.query_norm": SCALE_ONLY, "output": LINEAR, "mlp.0": LINEAR, "mlp.2": LINEAR}
    if self_attention:
        parts |= {"attention_norm": NORM, "mlp_norm": NORM}
    elif adaln:
        parts |= {"modulation": LINEAR}
    table: dict[str, bool] = {}
    for part, entries in parts.items():
        table |= named(f"{prefix}.{part}", entries)
    return table


def written_table(config: AvatarModelConfig) -> dict[str, tuple[int, bool]]:
    """Power of gamma and weight decay of every parameter, written down from the method's section 7."""
    deepest = config.layers + 1
    slow = {"tokenizer.body_type": False, "tokenizer.face_type": False}
    slow |= named("tokenizer.image_projection", LINEAR) | named("tokenizer.geometry_projection", LINEAR)
    table = {name: (deepest, decayed) for name, decayed in slow.items()}
    for index in range(config.layers):
        layer, last = f"encoder.layers.{index}", index == config.layers - 1
        inside = attention_part(f"{layer}.image_attention", True, config.adaln, False)
        inside |= attention_part(f"{layer}.geometry_attention", True, config.adaln, False)
        for stage in ("face_attention", "body_attention"):
            inside |= attention_part(f"{layer}.{stage}.geometry", False, config.adaln, False)
            inside |= attention_part(f"{layer}.{stage}.image", False, config.adaln, last)
        table |= {name: (config.layers - index, decayed) for name, decayed in inside.items()}
        table[f"{layer}.image_attention.registers"] = (deepest, False)
    behind = named("encoder.final_norm", NORM) | named("encoder.global_vector.0", NORM)
    behind |= named("encoder.global_vector.1", LINEAR) | named("encoder.global_vector.3", LINEAR)
    table |= {name: (1, decayed) for name, decayed in behind.items()}
    full: dict[str, bool] = {}
    if config.branches != "single":
        for index in range(config.decoder_layers):
            full |= named(f"canonical_decoder.layers.{2 * index}", LINEAR)
    if config.branches == "static":
        return table | {name: (0, decayed) for name, decayed in full.items()}
    full |= named("pose_decoder.token_projection", LINEAR) | {"pose_decoder.signal_projection.weight": True}
    for index in range(config.decoder_layers - 1):
        full |= named(f"pose_decoder.layers.{2 * index + 1}", LINEAR)
    return table | {name: (0, decayed) for name, decayed in full.items()}


def base_on_meta(model: AvatarModel) -> AvatarModel:
    """The paper's size without memory; its anchors do not matter here."""
    recipe = yaml.safe_load((recipe_files.packaged_root() / "model" / "base.yaml").read_text())
    backbone = copy.copy(model.backbone)
    backbone.width = 1536  # Sapiens-1B
    with torch.device("meta"):
        return AvatarModel(AvatarModelConfig(**recipe), model.rig, backbone, model.anchors)


@pytest.fixture(scope="module", params=["dual", "single", "static", "compiled", "base"])
def variant(request: pytest.FixtureRequest, model: AvatarModel) -> AvatarModel:
    """Both decoders' forms, the compiled model, whose names must not change, and the paper's size."""
    if request.param == "dual":
        return model
    if request.param == "base":
        return base_on_meta(model)
    change = {"compile": True} if request.param == "compiled" else {"branches": request.param}
    return AvatarModel(replace(model.config, **change), model.rig, model.backbone, model.anchors)


@pytest.mark.parametrize("gamma", [1.0, 0.65])
def test_every_parameter_has_the_rate_and_decay_of_the_method(variant: AvatarModel, gamma: float) -> None:
    config = OptimizerConfig(learning_rate=1e-3, layer_decay=gamma, weight_decay=0.05)
    table = written_table(variant.config)
    assert set(table) == {name for name, _ in variant.named_parameters()}
    names = {id(parameter): name for name, parameter in variant.named_parameters()}
    groups = optim.parameter_groups(variant, variant.config.layers, config)
    found = {names[id(p)]: (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert len(found) == sum(len(group["params"]) for group in groups) == len(names)
    for name, (power, decayed) in table.items():
        assert found[name] == (pytest.approx(1e-3 * gamma**power, rel=1e-12), 0.05 * decayed), name
    assert len({rate for rate, _ in found.values()}) == (1 if gamma == 1 else variant.config.layers + 2)


def test_gamma_zero_freezes_exactly_what_the_decay_would_slow(variant: AvatarModel) -> None:
    subject = copy.deepcopy(variant)
    frozen = optim.freeze_by_gamma(subject, 0.0)
    slow = {name for name, (power, _) in written_table(variant.config).items() if power}
    assert set(frozen) == slow
    assert {name for name, p in subject.named_parameters() if not p.requires_grad} == slow
    groups = optim.parameter_groups(subject, variant.config.layers, OptimizerConfig(layer_decay=0.0))
    assert {group["lr"] for group in groups} == {OptimizerConfig().learning_rate}
    assert sum(len(group["params"]) for group in groups) == len(written_table(variant.config)) - len(slow)


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


@pytest.mark.parametrize(
    ("values", "keys"),
    [
        ({"layer_decay": 1.5}, ["model.optimizer.layer_decay"]),
        ({"learning_rate": 0.0}, ["model.optimizer.learning_rate"]),
        ({"weight_decay": -0.1}, ["model.optimizer.weight_decay"]),
        ({"warmup_steps": -1}, ["model.optimizer.warmup_steps"]),
        ({"betas": (0.9, 1.0)}, ["model.optimizer.betas"]),
        ({"betas": (-0.1, 0.9)}, ["model.optimizer.betas"]),
        ({"betas": (0.9,)}, ["model.optimizer.betas"]),
        ({"final_fraction": 1.1}, ["model.optimizer.final_fraction"]),
        (
            {"warmup_steps": 11, "total_steps": 10},
            ["model.optimizer.warmup_steps", "model.optimizer.total_steps"],
        ),
    ],
)
def test_impossible_values_are_refused(values: dict[str, Any], keys: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        OptimizerConfig(**values)
    assert all(key in str(refused.value) for key in keys)


@pytest.mark.parametrize(
    ("values", "keys"),
    [
        ({"warmup_steps": 11}, ["model.optimizer.warmup_steps (11)", "trainer.max_steps (10)"]),
        (
            {"warmup_steps": 1, "total_steps": 5},
            ["model.optimizer.total_steps (5)", "trainer.max_steps (10)"],
        ),
    ],
)
def test_schedules_that_contradict_the_run(values: dict[str, Any], keys: list[str]) -> None:
    config = OptimizerConfig(**values)
    with pytest.raises(ConfigError) as refused:
        optim.build_optimizer(nn.Linear(1, 1), 1, config, total_steps=10)
    assert all(key in str(refused.value) for key in keys)


def test_schedules_that_fit_the_run() -> None:
    OptimizerConfig(warmup_steps=10).check_length(10)
    OptimizerConfig(warmup_steps=5, total_steps=100).check_length(1)  # the first part of a longer schedule
    OptimizerConfig(warmup_steps=5, total_steps=5, final_fraction=0.1).check_length(10)


def test_one_process_has_nothing_to_shard() -> None:
    optimizer, _ = optim.build_optimizer(
        nn.Linear(1, 1), 1, OptimizerConfig(sharded=True, warmup_steps=1), total_steps=10
    )
    assert type(optimizer) is torch.optim.AdamW
