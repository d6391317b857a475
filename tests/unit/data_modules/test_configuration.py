"""The data parts of the recipes build data modules, and their hyper-parameters are plain."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest
from jsonargparse import ArgumentParser
from lightning.pytorch import LightningDataModule

import lca_data_modules
from lca_lightning.composition import compose
from lca_lightning.errors import DataError

PARTS = sorted(
    path.name.removesuffix(".yaml")
    for path in (resources.files("lca_configs") / "data").iterdir()
    if path.name.endswith(".yaml")
)
PLAIN = (str, int, float, bool, list, tuple, dict, type(None))


def build(part: dict) -> LightningDataModule:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(LightningDataModule, "data")
    return parser.instantiate_classes(parser.parse_object({"data": part})).data


@pytest.mark.parametrize("name", PARTS)
def test_parts_build(name):
    module = build(compose(Path(str(resources.files("lca_configs"))) / "data" / f"{name}.yaml"))
    assert isinstance(module, LightningDataModule)
    assert all(isinstance(value, PLAIN) for value in module.hparams.values())
    assert tuple(module.hparams["image_size"])[0] % 16 == 0
    with pytest.raises(DataError, match="no data set folder"):
        module.setup("fit")


def test_there_is_a_part_for_every_data_module():
    assert {"in_the_wild", "studio", "light_stage", "mixed", "pretrain_mixture"} <= set(PARTS)
    assert {f"tiny_{name}" for name in ("in_the_wild", "studio", "light_stage", "mixed")} <= set(PARTS)


def test_options_of_policies_and_splits_reach_the_data_module(studio_root):
    options = {
        "root": str(studio_root),
        "references": {"far_apart": 0.25},
        "targets": {"other_frames": False},
        "splits": {"val": 0.5},
    }
    module = build({"class_path": "StudioDataModule", "init_args": options})
    rule = module.draw_rule()
    assert rule.references.far_apart == 0.25 and rule.references.face == 0.9
    assert not rule.policy.other_frames and rule.policy.other_cameras
    assert module.hparams["references"]["far_apart"] == 0.25 and module.hparams["splits"] == {"val": 0.5}


def test_all_options_reach_the_data_module(studio_root):
    options = {
        "root": str(studio_root),
        "test_cameras": ["cam3"],
        "image_size": [64, 48],
        "steps_per_epoch": 2,
    }
    module = build({"class_path": "StudioDataModule", "init_args": options})
    assert isinstance(module, lca_data_modules.StudioDataModule)
    module.setup("fit")
    assert [batch.targets.images_BT3HW.shape[-2:] for batch in module.train_dataloader()] == [(64, 48)] * 2
