"""A capture, its data module and a batch for the tests of training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lca_data_modules import StudioDataModule
from lca_lightning.batch import Batch
from lca_lightning.rig.anny import AnnyRig
from tests.tiny_capture import write_capture


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Two threads on matrices this small only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory, rig: AnnyRig) -> StudioDataModule:
    """One subject under two cameras, batches of one."""
    root = write_capture(tmp_path_factory.mktemp("studio"), rig, {"ann": "train"}, 2, "studio")
    return StudioDataModule(str(root), image_size=(64, 48), face_size=(32, 32), views=(1,), test_views=1)


@pytest.fixture(scope="session")
def batch(data: StudioDataModule) -> Batch:
    """A training batch of one subject."""
    return next(iter(data.train_dataloader()))


@pytest.fixture(scope="session")
def validated_root(tmp_path_factory: pytest.TempPathFactory, rig: AnnyRig) -> Path:
    """One subject to learn from and one to validate, under two cameras."""
    people = {"ann": "train", "bob": "val"}
    return write_capture(tmp_path_factory.mktemp("validated"), rig, people, 2, "studio")
