from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lca_lightning.datasets.clips import _gives_samples
from lca_lightning.datasets.evaluation import fixed_references, fixed_targets
from lca_lightning.datasets.frame_store import Shot
from lca_lightning.datasets.policies import ReferencePolicy, TargetPolicy, draw_shots
from lca_lightning.datasets.sampling import Take
from lca_lightning.errors import ConfigError


def make_take(cameras: int, frames: int, seed: int = 0, share: float = 1.0, **known: np.ndarray) -> Take:
    usable = np.random.default_rng(seed).random((cameras, frames)) < share
    usable[:, :2] = True
    return Take(tuple(f"c{index}" for index in range(cameras)), usable, **known)


def ring(cameras: int, frames: int) -> np.ndarray:
    """Cameras evenly around a person who stands still, ``(C, T)`` radians."""
    return np.tile(np.linspace(-np.pi, np.pi, cameras, endpoint=False)[:, None], (1, frames))


def angle(a: float, b: float) -> float:
    return abs((a - b + np.pi) % (2 * np.pi) - np.pi)


def smallest_angle(take: Take, shots: tuple[Shot, ...]) -> float:
    yaws = [take.yaw_CT[take.cameras.index(shot.camera), shot.frame] for shot in shots]
    return min(angle(a, b) for place, a in enumerate(yaws) for b in yaws[:place])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(1, 6), st.integers(2, 12), st.sampled_from([1, 2, 4, 8]),
    st.integers(1, 4), st.floats(0, 1), st.booleans(), st.booleans(),
)  # fmt: skip
def test_no_frame_is_both_reference_and_target(number, cameras, frames, views, targets, far, others, moments):
    take = make_take(cameras, frames, seed=number % 100, share=0.6, yaw_CT=ring(cameras, frames))
    rules = ReferencePolicy(far_apart=far), TargetPolicy(others, moments)
    draw = draw_shots(3, number, take, views, targets, *rules)
    assert draw == draw_shots(3, number, take, views, targets, *rules)
    assert 1 <= len(draw.references) <= views and len(draw.targets) == targets
    assert len(set(draw.references)) == len(draw.references)
    assert not set(draw.references) & set(draw.targets)
    for shot in (*draw.references, *draw.targets):
        assert take.usable_CT[take.cameras.index(shot.camera), shot.frame]
    near, far_cameras = ({s.camera for s in part} for part in (draw.references, draw.targets))
    if cameras > 1 and others:
        assert not near & far_cameras
    if moments and frames > 2 and cameras == 1:
        assert not {s.frame for s in draw.references} & {s.frame for s in draw.targets}


def test_cameras_and_moments_differ_where_there_are_enough():
    take = make_take(4, 40, yaw_CT=ring(4, 40))
    used = set()
    for number in range(200):
        draw = draw_shots(0, number, take, 4, 2)
        assert len(draw.references) == 4 and len(set(draw.targets)) == 2
        assert not {s.frame for s in draw.references} & {s.frame for s in draw.targets}
        used |= {shot.camera for shot in draw.targets}
    assert used == set(take.cameras)


def test_the_same_moments_and_cameras_where_the_policy_allows_it():
    take = make_take(3, 4, yaw_CT=ring(3, 4))
    draws = [draw_shots(0, number, take, 2, 2, policy=TargetPolicy(False, False)) for number in range(80)]
    assert any({s.frame for s in d.references} & {s.frame for s in d.targets} for d in draws)
    assert any({s.camera for s in d.references} & {s.camera for s in d.targets} for d in draws)


def test_one_moment_seen_by_several_cameras_can_be_drawn():
    take = Take(("a", "b", "c"), np.ones((3, 1), bool), yaw_CT=ring(3, 1))
    for number in range(20):
        draw = draw_shots(0, number, take, 4, 2)
        assert draw.references and not {s.camera for s in draw.references} & {s.camera for s in draw.targets}


@pytest.mark.parametrize("views", [2, 4, 8])
def test_far_apart_views_are_preferred_but_not_always(views):
    """Sixteen cameras on a ring: the closest two views are far apart with the policy, not without."""
    take = make_take(16, 30, yaw_CT=ring(16, 30))

    def spread_of(far_apart: float) -> np.ndarray:
        rule = ReferencePolicy(far_apart=far_apart)
        draws = (draw_shots(1, number, take, views, 1, rule) for number in range(60))
        return np.array([smallest_angle(take, draw.references) for draw in draws])

    always, sometimes, never = spread_of(1.0), spread_of(0.5), spread_of(0.0)
    assert always.mean() > 1.5 * never.mean() and always.mean() > sometimes.mean() > never.mean()
    if views == 2:
        assert always.min() > np.radians(150)
    assert len(set(np.round(sometimes, 3))) > 1


def test_a_turning_person_is_seen_from_all_sides_by_one_camera():
    yaw_CT = np.linspace(-np.pi, np.pi, 200, endpoint=False)[None]
    take = make_take(1, 200, yaw_CT=yaw_CT)
    for number in range(30):
        draw = draw_shots(2, number, take, 4, 2, ReferencePolicy(far_apart=1.0))
        assert smallest_angle(take, draw.references) > np.radians(45)


