from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lca_lightning.datasets.splits import assign_splits, check_no_leak, check_shares, choose_subset
from lca_lightning.errors import ConfigError, DataError

PEOPLE = np.array([f"person{number // 2:04d}" for number in range(2000)])  # two sequences each
TRAIN = np.full(len(PEOPLE), "train")


def test_a_subject_in_two_splits_is_named():
    splits = TRAIN.copy()
    check_no_leak(PEOPLE, splits, "here")
    splits[-1] = "test"
    with pytest.raises(DataError, match="'person0999' of here has sequences in the splits train and test"):
        check_no_leak(PEOPLE, splits, "here")


def test_assigned_splits_have_their_shares_and_never_leak():
    splits = assign_splits(PEOPLE, TRAIN, {"val": 0.05, "test": 0.1}, 0, "here")
    check_no_leak(PEOPLE, splits, "here")
    assert np.mean(splits == "val") == pytest.approx(0.05, abs=0.02)
    assert np.mean(splits == "test") == pytest.approx(0.1, abs=0.03)
    assert not np.array_equal(splits, assign_splits(PEOPLE, TRAIN, {"val": 0.05, "test": 0.1}, 1, "here"))


def test_people_stay_where_they_are_when_others_arrive():
    half = assign_splits(PEOPLE[:1000], TRAIN[:1000], {"val": 0.1}, 0, "here")
    assert np.array_equal(half, assign_splits(PEOPLE, TRAIN, {"val": 0.1}, 0, "here")[:1000])
    order = np.random.default_rng(0).permutation(len(PEOPLE))
    shuffled = assign_splits(PEOPLE[order], TRAIN, {"val": 0.1}, 0, "here")
    assert np.array_equal(shuffled, assign_splits(PEOPLE, TRAIN, {"val": 0.1}, 0, "here")[order])


def test_stored_splits_are_honoured():
    stored = TRAIN.copy()
    stored[:200] = "test"
    splits = assign_splits(PEOPLE, stored, {"val": 0.1}, 0, "here")
    assert (splits[:200] == "test").all() and not (splits[200:] == "test").any()


def test_an_empty_split_is_an_error():
    with pytest.raises(DataError, match="gives split 'val' none of the 1 subjects of here; raise its share"):
        assign_splits(np.array(["ann"]), np.array(["train"]), {"val": 0.01}, 0, "here")
    with pytest.raises(DataError, match="gives split 'train' none"):
        assign_splits(np.array(["ann"]), np.array(["train"]), {"val": 0.999}, 0, "here")


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 1000), st.integers(1, 1000), st.integers(0, 5))
def test_subsets_are_nested_and_independent_of_the_order(few, many, seed):
    few, many = sorted((few, many))
    small = choose_subset(PEOPLE, fraction=None, subjects=few, seed=seed)
    large = choose_subset(PEOPLE, fraction=None, subjects=many, seed=seed)
    assert len(np.unique(PEOPLE[small])) == few and small.sum() == 2 * few
    assert not (small & ~large).any()
    order = np.random.default_rng(seed).permutation(len(PEOPLE))
    again = choose_subset(PEOPLE[order], fraction=None, subjects=few, seed=seed)
    assert set(PEOPLE[order][again]) == set(PEOPLE[small])


def test_fractions_and_counts_agree():
    tenth = choose_subset(PEOPLE, fraction=0.1, subjects=None, seed=0)
    assert np.array_equal(tenth, choose_subset(PEOPLE, fraction=None, subjects=100, seed=0))
    assert choose_subset(PEOPLE, fraction=1e-9, subjects=None, seed=0).sum() == 2  # never nobody
    assert choose_subset(PEOPLE, fraction=1.0, subjects=None, seed=0).all()
    assert choose_subset(PEOPLE, fraction=None, subjects=10**6, seed=0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fraction": -0.1, "subjects": None}, "fraction must be above 0 and at most 1, got -0.1"),
        ({"fraction": 1.5, "subjects": None}, "fraction must be above 0"),
        ({"fraction": None, "subjects": 0}, "subjects must be at least 1"),
        ({"fraction": 0.1, "subjects": 5}, "not both"),
    ],
)
def test_impossible_subsets(options, message):
    with pytest.raises(ConfigError, match=message):
        choose_subset(PEOPLE, seed=0, **options)


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"train": 0.5}, "knows the splits val and test"),
        ({"val": -0.1}, "splits.val must lie between 0 and 1"),
        ({"val": 0.5, "test": 0.5}, "leaves no subject for training"),
    ],
)
def test_impossible_shares(shares, message):
    with pytest.raises(ConfigError, match=message):
        check_shares(shares)
