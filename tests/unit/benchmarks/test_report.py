"""The report's requirements, table and file."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from lca_lightning.benchmarks.report import Figure, Report, Requirement, format_report, write_report
from lca_lightning.benchmarks.timing import Measurement

FOUND = Measurement("splat", 1.23456789, "other", 2.0, 0.61728, (0.5, 0.7), 1e-6, 5)


def make_report(busy_cores: float | None = 0.0) -> Report:
    return Report(
        "raster",
        "10 Gaussians",
        torch.device("cpu"),
        [FOUND],
        [Figure("decode", 0.5, "ms")],
        [Requirement("ours / other:", 0.617, "at most", 1.5), Requirement("times:", 2.0, "at least", 3.0)],
        ["A note."],
        busy_cores,
    )


def test_requirements_know_their_sense() -> None:
    assert [requirement.reached for requirement in make_report().requirements] == [True, False]
    assert not Requirement("x", float("nan"), "at most", 1.0).reached


def test_table_says_everything() -> None:
    text = format_report(make_report())
    for part in ("splat", "other", "0.617", "0.500-0.700", "decode", "A note.", "torch", "gsplat", "numba"):
        assert part in text
    assert "reached: ours / other: 0.617 (at most 1.5)" in text
    assert "NOT REACHED: times: 2 (at least 3)" in text
    assert "busy" not in text
    assert "busy" in format_report(make_report(busy_cores=3.0))
    assert "busy" not in format_report(make_report(busy_cores=None))


def test_file_has_the_agreed_form(tmp_path: Path) -> None:
    path = tmp_path / "new" / "raster.json"
    write_report(make_report(), path)
    found = json.loads(path.read_text(encoding="utf-8"))
    assert list(found) == [
        "benchmark", "settings", "device", "versions", "date", "busy_cores", "busy", "measurements",
        "figures", "requirements", "notes",
    ]  # fmt: skip
    assert found["measurements"][0]["ours_ms"] == 1.23457
    assert found["measurements"][0]["spread"] == [0.5, 0.7]
    assert [row["reached"] for row in found["requirements"]] == [True, False]
    assert torch.__version__.startswith(found["versions"]["torch"])
    assert [file.name for file in path.parent.iterdir()] == ["raster.json"]
