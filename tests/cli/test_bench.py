"""``lca bench raster`` at a small size: outputs agree, and the file has the agreed form."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lca_lightning.benchmarks.raster import agreement, measure_raster, person_cloud
from lca_lightning.benchmarks.timing import Measurement, compare, write_measurements
from lca_lightning.cli.main import main
from lca_lightning.rendering import choose_renderer

KEYS = ["name", "ours_ms", "rival", "rival_ms", "ratio", "spread", "agree", "device"]


@pytest.mark.skipif(shutil.which("g++") is None, reason="the rival needs g++, which is not installed here")
def test_small_raster_benchmark_agrees_and_writes_the_form(tmp_path: Path) -> None:
    measurements = measure_raster(gaussians=400, height=64, width=48, rounds=3, slow_rounds=1)
    path = tmp_path / "new" / "raster.json"
    write_measurements(measurements, path)
    rows = json.loads(path.read_text(encoding="utf-8"))
    assert [list(row) for row in rows] == [KEYS, KEYS]
    for row in rows:
        assert row["agree"] is True and row["ours_ms"] > 0 and row["rival_ms"] > 0
        assert row["spread"][0] <= row["spread"][1]
    assert rows[1]["ratio"] < 1
    assert [file.name for file in path.parent.iterdir()] == ["raster.json"]


def test_agreement_notices_a_difference() -> None:
    work = person_cloud(100, 32, 24)
    images, gradients = work.run(choose_renderer("cpu"))
    assert agreement((images, gradients), (images, gradients)) == (0.0, 0.0)
    image, gradient = agreement(
        (images, gradients), ([images[0] + 1e-3, *images[1:]], [g * 1.1 for g in gradients])
    )
    assert image > 9e-4 and gradient > 0.05


def test_ratio_is_ours_over_the_rivals() -> None:
    found = compare("sums", lambda: sum(range(200_000)), "short sums", lambda: sum(range(10_000)), True, 5)
    assert (
        isinstance(found, Measurement)
        and found.ratio > 2
        and found.spread[0] <= found.ratio <= found.spread[1]
    )


@pytest.mark.parametrize("words", [["bench"], ["bench", "unknown"], ["bench", "raster", "--rounds", "0"]])
def test_wrong_usage_exits_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert "Traceback" not in capsys.readouterr().err
