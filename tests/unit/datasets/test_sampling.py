from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lca_lightning.datasets.frame_store import Shot
from lca_lightning.datasets.loading import EvaluationSampler, SeededSampler
from lca_lightning.datasets.sampling import (
    Take,
    draw_monocular,
    draw_multiview,
    draw_take,
    draw_view_count,
    fixed_references,
    fixed_targets,
    sample_number,
)
from lca_lightning.errors import DataError


def make_take(cameras: int, frames: int, seed: int = 0, share: float = 1.0) -> Take:
    usable = np.random.default_rng(seed).random((cameras, frames)) < share
    usable[:, :2] = True
    return Take(tuple(f"c{index}" for index in range(cameras)), usable)


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


def test_every_lap_visits_every_take_once_in_another_order():
    laps = [[draw_take(4, lap * 7 + place, 7) for place in range(7)] for lap in range(6)]
    assert all(sorted(lap) == list(range(7)) for lap in laps)
    assert len({tuple(lap) for lap in laps}) > 3


def test_view_counts_follow_the_seed_and_the_step_and_are_balanced():
    counts = [draw_view_count(1, step, (1, 2, 4)) for step in range(900)]
    assert counts == [draw_view_count(1, step, (1, 2, 4)) for step in range(900)]
    assert all(240 < counts.count(value) < 360 for value in (1, 2, 4))
    assert counts != [draw_view_count(2, step, (1, 2, 4)) for step in range(900)]


@settings(max_examples=60)
@given(st.integers(1, 6), st.integers(2, 30), st.integers(0, 10**9), st.integers(1, 8), st.integers(1, 5))
def test_draws_are_usable_disjoint_and_repeatable(cameras, frames, number, views, targets):
    take = make_take(cameras, frames, seed=number % 100, share=0.6)
    for rule in (draw_monocular, draw_multiview):
        draw = rule(3, number, take, views, targets)
        assert draw == rule(3, number, take, views, targets)
        assert len(draw.targets) == targets and 1 <= len(draw.references) <= views
        for shot in (*draw.references, *draw.targets):
            assert take.usable_CT[take.cameras.index(shot.camera), shot.frame]
        assert not set(draw.references) & set(draw.targets)
        assert len(set(draw.references)) == len(draw.references)
        near, far = ({shot.camera for shot in shots} for shots in (draw.references, draw.targets))
        if rule is draw_monocular or cameras == 1:
            assert len(near) == 1 and near == far
            assert not {s.frame for s in draw.references} & {s.frame for s in draw.targets}
        else:
            assert not near & far


def test_multiview_uses_other_frames_when_there_are_enough():
    take = make_take(4, 40)
    for number in range(200):
        draw = draw_multiview(0, number, take, 4, 2)
        assert len(draw.references) == 4 and len(set(draw.targets)) == 2
        assert not {s.frame for s in draw.references} & {s.frame for s in draw.targets}
    used = {shot.camera for number in range(40) for shot in draw_multiview(0, number, take, 4, 2).targets}
    assert used == set(take.cameras)


def test_one_moment_seen_by_several_cameras_can_be_drawn():
    take = Take(("a", "b", "c"), np.ones((3, 1), bool))
    for number in range(20):
        draw = draw_multiview(0, number, take, 4, 2)
        assert not {s.camera for s in draw.references} & {s.camera for s in draw.targets}


@pytest.mark.parametrize(
    ("cameras", "frames", "views"), [(1, 50, 4), (3, 50, 4), (4, 50, 4), (8, 50, 4), (2, 2, 8)]
)
def test_fixed_references_are_spread(cameras, frames, views):
    take = make_take(cameras, frames)
    shots = fixed_references(take, views)
    assert shots == fixed_references(take, views)
    assert len(set(shots)) == len(shots) == min(views, cameras * frames)
    assert len({shot.camera for shot in shots}) == min(cameras, views)
    if frames == 50:
        assert np.diff(sorted(shot.frame for shot in shots)).min() >= 3


def test_fixed_targets_leave_the_references_out():
    take = make_take(2, 10)
    references = fixed_references(take, 2)
    shots = fixed_targets(take, references, None)
    assert len(shots) == 2 * (10 - 2)
    assert not {shot.frame for shot in shots} & {shot.frame for shot in references}
    few = fixed_targets(take, references, 5)
    assert len(few) == 5 and set(few) <= set(shots)
    single = Take(("a", "b"), np.ones((2, 1), bool))
    assert fixed_targets(single, (Shot("a", 0),), None) == (Shot("b", 0),)
