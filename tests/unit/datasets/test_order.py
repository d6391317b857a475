"""The order of samples is a function of the seed and the sample's number, and of nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lca_lightning.datasets.loading import SeededSampler
from lca_lightning.datasets.order import SampleOrder
from lca_lightning.errors import ConfigError

GROUPS = np.repeat(np.arange(7), [3, 5, 1, 4, 6, 2, 5])[np.random.default_rng(0).permutation(26)]


@given(st.integers(0, 5), st.sampled_from([None, 1, 2, 3, 100]), st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_every_lap_takes_each_item_once_in_a_fresh_order(seed: int, window: int | None, lap: int) -> None:
    order = SampleOrder(GROUPS, seed, window)
    taken = [order.position(lap * len(GROUPS) + place) for place in range(len(GROUPS))]
    after = [order.position((lap + 1) * len(GROUPS) + place) for place in range(len(GROUPS))]
    assert sorted(taken) == sorted(after) == list(range(len(GROUPS)))
    assert taken != after


@pytest.mark.parametrize("window", [1, 2, 3])
def test_a_run_stays_within_its_window_and_the_next_is_named_before(window: int) -> None:
    order = SampleOrder(GROUPS, 3, window)
    place, left = 0, 7
    while place < len(GROUPS):
        upcoming = order.upcoming(place)
        here = set(upcoming[: min(window, left)])
        left -= window
        length = int(np.isin(GROUPS, list(here)).sum())
        run = [GROUPS[order.position(place + step)] for step in range(length)]
        assert set(run) == here
        assert order.upcoming(place + length - 1) == upcoming
        assert GROUPS[order.position(place + length)] in upcoming
        place += length
    assert place == len(GROUPS)


def test_numbers_may_come_in_any_order_and_from_far() -> None:
    straight, jumping = SampleOrder(GROUPS, 1, 2), SampleOrder(GROUPS, 1, 2)
    wanted = [straight.position(number) for number in range(300)]
    for number in np.random.default_rng(1).permutation(300):
        assert jumping.position(int(number)) == wanted[number]
    assert SampleOrder(GROUPS, 1, 2).position(10**9) == straight.position(10**9)
    other = SampleOrder(GROUPS, 2, 2)
    assert [other.position(number) for number in range(300)] != wanted


def test_without_windows_everything_is_shuffled_at_once() -> None:
    order = SampleOrder(GROUPS, 4)
    groups = GROUPS[[order.position(number) for number in range(26)]]
    assert (np.diff(groups) != 0).sum() > 15  # neighbours lie in different chunks
    assert order.upcoming(3) == []


class Numbers(torch.utils.data.Dataset):
    """What a data module does with the order, without pictures."""

    def __init__(self) -> None:
        self.order = SampleOrder(GROUPS, 9, 2)

    def __getitem__(self, number: int) -> tuple[int, int]:
        return number, self.order.position(number)


def stream(first_step: int, steps: int, world_size: int, batch_size: int, workers: int) -> dict[int, int]:
    """Items by sample number, as all ranks together load them."""
    found: dict[int, int] = {}
    for rank in range(world_size):
        sampler = SeededSampler(steps, batch_size, rank, world_size, lambda: first_step)
        loader = torch.utils.data.DataLoader(Numbers(), batch_size, sampler=sampler, num_workers=workers)
        for numbers, items in loader:
            found.update(zip(numbers.tolist(), items.tolist(), strict=True))
    return found


def test_any_workers_and_ranks_give_the_same_stream_and_resume_it() -> None:
    straight = stream(0, 24, world_size=1, batch_size=4, workers=0)
    assert sorted(straight) == list(range(96))
    assert stream(0, 12, world_size=2, batch_size=4, workers=2) == straight
    # 12 steps of 4 samples on one rank, then 4 ranks of 1 with other workers: numbers go on at 48
    first, rest = stream(0, 12, 1, 4, 0), stream(12, 12, 4, 1, 1)
    assert {**first, **rest} == straight
    for lap in range(3):
        items = [straight[number] for number in range(26 * lap, 26 * lap + 26)]
        assert sorted(items) == list(range(26))


def test_nothing_to_take_and_empty_windows_are_refused() -> None:
    with pytest.raises(ConfigError, match="another split"):
        SampleOrder(np.array([], int), 0)
    with pytest.raises(ConfigError, match="at least one chunk"):
        SampleOrder(GROUPS, 0, 0)
