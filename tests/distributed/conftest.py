"""A capture in which one of two people never shows a face, and runs on it that several tests look at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lca_lightning.rig.anny import AnnyRig
from tests import tiny_capture
from tests.cli.commands import lca, small
from tests.cli.conftest import one_thread
from tests.distributed.processes import RECORD, TWO, run

__all__ = ["one_thread"]

STEPS = 20


@pytest.fixture(scope="session")
def capture(tmp_path_factory: pytest.TempPathFactory, rig: AnnyRig) -> Path:
    """Two people to learn from, one without a face anywhere, and two to test on."""
    root = tmp_path_factory.mktemp("two_people")
    tiny_capture.write_capture(root, rig, {"ann": "train", "bob": "test", "dan": "test"}, 1, "wild")
    signals = tiny_capture.signals

    def faceless(*arguments):  # type: ignore[no-untyped-def]
        made = signals(*arguments)
        return replace(
            made, face_boxes={name: np.full_like(b, np.nan) for name, b in made.face_boxes.items()}
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_capture, "signals", faceless)
        tiny_capture.write_capture(root, rig, {"cat": "train"}, 1, "wild")
    return root


@pytest.fixture(scope="session")
def recipe(capture: Path) -> list[str]:
    """``fit`` of the tiny recipe with every random draw switched on."""
    options = {
        "trainer__max_steps": STEPS,
        "trainer__val_check_interval": STEPS,
        "trainer__limit_val_batches": 0,
        "trainer__enable_progress_bar": "false",
        "data__init_args__batch_size": 1,
        "data__init_args__test_targets_per_item": 1,
        "model__avatar__identity_dropout": 0.3,
        "model__avatar__adaln_gate_init": 0.0,
        "model__optimizer__layer_decay": 0.65,
        "image_grids__every_n_steps": 0,
    }
    return ["fit", "--config", "tiny/pretrain", *small(capture, **options), RECORD]


@pytest.fixture(scope="session")
def two(tmp_path_factory: pytest.TempPathFactory, recipe: list[str]) -> Path:
    """Run directory of 20 steps in two processes, one sample each."""
    directory = tmp_path_factory.mktemp("two_processes")
    run(*recipe, *TWO, f"--run_dir={directory}")
    return directory


@pytest.fixture(scope="session")
def one(tmp_path_factory: pytest.TempPathFactory, recipe: list[str]) -> Path:
    """The same run in one process, two samples a step."""
    directory = tmp_path_factory.mktemp("one_process")
    assert lca(*recipe, "--data.init_args.batch_size=2", f"--run_dir={directory}") == 0
    return directory
