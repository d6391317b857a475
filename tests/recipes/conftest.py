"""The captures of the command tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from lca_lightning.rig.anny import AnnyRig
from tests.cli.conftest import one_thread, pretrained, studio_root, wild_root
from tests.tiny_capture import write_capture

__all__ = ["light_stage_root", "one_thread", "pretrained", "studio_root", "wild_root"]


@pytest.fixture(scope="session")
def light_stage_root(tmp_path_factory: pytest.TempPathFactory, rig: AnnyRig) -> Path:
    """One training and one test subject under lamps, three cameras each."""
    subjects = {"ann": "train", "bob": "test"}
    return write_capture(tmp_path_factory.mktemp("light_stage"), rig, subjects, 3, "light_stage")
