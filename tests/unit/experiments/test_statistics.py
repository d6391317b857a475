"""Averages over seeds by hand, the bootstrap against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lca_lightning.errors import DataError
from lca_lightning.experiments.statistics import Spread, mean_over_seeds, paired_bootstrap


def test_spread_is_the_mean_and_the_deviation_over_seeds() -> None:
    spread = Spread.of([1.0, 2.0, 6.0])
    assert spread.mean == pytest.approx(3.0)
    assert spread.deviation == pytest.approx(np.sqrt((4 + 1 + 9) / 2))
    assert Spread.of([5.0]) == Spread(5.0, None)


def test_subjects_are_averaged_over_seeds() -> None:
    assert mean_over_seeds([{"a": 1.0, "b": 4.0}, {"a": 3.0, "b": 8.0}]) == {"a": 2.0, "b": 6.0}


def test_seeds_on_different_subjects_are_refused() -> None:
    with pytest.raises(DataError, match="different subjects"):
        mean_over_seeds([{"a": 1.0}, {"b": 1.0}])


def test_bootstrap_agrees_with_scipy() -> None:
    generator = np.random.default_rng(3)
    first_S, second_S = generator.normal(20, 3, 24), generator.normal(20, 3, 24)
    names = [f"s{index:02}" for index in range(24)]
    ours = paired_bootstrap(dict(zip(names, first_S, strict=True)), dict(zip(names, second_S, strict=True)))
    theirs = stats.bootstrap(
        (first_S - second_S,), np.mean, n_resamples=10_000, method="percentile", random_state=1
    ).confidence_interval
    assert ours.difference == pytest.approx(float((first_S - second_S).mean()))
    # a percentile of 10,000 resamples of this spread is known to about 0.02
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.1)
    assert ours.subjects == 24


def test_pairing_removes_what_subjects_share() -> None:
    easy = {f"s{index}": 10.0 * index for index in range(8)}
    interval = paired_bootstrap({name: value + 0.5 for name, value in easy.items()}, easy)
    assert (interval.low, interval.difference, interval.high) == pytest.approx((0.5, 0.5, 0.5))


def test_two_subjects_by_hand() -> None:
    # differences 0 and 1: a resample's mean is 0, 1/2 or 1 with probability 1/4, 1/2, 1/4
    interval = paired_bootstrap({"a": 1.0, "b": 3.0}, {"a": 1.0, "b": 2.0})
    assert (interval.low, interval.difference, interval.high) == (0.0, 0.5, 1.0)


def test_the_same_draws_every_time_and_the_same_subjects_only() -> None:
    first, second = {"a": 1.0, "b": 2.0, "c": 5.0}, {"a": 0.0, "b": 2.5, "c": 1.0}
    assert paired_bootstrap(first, second) == paired_bootstrap(dict(reversed(first.items())), second)
    with pytest.raises(DataError, match="same subjects"):
        paired_bootstrap(first, {"a": 1.0})
