"""Named points lie where their names say, on the body's own left and right."""

from __future__ import annotations

import pytest
import torch

from lca_lightning.analysis.queries import (
    DEFAULT_QUERIES,
    EYES,
    NAMES,
    POINTS,
    BodyPoint,
    anchor_regions,
    find_queries,
    template_point,
)
from lca_lightning.errors import UsageError
from lca_lightning.model.avatar_model import AvatarModel
from lca_lightning.rig.anny import AnnyRig
from lca_lightning.rig.rig import REGIONS

# Anny's own keypoints, which the definitions do not use
KEYPOINTS = {
    "nose": "nose", "left_ear": "left_ear", "right_ear": "right_ear", "left_eye": "left_eye",
    "left_shoulder": "left_shoulder", "right_knee": "right_knee", "left_toes": "left_big_toe",
    "right_heel": "right_heel",
}  # fmt: skip


def test_points_agree_with_the_keypoints_of_the_rig(model: AvatarModel, rig: AnnyRig) -> None:
    keypoints = rig.keypoints(rig.template_vertices_V3[None])[0]
    for query in find_queries(model, list(KEYPOINTS)):
        expected = keypoints[rig.keypoint_names.index(KEYPOINTS[query.name])]
        assert (torch.tensor(query.position) - expected).norm() < 0.12, query.name


def test_every_name_is_near_an_anchor_of_its_own_part(model: AvatarModel) -> None:
    for query in find_queries(model, NAMES):
        assert query.distance < 0.09, query
        if query.name in POINTS:
            assert query.region in POINTS[query.name].regions
        if query.name.startswith(("left", "right")):
            assert (query.position[0] > 0) == query.name.startswith("left")
        assert query.is_face == (query.region == "face")
        stored = model.anchors.positions_A3[query.anchor]
        torch.testing.assert_close(torch.tensor(query.position), stored)
    assert set(DEFAULT_QUERIES) <= set(NAMES) and set(EYES) <= set(NAMES)


def test_heights_and_directions(rig: AnnyRig) -> None:
    point = {name: template_point(rig, POINTS[name]) for name in POINTS}
    heights = [
        float(point[name][1]) for name in ("top_of_head", "nose", "chin", "chest", "belly", "left_knee")
    ]
    assert heights == sorted(heights, reverse=True)
    assert point["back_of_head"][2] < point["nose"][2] - 0.15
    assert point["back"][2] < point["chest"][2] - 0.1
    assert point["left_heel"][2] < point["left_foot"][2] < point["left_toes"][2]
    assert point["left_fingertips"][1] < point["left_hand"][1]


def test_numbers_and_joints(model: AvatarModel, rig: AnnyRig) -> None:
    by_number, by_joint = find_queries(model, ["17", "foot.L", "17"])
    assert (by_number.anchor, by_number.distance, by_number.name) == (17, 0.0, "17")
    joint = rig.canonical_joints(rig.neutral_identity()[None])[0, rig.joint_names.index("foot.L")]
    distances = (model.anchors.positions_A3 - joint).norm(dim=1)
    assert by_joint.anchor == int(distances.argmin())


def test_anchor_regions_are_those_of_the_anchors(model: AvatarModel) -> None:
    regions = anchor_regions(model)
    assert len(regions) == model.anchors.count
    assert torch.equal(regions == REGIONS.index("face"), model.anchors.is_face_A)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lefthand", "no query 'lefthand', did you mean left_hand or"),
        ("qqq", "no query 'qqq'. Known are nose, forehead"),
        ("256", "anchors 0 to 255, got 256"),
    ],
)
def test_unknown_names(model: AvatarModel, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        find_queries(model, [name])


def test_nothing_to_find(model: AvatarModel, rig: AnnyRig) -> None:
    with pytest.raises(UsageError, match="At least one query"):
        find_queries(model, [])
    with pytest.raises(UsageError, match="no vertex there"):
        template_point(rig, BodyPoint(("foot",), 1, None, 0.9))
