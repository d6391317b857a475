"""Benchmarks: nobody in two splits or two domains, the same metadata whoever makes them and however."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lca_lightning.cli import synthesize as verb
from lca_lightning.datasets.records import KINDS
from lca_lightning.errors import DataError, UsageError

pytest.importorskip("mitsuba")

from lca_lightning.synthesis.benchmarks import BENCHMARKS, BenchmarkPart, benchmark_tasks  # noqa: E402
from lca_lightning.synthesis.capture import render_tasks, subject_tasks  # noqa: E402
from lca_lightning.synthesis.digest import metadata_digest  # noqa: E402

PARTS = tuple(
    BenchmarkPart(
        kind, 90 + index, 1, 0, 1, 2, 1 if index % 3 == 0 else 2, (64, 48), 1, float(kind == "wild")
    )
    for index, kind in enumerate(KINDS)
)
# Changes only with a new version of the benchmarks: what a set says about its pictures is part of it.
PINNED = "3668edbc4cf3529b0fabe3ada0716b54bd0e3059014917ca410b4d1efb863abd"


def make(root: Path, workers: int = 0, shard: tuple[int, int] = (1, 1)) -> str:
    tasks = [
        task
        for part in PARTS
        for task in subject_tasks(root / part.kind, part.settings, part.subjects, part.val, part.test)
    ]
    render_tasks(tasks, workers, shard, progress=False)
    return metadata_digest(root)


def test_the_command_offers_what_the_library_has() -> None:
    assert verb.BENCHMARKS == tuple(BENCHMARKS)
    assert verb.KINDS == KINDS


def test_nobody_is_in_two_parts_or_two_splits() -> None:
    parts = [part for parts in BENCHMARKS.values() for part in parts]
    assert len({part.seed for part in parts}) == len(parts)
    for name, kinds in BENCHMARKS.items():
        assert [part.kind for part in kinds] == list(KINDS)
        tasks = benchmark_tasks(name, "somewhere")
        people = [task.path.name for task in tasks]
        assert len(set(people)) == len(people) == sum(part.subjects for part in kinds)
        for part in kinds:
            splits = [task.split for task in tasks if Path(task.root).name == part.kind]
            counts = {split: splits.count(split) for split in ("train", "val", "test")}
            left = part.subjects - part.val - part.test
            assert counts == {"train": left, "val": part.val, "test": part.test}
            assert counts["test"] > 0 and (counts["train"] > 0) == (part.kind != "stylised")
            noisy = {
                task.split
                for task in tasks
                if Path(task.root).name == part.kind and task.settings.noise_strength
            }
            assert noisy == (
                {"train"} if part.kind in ("wild", "studio") else set()
            )  # scores are of avatars, not of fits
        wild, studio = kinds[:2]
        many, few = (part.subjects - part.val - part.test for part in (wild, studio))
        assert many > 4 * few and studio.cameras > 1 == wild.cameras
    with pytest.raises(UsageError, match="lca-synth-tiny"):
        benchmark_tasks("lca-synth-huge", "somewhere")


def test_metadata_are_those_of_every_other_machine_and_continue_after_a_stop(tmp_path: Path) -> None:
    make(tmp_path, shard=(2, 2))
    first, third = (tmp_path / kind / "sequences" for kind in ("wild", "light_stage"))
    assert not first.exists() and not third.exists()
    assert (tmp_path / "wild" / "dataset.json").is_file()
    assert make(tmp_path, shard=(1, 2)) == PINNED
    truth = first / "synthetic-0090-00000" / "truth.safetensors"
    truth.unlink()  # without its truth a noisy sequence is not finished
    assert metadata_digest(tmp_path) != PINNED
    assert make(tmp_path) == PINNED and truth.is_file()


def test_an_empty_folder_has_no_digest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="lca synthesize"):
        metadata_digest(tmp_path)


@pytest.mark.slow
def test_workers_and_vector_units_change_nothing(tmp_path: Path) -> None:
    assert make(tmp_path / "parallel", workers=2) == PINNED
    plain = {"NPY_DISABLE_CPU_FEATURES": _numpy_features(), "ATEN_CPU_CAPABILITY": "default",
             "MKL_CBWR": "COMPATIBLE", "OPENBLAS_CORETYPE": "Prescott", "OMP_NUM_THREADS": "2"}  # fmt: skip
    script = (
        "import sys, pathlib; from tests.unit.synthesis.test_benchmarks import make;"
        "print(make(pathlib.Path(sys.argv[1])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "plain")], capture_output=True, text=True,
        env={**os.environ, **plain}, cwd=Path(__file__).parents[3], check=True,
    )  # fmt: skip
    assert done.stdout.split()[-1] == PINNED


def _numpy_features() -> str:
    """Vector units that numpy found and may leave aside."""
    core = getattr(np, "_core", None) or np.core
    found = core._multiarray_umath.__cpu_features__
    optional = core._multiarray_umath.__cpu_dispatch__
    return " ".join(name for name in optional if found.get(name))


def test_a_set_of_other_splits_is_not_continued(tmp_path: Path) -> None:
    part = PARTS[0]
    tasks = subject_tasks(tmp_path, part.settings, part.subjects, part.val, part.test)
    (folder,) = render_tasks(tasks, progress=False)
    before = metadata_digest(tmp_path)
    assert render_tasks(tasks, progress=False) == [folder]
    for other, said in (
        (subject_tasks(tmp_path, part.settings, 2, 0, 1), "split test, and train is wanted"),
        ([replace(tasks[0], settings=replace(part.settings, samples=2))], "samples 1, and 2 is wanted"),
    ):
        with pytest.raises(DataError, match=said):
            render_tasks(other, progress=False)
    assert metadata_digest(tmp_path) == before
