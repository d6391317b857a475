"""A clean capture, written once, and copies of it to break."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lca_lightning.inspection.dataset_check import check_dataset
from lca_lightning.inspection.results import CheckOptions, DatasetResult
from lca_lightning.rig.anny import AnnyRig
from tests.unit.inspection.captures import write_moving_capture

QUICK = CheckOptions(sample=3, thumbnails=1, synchronisation=False)


@pytest.fixture(scope="session")
def clean_capture(rig: AnnyRig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three cameras, one subject to train on and one to test on; must not be changed."""
    root = tmp_path_factory.mktemp("inspection") / "clean"
    return write_moving_capture(root, rig, {"ann": "train", "bob": "test"})


@pytest.fixture
def capture(clean_capture: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(clean_capture, tmp_path / "capture"))


@pytest.fixture
def found() -> Callable[..., list[tuple[str, str, str, str]]]:
    """Severity, check, sequence and camera of every finding of a quick check."""

    def check(root: Path, options: CheckOptions = QUICK) -> list[tuple[str, str, str, str]]:
        result: DatasetResult = check_dataset(root, options)
        return [(item.severity, item.check, item.sequence, item.camera) for item in result.findings]

    return check
