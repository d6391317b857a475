"""Scores sliced by who is in the pictures: mean and bootstrap interval over the subjects of each slice."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lca_lightning.errors import DataError
from lca_lightning.reports.metrics_files import FRAME_COLUMNS

LEAST_SUBJECTS = 3
"""Smaller slices say more about a person than about a group: they are counted, not scored."""
_RESAMPLES = 10_000


@dataclass(frozen=True)
class Slice:
    """One slice of a test set.

    Attributes:
        kind: What it is sliced by, such as "skin tone".
        label: Which slice, such as "dark".
        subjects: How many people it has.
        mean: Mean over them of each one's mean over frames; None below ``LEAST_SUBJECTS``.
        low: Lower end of the 95% bootstrap interval of that mean.
        high: Upper end.
    """

    kind: str
    label: str
    subjects: int
    mean: float | None
    low: float | None
    high: float | None


def subject_scores(
    table: Path | str, score: str, test_set: str | None = None, views: int | None = None
) -> dict[str, float]:
    """Mean score of each subject of a per-frame table, as the protocols average.

    Args:
        table: ``metrics.csv`` of ``lca test``.
        score: A column, such as ``masked/psnr``.
        test_set: Only rows of this set; all when None.
        views: Only rows of tests with this many reference views; all when None.

    Returns:
        Mean over frames by subject; frames without a score (an empty mask) are left out.

    Raises:
        DataError: No such file, no such column, or no row is left.
    """
    try:
        with Path(table).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise DataError(f"There is no table {table}; `lca test` writes metrics.csv.") from error
    columns = list(rows[0]) if rows else []
    missing = [name for name in (*FRAME_COLUMNS, score) if name not in columns]
    if missing:
        raise DataError(f"{table} has no column {missing[0]!r}; it has {', '.join(columns) or 'none'}.")
    values: dict[str, list[float]] = {}
    for row in rows:
        chosen = test_set in (None, row["set"]) and (views is None or row["views"] == str(views))
        value = float(row[score] or "nan")
        if chosen and not math.isnan(value):
            values.setdefault(row["subject"], []).append(value)
    if not values:
        raise DataError(f"{table} has no row of the set {test_set!r} with {views} views that has a score.")
    return {subject: float(np.mean(scores)) for subject, scores in sorted(values.items())}


def slice_scores(
    scores: Mapping[str, float], labels: Mapping[str, Mapping[str, str]], least: int = LEAST_SUBJECTS
) -> list[Slice]:
    """Slice the scores of subjects by their labels.

    Args:
        scores: Score by subject.
        labels: Label by kind by subject; subjects without labels are left out.
        least: Subjects a slice needs to be scored.

    Returns:
        Slices in the order of kinds, then of labels; first of all the slice ("all", "") over everybody. Kinds
        in which all people are alike are left out.
    """
    known = {subject: score for subject, score in scores.items() if subject in labels}
    groups: dict[tuple[str, str], list[float]] = {("all", ""): list(known.values())}
    kinds = list(dict.fromkeys(kind for subject in known for kind in labels[subject]))
    for kind in kinds:
        found = {labels[subject][kind] for subject in known if kind in labels[subject]}
        for label in sorted(found) if len(found) > 1 else ():
            groups[kind, label] = [s for name, s in known.items() if labels[name].get(kind) == label]
    return [_scored(kind, label, np.array(values), least) for (kind, label), values in groups.items()]


def bootstrap_interval(values_n: NDArray[np.float64], confidence: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean (Efron 1979); always the same for the same values.

    Args:
        values_n: One value a subject.
        confidence: Share of resampled means inside.

    Returns:
        Lower and upper end.
    """
    draws = np.random.default_rng(0).integers(0, len(values_n), (_RESAMPLES, len(values_n)))
    tail = 50 * (1 - confidence)
    low, high = np.percentile(np.sort(values_n)[draws].mean(1), [tail, 100 - tail])
    return float(low), float(high)


def _scored(kind: str, label: str, values_n: NDArray[np.float64], least: int) -> Slice:
    if len(values_n) < least:
        return Slice(kind, label, len(values_n), None, None, None)
    low, high = bootstrap_interval(values_n)
    return Slice(kind, label, len(values_n), float(values_n.mean()), low, high)
