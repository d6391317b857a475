"""Loader benchmark on a small capture that it makes; wrong frames stop it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch

from lca_lightning.benchmarks import captures, loader
from lca_lightning.benchmarks.sizes import BenchOptions
from lca_lightning.datasets.format import Dataset, Sequence
from lca_lightning.errors import DataError, LCAError


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return captures.write_capture(tmp_path_factory.mktemp("bench") / "capture", "tiny", frames=12)


def options(capture: Path) -> BenchOptions:
    return BenchOptions(torch.device("cpu"), "tiny", rounds=1, data=capture)


def test_delivered_frames_are_timed(capture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "COUNTED_SAMPLES", 2)
    report = loader.measure_loader(options(capture))
    assert report.measurements[0].difference <= 1.0
    figures = {figure.name: figure.value for figure in report.figures}
    assert figures["delivered"] > 0 and figures["PyAV, the same frames"] > 0
    assert figures["decoded for each frame delivered"] == 1  # every frame of our files is a key frame


def test_wrong_frames_are_not_timed(capture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Sequence.read_frames

    def shifted(sequence: Sequence, camera: str, frames: Iterable[int]) -> tuple[np.ndarray, np.ndarray]:
        images, masks = read(sequence, camera, frames)
        return np.roll(images, 4, axis=2), masks

    monkeypatch.setattr(Sequence, "read_frames", shifted)
    with pytest.raises(LCAError, match="Loader and plain PyAV"):
        loader.measure_loader(options(capture))


def test_raw_frames_go_round(capture: Path) -> None:
    sequence = Dataset(capture).sequences()[:1]
    raw = loader.raw_frames(sequence)
    pictures = [next(raw)[0] for _ in range(12 * captures.CAMERAS + 1)]
    assert np.array_equal(pictures[0], pictures[-1])
    assert not np.array_equal(pictures[0], pictures[11])


def test_a_missing_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data set folder"):
        loader.measure_loader(options(tmp_path / "nowhere"))
