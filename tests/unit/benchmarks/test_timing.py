"""Ratios, spreads and the refusal to time what disagrees."""

from __future__ import annotations

import time

import pytest
import torch

from lca_lightning.benchmarks.timing import (
    Agreement,
    Measurement,
    check_agreement,
    compare,
    in_turn,
    spread_of,
    time_calls,
)
from lca_lightning.errors import LCAError

AGREED = Agreement(0.0, 1e-5)


def test_ratio_is_ours_over_the_rivals() -> None:
    found = compare("sums", lambda: sum(range(200_000)), "short sums", lambda: sum(range(10_000)), AGREED, 5)
    assert isinstance(found, Measurement)
    assert found.ratio > 2
    assert found.spread[0] <= found.ratio <= found.spread[1]
    assert found.rounds == 5


def test_both_sides_are_called_equally_often_and_by_turns() -> None:
    order: list[str] = []
    compare("a", lambda: order.append("a"), "b", lambda: order.append("b"), AGREED, 3, calls=2)
    assert order == list("bbaaaabbbbaaaabb")


def test_time_of_a_call_is_the_mean_over_the_calls_of_a_turn() -> None:
    assert 9 < time_calls(lambda: time.sleep(0.01), calls=3) < 40


def test_spread_leaves_a_tenth_out_at_either_end() -> None:
    assert spread_of([float(value) for value in range(20)]) == (2.0, 17.0)
    assert spread_of([3.0]) == (3.0, 3.0)


def test_items_come_in_turn_for_ever() -> None:
    take = in_turn("ab")
    assert [take() for _ in range(5)] == list("ababa")


def test_agreement_reports_the_largest_difference() -> None:
    ours = [torch.zeros(3), torch.tensor([1.0, 2.0])]
    theirs = [torch.zeros(3), torch.tensor([1.0, 2.5])]
    assert check_agreement("x", ours, theirs, 1.0).difference == pytest.approx(0.5)
    relative = check_agreement("x", ours, theirs, 1.0, relative=True).difference
    assert relative == pytest.approx(0.5 / (1 + 2.5**2) ** 0.5)


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("value", [2e-5, float("nan"), float("inf")])
def test_difference_is_refused(value: float, relative: bool) -> None:
    with pytest.raises(LCAError, match="differ by"):
        check_agreement("x", [torch.tensor([1.0, value])], [torch.tensor([1.0, 0.0])], 1e-5, relative)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(LCAError, match="shapes"):
        check_agreement("x", [torch.zeros(2)], [torch.zeros(2, 1)], 1e-5)
