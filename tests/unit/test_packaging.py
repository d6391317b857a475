"""Every package folder is in the distribution, and what ships is within reach after installation."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = {
    "lca_configs": "configs",
    "lca_data_modules": "data_modules",
    "lca_experiments": "experiments",
    "lca_lightning": "src/lca_lightning",
}


def test_every_package_is_listed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = []
    for name, folder in FOLDERS.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            found.append(".".join([name, *init.parent.relative_to(ROOT / folder).parts]))
    assert sorted(listed) == sorted(found)


def test_data_files_are_found_as_package_data() -> None:
    assert (resources.files("lca_lightning.rig") / "assets" / "anny.npz").is_file()
    for recipe in ("pretrain.yaml", "posttrain.yaml", "tiny/pretrain.yaml", "tiny/posttrain.yaml"):
        assert (resources.files("lca_configs") / recipe).is_file()
