"""Every packaged recipe parses, and really runs fit, test and predict at a size of seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from lca_lightning.cli import recipe_files
from lca_lightning.model.configuration import AvatarModelConfig
from tests.cli.commands import lca, small

RECIPES = recipe_files.recipe_names()


def test_the_promised_recipes_are_there() -> None:
    assert {"pretrain", "posttrain", "tiny/pretrain", "tiny/posttrain"} <= set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_resolves_to_sane_values(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert lca("fit", "--config", f"{name}.yaml", "--print_config") == 0
    config = yaml.safe_load(capsys.readouterr().out)
    AvatarModelConfig(**config["model"]["avatar"])
    trainer, optimizer = config["trainer"], config["model"]["optimizer"]
    assert trainer["precision"] is None and trainer["gradient_clip_val"] == 1.0
    assert 0 < optimizer["warmup_steps"] < trainer["max_steps"]
    assert trainer["val_check_interval"] <= trainer["max_steps"]
    assert config["model"]["losses"]["perceptual_net"] == ("alex" if name.startswith("tiny/") else "vgg")
    assert tuple(optimizer["betas"]) == (0.9, 0.95)
    if name == "posttrain":
        assert optimizer["layer_decay"] == 0.65 and optimizer["learning_rate"] == 5e-5


def test_the_promised_overlays_are_there() -> None:
    names = ("debug", "multinode", "sharded", "ema", "compile", "augment")
    promised = {f"overlay/{name}" for name in names}
    assert promised <= set(recipe_files.recipe_names(overlays=True))


@pytest.mark.parametrize(
    ("overlays", "expected"),
    [
        (["multinode"], {"num_nodes": 8, "devices": 8}),
        (["sharded"], {"sharded": True}),
        (["ema"], {"decay": 0.9999}),
        (["compile"], {"compile": True}),
        (["augment"], {"flip_probability": 0.5, "recolor_probability": 0.0}),
        (["multinode", "sharded", "ema", "compile"], {"num_nodes": 8, "sharded": True, "decay": 0.9999}),
    ],
)
def test_overlays_compose_with_a_recipe(
    overlays: list[str], expected: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for name in overlays for word in ("--config", f"overlay/{name}")]
    assert lca("fit", "--config", "pretrain", *words, "--print_config") == 0
    config = yaml.safe_load(capsys.readouterr().out)
    callbacks = config["trainer"]["callbacks"] or [{"init_args": {}}]
    found = {**config["trainer"], **config["model"]["optimizer"], **config["model"]["avatar"]}
    found |= callbacks[0]["init_args"] | config["model"]["augmentation"]
    assert expected.items() <= found.items()
    if "multinode" in overlays:
        options = found["strategy"]["init_args"]
        assert options["gradient_as_bucket_view"] and not options["broadcast_buffers"]
        assert not options["find_unused_parameters"] and not options["static_graph"]
    assert config["trainer"]["max_steps"] == 300_000


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_runs(name: str, tmp_path: Path, wild_root: Path, studio_root: Path) -> None:
    root = wild_root if "pretrain" in name else studio_root
    run = ["--config", name, "--config", "overlay/debug", *small(root), "--run_dir", str(tmp_path)]
    assert lca("fit", *run, "--trainer.max_steps=2", "--trainer.val_check_interval=1") == 0
    checkpoint = ["--ckpt_path", str(tmp_path / "last.ckpt")]
    assert lca("test", *checkpoint) == 0
    assert lca("predict", *checkpoint) == 0
    assert json.loads((tmp_path / "test" / "metrics.json").read_text())["frames"] > 0
    assert list((tmp_path / "predictions").rglob("*.png"))
