"""Scores of a test by subject, from the rows that ``lca test`` writes."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lca_lightning.errors import DataError
from lca_lightning.reports.metrics_files import FRAME_COLUMNS


@dataclass(frozen=True)
class FrameScores:
    """One row of ``metrics.csv``.

    Attributes:
        subject: Whose frame it is.
        frame: Its name.
        angle: Degrees from the nearest reference view, NaN where unknown.
        scores: Score to value, NaN where it has none.
    """

    subject: str
    frame: str
    angle: float
    scores: Mapping[str, float]


def read_frames(path: Path, protocol: str) -> list[FrameScores]:
    """Read the rows of a test.

    Args:
        path: ``metrics.csv``.
        protocol: Whose scores to take.

    Raises:
        DataError: It cannot be read, or has no row or no score of that protocol.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read; delete its folder and run the experiment again.") from error
    if not rows:
        raise DataError(f"{path} has no frame; the test set is empty.")
    columns = {name: _score_name(name, protocol) for name in rows[0] if name not in FRAME_COLUMNS}
    chosen = {name: score for name, score in columns.items() if score}
    if not chosen:
        raise DataError(f"{path} has no score of protocol {protocol}; delete its folder and run again.")
    return [
        FrameScores(
            row["subject"],
            row["frame"],
            _number(row.get("angle")),
            {score: _number(row[name]) for name, score in chosen.items()},
        )
        for row in rows
    ]


def frames_between(frames: list[FrameScores], angle: tuple[float, float]) -> set[str]:
    """Names of frames by their angle from the nearest reference view.

    Args:
        frames: Of a test.
        angle: Above the first and up to the second number of degrees.
    """
    return {frame.frame for frame in frames if angle[0] < frame.angle <= angle[1]}


def subject_means(frames: list[FrameScores], score: str, only: set[str] | None = None) -> dict[str, float]:
    """Mean score of each subject, over its frames that have one.

    Args:
        frames: Of a test.
        score: Which score.
        only: Names of the frames to look at, None for all.

    Returns:
        Subjects with at least one such frame.

    Raises:
        DataError: There is no such score.
    """
    if score not in frames[0].scores:
        raise DataError(f"There is no score {score!r}; the test has {', '.join(frames[0].scores)}.")
    found: dict[str, list[float]] = {}
    for frame in frames:
        if (only is None or frame.frame in only) and math.isfinite(frame.scores[score]):
            found.setdefault(frame.subject, []).append(frame.scores[score])
    return {subject: math.fsum(values) / len(values) for subject, values in found.items()}


def _score_name(column: str, protocol: str) -> str | None:
    """Name of a column's score; columns say ``protocol/score``."""
    owner, slash, score = column.partition("/")
    if not slash:
        return column if protocol == "masked" else None
    return score if owner == protocol else None


def _number(text: str | None) -> float:
    return float(text) if text else math.nan
