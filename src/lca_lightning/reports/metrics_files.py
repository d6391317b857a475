"""``metrics.json`` and ``metrics.csv``: the numbers of a test for other programs."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lca_lightning.reports.results import TestResults
from lca_lightning.writing import write_text

FORMAT, VERSION = "lca-metrics", 1
FRAME_COLUMNS = ("set", "views", "task", "subject", "frame", "angle")


def metrics_values(results: TestResults) -> dict[str, Any]:
    """What ``metrics.json`` holds.

    Args:
        results: Of a test.

    Returns:
        Plain values; see docs/evaluation.md for the keys.
    """
    return {
        "format": FORMAT,
        "version": VERSION,
        "checkpoint": results.checkpoint or None,
        "checkpoint_sha256": results.checkpoint_sha256 or None,
        "step": results.step,
        "results": [{**asdict(summary), "scores": dict(summary.scores)} for summary in results.summaries()],
        "cost": dict(results.cost),
        "notes": results.notes(),
    }


def write_metrics_json(results: TestResults, path: Path) -> Path:
    """Write ``metrics.json``, atomically."""
    return write_text(path, json.dumps(metrics_values(results), indent=2, allow_nan=False) + "\n")


def write_metrics_csv(results: TestResults, path: Path) -> Path:
    """Write one row for each frame, atomically; cells are empty where a value is unknown."""
    names = score_columns(results)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*FRAME_COLUMNS, *(f"{protocol}/{score}" for protocol, score in names)])
    for frame in results.frames:
        scores = [frame.scores[protocol].get(score, math.nan) for protocol, score in names]
        place = [frame.set, frame.views, frame.task, frame.subject, frame.frame]
        writer.writerow([*place, _cell(frame.angle), *map(_cell, scores)])
    return write_text(path, text.getvalue())


def score_columns(results: TestResults) -> list[tuple[str, str]]:
    """Protocol and name of each score that some frame has, in order."""
    return [
        (protocol, score)
        for protocol in results.protocols
        for score in dict.fromkeys(name for frame in results.frames for name in frame.scores[protocol])
        if any(not math.isnan(frame.scores[protocol].get(score, math.nan)) for frame in results.frames)
    ]


def _cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.9g}"
