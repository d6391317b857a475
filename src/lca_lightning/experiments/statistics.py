"""Averages over seeds, and the paired bootstrap over subjects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lca_lightning.errors import DataError
from lca_lightning.reports.slices import bootstrap_interval


@dataclass(frozen=True)
class Spread:
    """Mean over seeds.

    Attributes:
        mean: The mean.
        deviation: Standard deviation over seeds (divisor n - 1), None for a single seed.
    """

    mean: float
    deviation: float | None

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        """Of one value a seed."""
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
        return Spread(float(np.mean(values)), deviation)


@dataclass(frozen=True)
class Interval:
    """Difference of two lines of a table over the same subjects.

    Attributes:
        difference: Mean over subjects of first minus second.
        low: 2.5th percentile of that mean over resampled subjects.
        high: 97.5th percentile.
        subjects: Number of subjects.
    """

    difference: float
    low: float
    high: float
    subjects: int


def mean_over_seeds(seeds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean over seeds of each subject's value.

    Args:
        seeds: Subject to value, one mapping a seed.

    Returns:
        Subjects that every seed has a finite value of.

    Raises:
        DataError: The seeds were measured on different subjects.
    """
    if len({frozenset(seed) for seed in seeds}) > 1:
        raise DataError("Seeds of one row were tested on different subjects; run the experiment again.")
    means = {
        subject: float(np.mean([seed[subject] for seed in seeds])) for subject in (seeds[0] if seeds else ())
    }
    return {subject: value for subject, value in means.items() if np.isfinite(value)}


def paired_bootstrap(first: Mapping[str, float], second: Mapping[str, float]) -> Interval:
    """95% interval of the mean difference over subjects, by resampling subjects with replacement.

    Args:
        first: Value of each subject.
        second: Value of the same subjects.

    Returns:
        The difference and its percentile interval (Efron 1979).

    Raises:
        DataError: The subjects differ, or there are none.
    """
    if set(first) != set(second) or not first:
        raise DataError("A paired comparison needs the same subjects on both sides, and at least one.")
    differences_S = np.array([first[subject] - second[subject] for subject in sorted(first)])
    return Interval(float(differences_S.mean()), *bootstrap_interval(differences_S), len(differences_S))