def test_a_face_is_among_the_views_where_there_is_one():
    face_CT = np.zeros((4, 40), bool)
    face_CT[2, 10:14] = True
    take = make_take(4, 40, yaw_CT=ring(4, 40), face_CT=face_CT)

    def share(probability: float) -> float:
        rule = ReferencePolicy(face=probability)
        draws = [draw_shots(0, number, take, 2, 1, rule) for number in range(200)]
        # a camera that gives the targets cannot show the face
        able = [d for d in draws if all(shot.camera != "c2" for shot in d.targets)]
        shown = [any(face_CT[int(s.camera[1]), s.frame] for s in d.references) for d in able]
        return float(np.mean(shown))

    assert share(1.0) == 1.0 and 0.4 < share(0.5) < 0.8 and share(0.0) < 0.4


def test_sharp_frames_win():
    sharpness_CT = np.random.default_rng(0).random((1, 400))
    take = make_take(1, 400, sharpness_CT=sharpness_CT)

    def mean(sharpest: int) -> float:
        rule = ReferencePolicy(sharpest=sharpest)
        draws = (draw_shots(0, number, take, 4, 1, rule) for number in range(100))
        return float(np.mean([sharpness_CT[0, s.frame] for draw in draws for s in draw.references]))

    # the expected largest of n uniform numbers is n / (n + 1)
    for count in (1, 2, 4):
        assert mean(count) == pytest.approx(count / (count + 1), abs=0.05)


def test_partially_lit_frames_are_targets_in_their_share_and_never_references():
    lit = np.arange(60) % 3 == 0
    take = make_take(4, 60, yaw_CT=ring(4, 60), reference_T=lit)
    for share in (0.0, 0.3, 1.0):
        draws = [draw_shots(0, number, take, 4, 4, partially_lit=share) for number in range(150)]
        assert all(lit[shot.frame] for draw in draws for shot in draw.references)
        dark = [not lit[shot.frame] for draw in draws for shot in draw.targets]
        assert np.mean(dark) == pytest.approx(share, abs=0.06)


@pytest.mark.parametrize(
    ("cameras", "frames", "views"), [(1, 50, 4), (3, 50, 4), (4, 50, 4), (8, 50, 4), (2, 2, 8)]
)
@pytest.mark.parametrize("known", [False, True])
def test_fixed_references_are_spread(cameras, frames, views, known):
    take = make_take(cameras, frames, **({"yaw_CT": ring(cameras, frames)} if known else {}))
    shots = fixed_references(take, views)
    assert shots == fixed_references(take, views)
    assert len(set(shots)) == len(shots) == min(views, cameras * frames)
    assert len({shot.camera for shot in shots}) == min(cameras, views)
    if frames == 50:
        assert np.diff(sorted(shot.frame for shot in shots)).min() >= (0 if known else 3)
    if known and cameras == 8:
        assert smallest_angle(take, shots) == pytest.approx(np.pi / 2)


def test_fixed_references_begin_with_the_frontal_face():
    face_CT = np.zeros((4, 20), bool)
    face_CT[1, 5] = face_CT[2, 5] = True
    take = make_take(4, 20, yaw_CT=ring(4, 20), face_CT=face_CT)
    assert fixed_references(take, 2, ReferencePolicy(candidates=40))[0] == Shot("c2", 5)  # at yaw 0


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"far_apart": -0.1}, "references.far_apart must lie in"),
        ({"face": 1.5}, "references.face must lie in"),
        ({"sharpest": 0}, "references.sharpest must be at least 1"),
        ({"candidates": 0}, "references.candidates must be at least 1"),
    ],
)
def test_impossible_policies(change, message):
    with pytest.raises(ConfigError, match=message):
        ReferencePolicy(**change)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_every_take_that_gives_samples_has_references_and_targets(data):
    """Few frames, few of them references, in every policy: nothing is empty, no frame is both."""
    cameras, frames = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 4))
    flags = st.lists(st.booleans(), min_size=frames, max_size=frames)
    usable = np.array([data.draw(flags.filter(any)) for _ in range(cameras)])
    lit = data.draw(st.none() | flags.map(np.array))
    names = tuple(f"cam{index}" for index in range(cameras))
    take = Take(names, usable, yaw_CT=np.zeros(usable.shape), reference_T=lit)
    policy = TargetPolicy(data.draw(st.booleans()), data.draw(st.booleans()))
    views, targets = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))
    share = data.draw(st.none() | st.sampled_from([0.0, 0.5, 1.0]))
    if not _gives_samples(take):
        return
    draw = draw_shots(0, data.draw(st.integers(0, 9)), take, views, targets, None, policy, share)
    assert 1 <= len(draw.references) <= views and len(draw.targets) == targets
    assert not set(draw.references) & set(draw.targets)
