"""Numbers of maps whose answer is known; places of the body against a projection by hand."""

from __future__ import annotations

import math

import pytest
import torch

from lca_lightning.analysis.attention_scores import entropy, near_patches, score_map, true_places
from lca_lightning.analysis.queries import find_queries
from lca_lightning.analysis.reference_sets import ReferenceSet
from lca_lightning.batch import References
from lca_lightning.geometry.cameras import intrinsics_from_field_of_view, look_at
from lca_lightning.model.avatar_model import AvatarModel
from lca_lightning.rig.anny import AnnyRig

SIZE = (64, 48)


def test_all_attention_on_one_patch() -> None:
    attention = torch.zeros(2, 4, 3)
    attention[1, 2, 0] = 0.6
    mattes = torch.zeros(2, *SIZE)
    mattes[1, 32:48, :8] = 1.0  # half of that patch
    score = score_map(attention, mattes, (0, 2), SIZE, torch.tensor([[0.5, 0.5], [0.1, 0.6]]))
    assert score.on_images == pytest.approx(0.6)
    assert score.on_person == pytest.approx(0.5)
    assert score.person_area == pytest.approx(0.5 / 24)
    assert score.entropy == pytest.approx(0.0, abs=1e-9) and score.near == pytest.approx(1.0)
    empty, full = score.photos
    assert (empty.view, full.view) == (0, 2) and (empty.share, full.share) == (0.0, pytest.approx(1.0))
    assert full.centroid == pytest.approx((0.5 / 3, 2.5 / 4))
    expected = math.hypot((0.5 / 3 - 0.1) * 48 / 64, 2.5 / 4 - 0.6)
    assert full.distance == pytest.approx(expected, abs=1e-6) and full.place == pytest.approx((0.1, 0.6))


def test_even_attention() -> None:
    mattes = torch.zeros(2, *SIZE)
    mattes[:, :16] = 1.0
    points = torch.tensor([[0.5, 0.3], [0.9, 0.9]])
    score = score_map(torch.full((2, 4, 3), 0.01), mattes, (0, 1), SIZE, points, torch.tensor([True, False]))
    assert score.on_images == pytest.approx(0.24) and score.entropy == pytest.approx(1.0)
    assert score.on_person == score.person_area == pytest.approx(0.25)
    assert score.near == pytest.approx(score.near_area) and score.near > 0
    assert [photo.share for photo in score.photos] == pytest.approx([0.5, 0.5])
    assert [photo.centroid for photo in score.photos] == [pytest.approx((0.5, 0.5))] * 2
    assert [photo.visible for photo in score.photos] == [True, False]


def test_what_is_unknown_stays_unknown() -> None:
    score = score_map(torch.rand(1, 4, 3), None, (0,), SIZE)
    assert score.on_person is score.person_area is score.near is score.near_area is None
    assert score.photos[0].place is None and score.photos[0].on_person is None


def test_entropy_of_two_equal_places() -> None:
    assert entropy(torch.tensor([1.0, 1.0, 0.0, 0.0])) == pytest.approx(0.5)
    assert entropy(torch.tensor([3.0])) == 0.0


def test_near_patches_follow_the_aspect() -> None:
    near = near_patches(torch.tensor([[0.5, 0.5]]).double(), (32, 24), SIZE)[0]
    rows, columns = near.nonzero().unbind(1)
    assert int(rows.max() - rows.min()) == int(columns.max() - columns.min())  # round on square patches
    lone = near_patches(torch.tensor([[0.01, 0.01]]).double(), (2, 2), SIZE)[0]
    assert lone.tolist() == [[1.0, 0.0], [0.0, 0.0]], "at least the patch the point lies in"


def photos_of(rig: AnnyRig) -> ReferenceSet:
    """The template from the front and from behind."""
    middle = torch.tensor([0.0, 0.1, 0.1])
    eyes = torch.tensor([[0.0, 0.1, 3.0], [0.0, 0.1, -3.0]])
    K_33 = intrinsics_from_field_of_view(0.7, 192, 256)
    blank = References(
        torch.zeros(1, 2, 3, 256, 192),
        torch.zeros(1, 2, 3, 32, 32),
        torch.ones(1, 2) > 0,
        torch.zeros(1, 2) > 0,
    )
    return ReferenceSet(
        "a", "a", ("front", "back"), blank, rig.neutral_identity(), rig.rest_pose(2),
        look_at(eyes, middle), K_33.expand(2, 3, 3),
    )  # fmt: skip


def test_true_places(model: AvatarModel, rig: AnnyRig) -> None:
    queries = find_queries(model, ["nose", "back_of_head", "left_hand"])
    places = true_places(model, photos_of(rig), queries)
    assert places is not None
    focal = 0.5 * 256 / math.tan(0.35)
    for query, points, visible in zip(queries, places.points_QV2, places.visible_QV, strict=True):
        x, y, z = query.position
        front = (96 + focal * x / (3.0 - z), 128 - focal * (y - 0.1) / (3.0 - z))
        back = (96 - focal * x / (3.0 + z), 128 - focal * (y - 0.1) / (3.0 + z))
        pixels = points * torch.tensor([192.0, 256.0])
        torch.testing.assert_close(pixels, torch.tensor([front, back]), atol=2.0, rtol=0)
        if query.name != "left_hand":
            assert visible.tolist() == [query.name == "nose", query.name == "back_of_head"]


def test_places_need_camera_and_pose(model: AvatarModel, rig: AnnyRig) -> None:
    known = photos_of(rig)
    unknown = ReferenceSet(known.subject, known.sequence, known.labels, known.references)
    assert true_places(model, unknown, find_queries(model, ["nose"])) is None
