"""Memory table: every case, running out of memory as a result, and the refusal without CUDA."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lca_lightning.benchmarks import memory
from lca_lightning.benchmarks.report import format_report, write_report
from lca_lightning.benchmarks.sizes import BenchOptions
from lca_lightning.errors import DeviceError

CPU = torch.device("cpu")


def imagined(case: memory.Case) -> float:
    """GiB by a simple rule; the largest case is too much."""
    if case.gaussians == 131_072 and case.views == 8 and case.precision == "float32":
        raise torch.OutOfMemoryError("too much")
    return 2.0 * case.views * (1 if case.checkpointing else 3)


def test_every_combination_is_measured_and_cleaned_up_after() -> None:
    cleaned = []
    rows = memory.measure_rows(imagined, lambda: cleaned.append(1))
    assert len(rows) == len(cleaned) == 4 * 3 * 2 * 2
    assert len({row.case for row in rows}) == len(rows)
    assert [row.peak_gib for row in rows].count(None) == 2


def test_table_and_report_say_what_fits(tmp_path: Path) -> None:
    rows = memory.measure_rows(imagined, lambda: None)
    table = memory.to_markdown(rows, "an imagined card")
    assert "| 8 | 131072 | float32 | off | out of memory | no | no | no |" in table
    assert "| 8 | 65536 | bfloat16 | off | 48.0 | no | no | yes |" in table
    assert "| 1 | 16384 | bfloat16 | on | 2.0 | yes | yes | yes |" in table
    path = tmp_path / "memory.json"
    report = memory.report_of(rows, "base", CPU, path, table)
    write_report(report, path)
    assert path.with_suffix(".md").read_text(encoding="utf-8") == table
    figures = json.loads(path.read_text(encoding="utf-8"))["figures"]
    assert [figure["value"] for figure in figures].count(None) == 2
    assert "none GiB" in format_report(report)


def test_without_cuda_it_says_so() -> None:
    with pytest.raises(DeviceError, match="no CUDA device"):
        memory.measure_memory(BenchOptions(CPU))


def test_cases_set_up_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    meter = memory.PeakMeter("tiny", CPU)
    case = memory.Case(2, 1024, "float32", checkpointing=True)
    step = meter.step(case)
    assert step.model.config.gaussians == 1024 and step.model.config.gradient_checkpointing
    assert step.batch.references.view_mask_BV.shape == (1, 2)
    other = meter.step(memory.Case(1, 1024, "bfloat16", checkpointing=False))
    assert other.model is step.model and not other.model.config.gradient_checkpointing
    assert other.precision is torch.bfloat16
    step()
