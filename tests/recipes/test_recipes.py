"""Every packaged recipe parses and is built at its full size, and those at laptop size really train."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import ViTConfig, ViTModel

from lca_data_modules import LightStageDataModule, MixtureDataModule
from lca_lightning.cli import recipe_files
from lca_lightning.cli.lightning_cli import LCALightningCLI
from lca_lightning.composition import compose
from lca_lightning.losses import reconstruction
from lca_lightning.model.avatar_model import AvatarModel
from lca_lightning.model.backbone import Backbone
from lca_lightning.model.bundled_encoders import BUNDLED, Architecture
from lca_lightning.model.configuration import AvatarModelConfig
from lca_lightning.rig.anchors import Anchors, sample_anchors
from lca_lightning.rig.anny import AnnyRig
from lca_lightning.training import module as training_module
from lca_lightning.training.checkpoints import read_checkpoint
from tests.cli.commands import SMALL_DATA, lca, small

NAMES = ("pretrain", "posttrain", "mixed", "studio_only", "posttrain_garment", "posttrain_relight")
RECIPES = [f"{folder}{name}" for folder in ("", "small/", "tiny/") for name in NAMES]
TINY = [name for name in RECIPES if name.startswith("tiny/")]
STEPS = {"": (300_000, 30_000), "small/": (17_000, 3_000), "tiny/": (2_700, 300)}
SHARED = ("image_size", "face_size", "views", "targets_per_sample", "num_workers")
SOURCES = {"mixed": ("videos", "studio"), "posttrain_garment": ("studio", "garments")}
SAPIENS_1B = Architecture(1536, 40, 24, 6144)


def folder_and_name(recipe: str) -> tuple[str, str]:
    folder, _, name = recipe.rpartition("/")
    return f"{folder}/" if folder else "", name


def test_exactly_the_promised_recipes_are_there() -> None:
    assert sorted(recipe_files.recipe_names()) == sorted(RECIPES)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch, rig: AnnyRig) -> Callable[..., LCALightningCLI]:
    """Builds everything that `lca fit` builds for a recipe, the model on the meta device, and stops there."""
    sampled: dict[int, Anchors] = {}

    def build(config: AvatarModelConfig) -> AvatarModel:
        sizes = BUNDLED.get(config.backbone, SAPIENS_1B)
        layout = ViTConfig(
            hidden_size=sizes.width, num_hidden_layers=sizes.layers, num_attention_heads=sizes.heads,
            intermediate_size=sizes.intermediate, image_size=1024, patch_size=16,
        )  # fmt: skip
        if not sampled:  # few anchors for all: sampling 8192 takes a second and they hold no parameters
            sampled[0] = sample_anchors(rig, 64, 2)
        with torch.device("meta"):
            backbone = Backbone(ViTModel(layout, add_pooling_layer=False), config.backbone)
            return AvatarModel(config, copy.copy(rig), backbone, sampled[0])

    class Pretended:
        """The perceptual loss without its weights."""

        def __init__(self, net: str, weights: str) -> None:
            self.net, self.source = net, weights

    monkeypatch.setattr(training_module, "build_avatar_model", build)
    monkeypatch.setattr(reconstruction, "LPIPS", Pretended)
    monkeypatch.setattr(LCALightningCLI, "_run_subcommand", lambda *_: None)
    return lambda *words: LCALightningCLI("fit", list(words))


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_is_built_at_its_size(
    recipe: str, built: Callable[..., LCALightningCLI], wild_root: Path, studio_root: Path,
    light_stage_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("LCA_DATA", str(tmp_path))
    roots = {
        "wild": wild_root,
        "studio": studio_root,
        "garments": studio_root,
        "light_stage": light_stage_root,
    }
    for name, root in roots.items():
        (tmp_path / name).symlink_to(root)
    cli = built("--config", recipe, "--trainer.accelerator=cpu", f"--run_dir={tmp_path / 'run'}")
    folder, name = folder_and_name(recipe)
    model, config = cli.model.model, cli.config.fit
    size = {"": (1024, 8, 8192), "small/": (256, 4, 2048), "tiny/": (128, 2, 256)}[folder]
    assert (model.config.width, model.config.layers, model.config.anchors) == size
    assert next(model.parameters()).device.type == "meta"
    assert model.parameter_counts()["trained"] > {"": 700e6, "small/": 20e6, "tiny/": 2e6}[folder]
    assert (
        model.config.backbone
        == {"": "sapiens-1b", "small/": "random-small", "tiny/": "synthetic-tiny"}[folder]
    )
    data = cli.datamodule.hparams
    assert tuple(data["image_size"]) == ((1024, 768) if not folder else (256, 192))
    assert isinstance(cli.datamodule, MixtureDataModule) == (name in SOURCES)
    assert isinstance(cli.datamodule, LightStageDataModule) == (name == "posttrain_relight")
    for source in getattr(cli.datamodule, "sources", {"all": cli.datamodule}).values():
        assert Path(source.hparams["root"]).parent == tmp_path  # $LCA_DATA, by the name of each data set
    optimizer, trainer, (pre, post) = config.model.optimizer, config.trainer, STEPS[folder]
    stage_two = name.startswith("posttrain")
    gamma = 0.18 if folder == "tiny/" else 0.65  # 2 layers instead of 8
    assert optimizer.layer_decay == (gamma if stage_two else 1.0)
    steps = {"pretrain": pre, "mixed": pre + post, "studio_only": pre + post}.get(name, post)
    assert trainer.max_steps == steps and 0 < optimizer.warmup_steps < steps / 4
    assert trainer.val_check_interval <= steps and trainer.gradient_clip_val == 1.0
    assert tuple(optimizer.betas) == (0.9, 0.95) and config.model.losses.canonical_weight == 1.0
    heads = ("canonical_decoder", "pose_decoder") if name == "posttrain_relight" else ()
    assert cli.model.fresh == heads


def composed(recipe: str) -> dict[str, Any]:
    return compose(recipe_files.find_recipe(recipe))


@pytest.mark.parametrize("folder", ["", "small/", "tiny/"])
def test_rows_of_one_table_differ_in_data_and_schedule_only(folder: str) -> None:
    first, *others = (composed(f"{folder}{name}") for name in NAMES[:4])
    tiny = folder == "tiny/"  # fits of a studio are tighter: there its rows have a weight of their own
    holes = [recipe["model"].get("losses", {}).pop("hole_weight", None) for recipe in (first, *others)]
    assert holes == ([5.0, 7.0, 7.0, 7.0] if tiny else [None] * 4)
    sizes = ("batch_size", "views", "targets_per_sample", "image_size", "face_size")
    for other in others:
        for key in ("avatar", "losses", "augmentation"):
            assert other["model"][key] == first["model"][key], key
        assert {k: other["data"]["init_args"][k] for k in sizes} == {
            k: first["data"]["init_args"][k] for k in sizes
        }
    averaged = ["AveragedWeights" in str(recipe["trainer"]) for recipe in (first, *others)]
    assert averaged == [False, tiny, False, False]  # Table 1 has a row without, at laptop size
    rates = [recipe["model"]["optimizer"]["learning_rate"] for recipe in (first, *others)]
    assert rates[0] == rates[2] == rates[3] > rates[1]  # stage one learns at the higher rate (paper)
    assert composed(f"{folder}posttrain_relight")["data"]["init_args"]["partially_lit"] == 0.0


def test_comments_say_what_is_not_there_yet() -> None:
    for recipe in RECIPES:
        text = recipe_files.find_recipe(recipe).read_text()
        assert ("NOT YET HERE" in text) == recipe.endswith(("_garment", "_relight"))
        assert "aper" in text.split("parts:")[0] and f"lca fit --config {recipe}" in text


def test_the_promised_overlays_are_there() -> None:
    names = ("debug", "multinode", "sharded", "ema", "compile", "augment", "slices", "real_capture")
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
        (["slices"], {"slice_minutes": 8.5, "shard_mib": 15.0, "weights": "float16"}),
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
    found |= callbacks[0]["init_args"] | config["model"]["augmentation"] | config["last_checkpoint"]
    assert expected.items() <= found.items()
    if "multinode" in overlays:
        options = found["strategy"]["init_args"]
        assert options["gradient_as_bucket_view"] and not options["broadcast_buffers"]
        assert not options["find_unused_parameters"] and not options["static_graph"]
    assert config["trainer"]["max_steps"] == 300_000


def test_one_real_capture_has_settings_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--config", "tiny/posttrain", "--config", "overlay/real_capture", "--data.init_args.root=real"]
    assert lca("fit", *words, "--data.init_args.train_cameras=[a,b]", "--print_config") == 0
    config = yaml.safe_load(capsys.readouterr().out)
    losses, data = config["model"]["losses"], config["data"]["init_args"]
    assert (losses["hole_weight"], losses["position_free_distance"], losses["scale_free_ratio"]) == (
        20,
        0.02,
        3,
    )
    assert (data["root"], data["train_cameras"], data["batch_size"]) == ("real", ["a", "b"], 1)
    assert (data["image_size"], losses["perceptual_net"]) == ([256, 192], "alex")  # the recipe's
    assert config["model"]["optimizer"]["learning_rate"] == 1e-3


def run_words(name: str, roots: dict[str, Path]) -> list[str]:
    """Options that shrink a recipe at laptop size to seconds, on small captures."""
    root = roots[{"pretrain": "wild", "posttrain_relight": "light_stage"}.get(name, "studio")]
    words = small(root, trainer__max_steps=2, trainer__val_check_interval=2, data__init_args__batch_size=1)
    if name not in SOURCES:
        return words
    words = [word for word in words if not word.startswith("--data.")]
    words += [f"--data.init_args.{key}={SMALL_DATA[key]}" for key in SHARED]
    words += ["--data.init_args.batch_size=1"]
    for source in SOURCES[name]:
        place = f"--data.init_args.sources.{source}.init_args"
        root = roots["wild" if source in ("videos", "garments") else "studio"]
        words += [f"{place}.root={root}", f"{place}.test_views=1", f"{place}.test_targets=2"]
    return [*words, "--data.init_args.same_people=false"]


@pytest.mark.parametrize("recipe", TINY)
def test_recipe_trains(
    recipe: str, tmp_path: Path, wild_root: Path, studio_root: Path, light_stage_root: Path,
    pretrained: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    roots = {"wild": wild_root, "studio": studio_root, "light_stage": light_stage_root}
    name = folder_and_name(recipe)[1]
    run = ["--config", recipe, *run_words(name, roots), f"--run_dir={tmp_path}", "--seed_everything=1"]
    source = pretrained / "last.ckpt"
    start = [f"--model.init_from={source}"] if name.startswith("posttrain") else []
    assert lca("fit", *run, *start) == 0
    said = capsys.readouterr().out
    assert ("fresh (canonical_decoder, pose_decoder)" in said) == (name == "posttrain_relight")
    assert (f"Initialised from {source}" in said) == bool(start)
    before, after = (read_checkpoint(path)["state_dict"] for path in (source, tmp_path / "last.ckpt"))
    assert after.keys() == before.keys()
    if name == "posttrain_relight":  # another seed: fresh heads have nothing in common with pretrained ones
        moved = [distance(before, after, f"model.{part}") for part in ("encoder", "canonical_decoder")]
        assert moved[0] < 0.02 * moved[1]


def distance(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], part: str) -> float:
    """Mean change of the matrices of a part."""
    names = [name for name, tensor in before.items() if name.startswith(f"{part}.") and tensor.ndim > 1]
    changes = [(after[name] - before[name]).abs().flatten() for name in names]
    return float(torch.cat(changes).mean())


def test_a_recipe_tests_and_predicts(tmp_path: Path, studio_root: Path) -> None:
    run = ["--config", "tiny/studio_only", "--config", "overlay/debug", *small(studio_root)]
    assert lca("fit", *run, "--trainer.max_steps=2", "--run_dir", str(tmp_path)) == 0
    checkpoint = ["--ckpt_path", str(tmp_path / "last.ckpt")]
    assert lca("test", *checkpoint) == 0
    assert lca("predict", *checkpoint) == 0
    assert json.loads((tmp_path / "test" / "metrics.json").read_text())
    assert list((tmp_path / "predictions").rglob("*.png"))
