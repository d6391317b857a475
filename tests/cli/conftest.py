"""Small captures, small models and finished runs for the tests of the commands."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lca_lightning.rig.anny import AnnyRig
from tests.cli.commands import lca, small
from tests.tiny_capture import write_capture


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Two threads on matrices this small only wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def wild_root(tmp_path_factory: pytest.TempPathFactory, rig: AnnyRig) -> Path:
    """One training and one test subject, one camera each."""
    return write_capture(tmp_path_factory.mktemp("wild"), rig, {"ann": "train", "bob": "test"}, 1, "wild")


@pytest.fixture(scope="session")
def studio_root(tmp_path_factory: pytest.TempPathFactory, rig: AnnyRig) -> Path:
    """One training and one test subject, three cameras each."""
    return write_capture(tmp_path_factory.mktemp("studio"), rig, {"ann": "train", "bob": "test"}, 3, "studio")


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory, wild_root: Path) -> Path:
    """Run directory of a finished four-step pretraining."""
    run = tmp_path_factory.mktemp("runs") / "pretrained"
    lca("fit", "--config", "tiny/pretrain.yaml", *small(wild_root), "--run_dir", str(run))
    return run
