"""Offsets in time and their drift, on drawn captures whose timing is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lca_lightning.inspection.dataset_check import check_dataset
from lca_lightning.inspection.results import CheckOptions
from lca_lightning.inspection.synchronisation import best_offset, choose_stretches
from lca_lightning.rig.anny import AnnyRig
from tests.unit.inspection.captures import write_moving_capture

OPTIONS = CheckOptions(sample=2, thumbnails=0)


def test_a_shifted_camera_is_found_and_its_offset_measured(rig: AnnyRig, tmp_path: Path) -> None:
    def late(camera: str, frame: float) -> float:
        return frame - 3 if camera == "cam1" else frame

    root = write_moving_capture(tmp_path / "late", rig, {"ann": "train"}, timing=late, frames=48, cameras=2)
    result = check_dataset(root, OPTIONS)
    assert [(f.severity, f.check, f.camera) for f in result.findings] == [
        ("error", "synchronisation", "cam1")
    ]
    cameras = result.sequences[0].cameras
    assert cameras["cam1"].offset_begin == pytest.approx(3, abs=0.25)
    assert cameras["cam1"].drift == pytest.approx(0, abs=0.4)
    assert cameras["cam0"].offset_begin == pytest.approx(0, abs=0.2)
    assert cameras["cam0"].offset_end == pytest.approx(0, abs=0.2)


def test_a_camera_that_runs_two_percent_fast_drifts(rig: AnnyRig, tmp_path: Path) -> None:
    def fast(camera: str, frame: float) -> float:
        return frame * 1.02 if camera == "cam0" else frame

    root = write_moving_capture(tmp_path / "fast", rig, {"ann": "train"}, timing=fast, frames=80, cameras=2)
    result = check_dataset(root, OPTIONS)
    assert [(f.severity, f.check, f.camera) for f in result.findings] == [
        ("error", "synchronisation", "cam0")
    ]
    cameras = result.sequences[0].cameras
    assert cameras["cam0"].offset_begin == pytest.approx(0, abs=0.3)
    assert cameras["cam0"].offset_end == pytest.approx(-1.6, abs=0.4)
    assert cameras["cam0"].drift == pytest.approx(-1.6, abs=0.5)


def blobs(moments: np.ndarray) -> dict[int, np.ndarray]:
    """A film of a soft spot that wanders without repeating itself."""
    rows, columns = np.mgrid[:40, :40]
    film = {}
    for index, moment in enumerate(moments):
        y, x = 20 + 10 * np.sin(0.31 * moment), 20 + 10 * np.sin(0.23 * moment + 1)
        film[index] = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 40).astype(np.float32)
    return film


@pytest.mark.parametrize("offset", [-6.0, -0.5, 0.0, 1.3, 7.0])
def test_the_offset_of_two_films_has_parts_of_a_frame(offset: float) -> None:
    frames = np.arange(40.0)
    measured = best_offset(blobs(frames - offset), blobs(frames))
    assert measured == pytest.approx(offset, abs=0.1)


def test_steady_differences_do_not_matter() -> None:
    hair = np.zeros((40, 40), np.float32)
    hair[5:30, 3:20] = 0.9
    film = {frame: np.maximum(image, hair) for frame, image in blobs(np.arange(40.0) - 2).items()}
    assert best_offset(film, blobs(np.arange(40.0))) == pytest.approx(2, abs=0.2)


def test_who_stands_still_has_no_offset() -> None:
    still = blobs(np.zeros(40))
    noise = np.random.default_rng(0)
    film = {frame: image + 0.01 * noise.standard_normal(image.shape) for frame, image in still.items()}
    assert best_offset(film, still) is None
    assert best_offset(film, blobs(np.arange(40.0))) is None


def test_stretches_cover_both_ends() -> None:
    assert choose_stretches(10) == []
    assert [(s.start, s.stop) for s in choose_stretches(20)] == [(0, 20)]
    assert [(s.start, s.stop) for s in choose_stretches(60)] == [(0, 30), (30, 60)]
    assert [(s.start, s.stop) for s in choose_stretches(1000)] == [(0, 48), (952, 1000)]
