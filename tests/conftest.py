"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from lca_lightning.rig.anny import AnnyRig

SAMPLES = Path(__file__).parents[2] / "shared" / "samples"


def pytest_configure(config: pytest.Config) -> None:
    """One thread a worker: the workers of pytest-xdist already fill the cores."""
    if os.environ.get("PYTEST_XDIST_WORKER"):
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def rig() -> AnnyRig:
    """The default rig; tests must not change its buffers."""
    return AnnyRig()


@pytest.fixture(scope="session")
def samples() -> Path:
    """Folder of real captures; tests that need it are skipped where it is absent."""
    if not SAMPLES.is_dir():
        pytest.skip(f"the real samples are not on this machine ({SAMPLES.name} next to the checkout)")
    return SAMPLES
