"""The data parts of the recipes build data modules, and their hyper-parameters are plain."""

from __future__ import annotations

from importlib import resources

import pytest
import yaml
from jsonargparse import ArgumentParser
from lightning.pytorch import LightningDataModule

import lca_data_modules
from lca_lightning.errors import DataError

PARTS = ("in_the_wild", "studio", "tiny_in_the_wild", "tiny_studio")
PLAIN = (str, int, float, bool, list, tuple, dict, type(None))


def build(part: dict) -> LightningDataModule:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(LightningDataModule, "data")
    return parser.instantiate_classes(parser.parse_object({"data": part})).data


@pytest.mark.parametrize("name", PARTS)
def test_parts_build(name):
    text = (resources.files("lca_configs") / "data" / f"{name}.yaml").read_text()
    module = build(yaml.safe_load(text))
    assert isinstance(module, LightningDataModule)
    assert all(isinstance(value, PLAIN) for value in module.hparams.values())
    assert tuple(module.hparams["image_size"])[0] % 16 == 0
    with pytest.raises(DataError, match="no data set folder"):
        module.setup("fit")


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
