from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from lca_lightning.datasets.mixture import BLOCK, MixtureSchedule, normalized_weights
from lca_lightning.errors import ConfigError


def test_every_source_has_its_share_and_goes_through_its_samples_in_order():
    schedule = MixtureSchedule(np.array([0.7, 0.2, 0.1]), seed=3)
    places = [schedule.place(number) for number in range(2 * BLOCK)]
    counts = Counter(source for source, _ in places)
    for source, share in enumerate((0.7, 0.2, 0.1)):
        assert counts[source] == pytest.approx(share * 2 * BLOCK, abs=2)
        assert [own for found, own in places if found == source] == list(range(counts[source]))
    # the draw is mixed at every scale, not sorted
    share = [np.mean([source == 0 for source, _ in places[at : at + 64]]) for at in range(0, 4096, 64)]
    assert 0.4 < min(share) < max(share) < 0.95


def test_the_source_of_a_sample_depends_on_seed_and_number_alone():
    shares = np.array([0.5, 0.5])
    forwards = [MixtureSchedule(shares, 0).place(number) for number in range(50)]
    backwards = [MixtureSchedule(shares, 0).place(number) for number in reversed(range(50))]
    assert forwards == backwards[::-1]
    assert forwards != [MixtureSchedule(shares, 1).place(number) for number in range(50)]


@pytest.mark.parametrize(
    "shares", [[1.0], [0.99999, 0.00001], [1 / 3] * 3, [1.0, 0.0], [1e-6] * 5 + [1 - 5e-6]]
)
def test_blocks_are_full_whatever_the_shares(shares):
    counts = MixtureSchedule(np.array(shares), 0).counts
    assert counts.sum() == BLOCK
    assert all((count > 0) == (share > 0) for count, share in zip(counts, shares, strict=True))


def test_weights():
    assert normalized_weights(["a", "b"], None).tolist() == [0.5, 0.5]
    assert normalized_weights(["a", "b"], {"b": 3.0, "a": 1.0}).tolist() == [0.25, 0.75]
    assert normalized_weights(["a", "b"], {"b": 2.0}).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("names", "weights", "message"),
    [
        (["a"], {"c": 1.0}, "unknown source 'c'; the sources are a"),
        (["a", "b"], {"a": 0.0, "b": 0.0}, "sum to zero"),
        (["a", "b"], {"a": 2.0, "b": -1.0}, "weights.b must not be negative, got -1.0"),
        (["a"], {"a": float("nan")}, "must not be negative"),
        ([], None, "names no source"),
    ],
)
def test_impossible_weights(names, weights, message):
    with pytest.raises(ConfigError, match=message):
        normalized_weights(names, weights)
