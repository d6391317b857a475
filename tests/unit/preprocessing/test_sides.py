"""Exchanged left and right, across views and over time."""

from __future__ import annotations

import numpy as np

from lca_lightning.preprocessing.sides import (
    MIRROR,
    exchange_sides,
    resolve_sides_across_views,
    resolve_sides_over_time,
)
from tests.unit.preprocessing.views import project_all, ring_of_cameras, walking_points


def test_mirror_is_an_involution_that_keeps_the_nose() -> None:
    assert (
        (MIRROR[MIRROR] == np.arange(33)).all() and MIRROR[0] == 0 and (MIRROR != np.arange(33)).sum() == 32
    )


def test_views_with_exchanged_sides_are_found() -> None:
    points = walking_points(12)
    projections = np.stack([camera.projection_34 for camera in ring_of_cameras(4)])
    pixels = project_all(points.reshape(-1, 3), projections).reshape(4, 12, 33, 2)
    pixels += np.random.default_rng(0).normal(scale=3.0, size=pixels.shape)
    truth = np.zeros((4, 12), bool)
    truth[1, 4:9], truth[3, 2] = True, True
    corrupted = np.where(truth[..., None, None], pixels[:, :, MIRROR], pixels)
    found = resolve_sides_across_views(corrupted, np.ones((4, 12, 33)), projections)
    assert (found == truth).all()


def test_a_single_camera_keeps_the_longer_stretch() -> None:
    projections = ring_of_cameras(1)[0].projection_34[None]
    pixels = project_all(walking_points(20).reshape(-1, 3), projections).reshape(20, 33, 2)
    body = np.concatenate([pixels, np.ones((20, 33, 1))], -1)
    body[6:10] = body[6:10][:, MIRROR]
    body[15] = np.nan
    swaps = resolve_sides_over_time(body)
    assert swaps[6:10].all() and swaps.sum() == 4


def test_hands_and_metric_landmarks_change_sides_too() -> None:
    generator = np.random.default_rng(0)
    body, world, hands = (generator.normal(size=shape) for shape in ((2, 33, 3), (2, 33, 3), (2, 2, 21, 3)))
    new_body, new_world, new_hands = exchange_sides(body, world, hands, np.array([False, True]))
    assert (new_body[0] == body[0]).all() and (new_body[1] == body[1, MIRROR]).all()
    assert (new_world[1] == world[1, MIRROR]).all() and (new_hands[1] == hands[1, ::-1]).all()
