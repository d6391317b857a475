from __future__ import annotations

import pytest

from lca_lightning.datasets.loading import EvaluationSampler, SeededSampler
from lca_lightning.datasets.sampling import derived_seed, draw_view_count, sample_number
from lca_lightning.errors import DataError


def test_numbers_cover_the_stream_once_over_ranks_and_steps():
    numbers = [
        sample_number(step, rank, 3, 2, slot) for step in range(4) for rank in range(3) for slot in range(2)
    ]
    assert numbers == list(range(24))


def test_sampler_starts_at_the_step_of_the_run():
    step = 0
    sampler = SeededSampler(5, 2, rank=1, world_size=2, first_step=lambda: step)
    straight = list(sampler)
    assert straight == [2, 3, 6, 7, 10, 11, 14, 15, 18, 19] and len(sampler) == 10
    step = 3
    assert list(sampler)[:4] == straight[6:]


def test_evaluation_sampler_takes_every_item_once():
    taken = [index for rank in range(3) for index in EvaluationSampler(8, rank, 3)]
    assert sorted(taken) == list(range(8))
    with pytest.raises(DataError, match="use fewer devices"):
        EvaluationSampler(2, 0, 3)


def test_view_counts_follow_the_seed_and_the_step_and_are_balanced():
    counts = [draw_view_count(1, step, (1, 2, 4)) for step in range(900)]
    assert counts == [draw_view_count(1, step, (1, 2, 4)) for step in range(900)]
    assert all(240 < counts.count(value) < 360 for value in (1, 2, 4))
    assert counts != [draw_view_count(2, step, (1, 2, 4)) for step in range(900)]


def test_sources_of_a_mixture_have_seeds_of_their_own():
    seeds = {derived_seed(seed, name) for seed in range(3) for name in ("a", "b")}
    assert len(seeds) == 6 and all(0 <= seed < 2**32 for seed in seeds)
