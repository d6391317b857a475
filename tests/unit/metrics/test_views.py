"""Angles to the nearest reference and region masks of the posed rig."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lca_lightning.batch import Batch, Driving, References, Targets
from lca_lightning.geometry.cameras import intrinsics_from_field_of_view, look_at, project_points
from lca_lightning.metrics.views import nearest_view_angles, region_masks
from lca_lightning.rig.anny import AnnyRig
from lca_lightning.rig.rig import REGIONS, RigPose

HEIGHT, WIDTH = 128, 96


def camera(degrees: float, centre: Tensor, distance: float = 3.0, height: float = 0.0) -> Tensor:
    """A camera on a circle around the body, 0 in front of +z, positive towards +x."""
    angle = math.radians(degrees)
    offset = torch.tensor([math.sin(angle) * distance, height, math.cos(angle) * distance])
    return look_at(centre + offset, centre)


def make_batch(
    rig: AnnyRig,
    target_degrees: list[float],
    body_degrees: list[float],
    views: list[float],
    height: float = 0,
) -> Batch:
    """One standing person; the body turns about the vertical axis in each target frame."""
    count, views_count = len(target_degrees), len(views)
    pose = rig.rest_pose(count)
    rotations = pose.rotations_BJ3.clone()
    turned = [torch.tensor([0.0, math.radians(angle), 0.0]) for angle in body_degrees]
    rotations[:, 0] = torch.stack(turned)
    centre = pose.translation_B3[0]
    angles = [math.radians(angle) for angle in views]
    directions = torch.tensor([[math.sin(angle), 0.3, math.cos(angle)] for angle in angles])
    w2c = torch.stack([camera(angle, centre, height=height) for angle in target_degrees])
    K = intrinsics_from_field_of_view(math.radians(45), WIDTH, HEIGHT).expand(1, count, 3, 3)
    images = torch.zeros(1, count, 3, HEIGHT, WIDTH)
    return Batch(
        References(torch.zeros(1, views_count, 3, 8, 6), torch.zeros(1, views_count, 3, 4, 4),
                   torch.ones(1, views_count, dtype=torch.bool), torch.ones(1, views_count, dtype=torch.bool),
                   directions_BV3=directions[None] / directions.norm(dim=-1, keepdim=True)),
        Driving(rotations[None], pose.translation_B3[None], torch.zeros(1, count, rig.expression_size),
                torch.zeros(1, count, 8)),
        Targets(images, images[:, :, :1], w2c[None], K),
        rig.neutral_identity()[None],
        ("ann",),
        (tuple(f"clip/camera/{index}" for index in range(count)),),
    )  # fmt: skip


def test_angles_by_hand(rig: AnnyRig) -> None:
    # target camera, body turn -> direction in body axes is their difference
    batch = make_batch(rig, [0, 90, 180, -170, 0], [0, 0, 0, 20, 90], views=[0, 40])
    got = nearest_view_angles(batch)
    assert got is not None
    # -170 - 20 = -190 = 170: 130 from 40; 0 - 90 = -90: 90 from 0
    torch.testing.assert_close(got, torch.tensor([[0.0, 50.0, 140.0, 130.0, 90.0]]), atol=1e-2, rtol=0)


def test_height_of_a_camera_does_not_count(rig: AnnyRig) -> None:
    got = nearest_view_angles(make_batch(rig, [70], [0], views=[0], height=1.5))
    assert got is not None and float(got) == pytest.approx(70, abs=1e-2)


def test_padding_and_unknown_poses_are_no_references(rig: AnnyRig) -> None:
    batch = make_batch(rig, [90, 10], [0, 0], views=[0, 90, 80])
    directions = batch.references.directions_BV3
    assert directions is not None
    directions = directions.clone()
    directions[0, 2] = torch.nan
    mask = torch.tensor([[True, False, True]])
    references = replace(batch.references, view_mask_BV=mask, directions_BV3=directions)
    got = nearest_view_angles(replace(batch, references=references))
    torch.testing.assert_close(got, torch.tensor([[90.0, 10.0]]), atol=1e-2, rtol=0)
    blind = replace(references, directions_BV3=directions * torch.nan)
    lost = nearest_view_angles(replace(batch, references=blind))
    assert lost is not None and bool(lost.isnan().all())
    assert nearest_view_angles(replace(batch, references=replace(references, directions_BV3=None))) is None


def expected_label(rig: AnnyRig, batch: Batch, row: int, column: int) -> int:
    """Slow: region of the nearest crossing of a pixel's ray with any triangle (Moeller and Trumbore)."""
    pose = RigPose(batch.driving.rotations_BTJ3[0, :1], batch.driving.translation_BT3[0, :1])
    vertices = rig.posed_vertices(batch.identity_BI, pose)[0].double()
    w2c, K = batch.targets.w2c_BT44[0, 0].double(), batch.targets.K_BT33[0, 0].double()
    faces = rig.faces_F3[rig.visible_faces_F]
    corners = (vertices @ w2c[:3, :3].T + w2c[:3, 3])[faces]  # the camera stands at the origin
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    ray = torch.linalg.solve(K, torch.tensor([column + 0.5, row + 0.5, 1.0], dtype=torch.double))
    p = torch.linalg.cross(ray.expand_as(second), second)
    determinant = (first * p).sum(1)
    q = torch.linalg.cross(-corners[:, 0], first)
    u, v = (-corners[:, 0] * p).sum(1) / determinant, (q * ray).sum(1) / determinant
    distance = (second * q).sum(1) / determinant
    hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (distance > 0.01)
    if not bool(hit.any()):
        return -1
    labels = rig.regions_V[faces[distance.masked_fill(~hit, torch.inf).argmin()]]
    return int(labels[0]) if bool((labels == labels[0]).all()) else -1


@pytest.mark.parametrize(("name", "region"), [("face", "face"), ("hands", "hand")])
def test_regions_equal_ray_casting(rig: AnnyRig, name: str, region: str) -> None:
    """Pixels around the region's border, where a wrong test of depth or of edges would show."""
    batch = make_batch(rig, [20], [0], views=[0])
    mask = region_masks(rig, batch)[name][0, 0, 0].float()
    near = torch.nn.functional.avg_pool2d(mask[None, None], 3, 1, 1)[0, 0]
    rows, columns = ((near > 0) & (near < 1)).nonzero(as_tuple=True)
    chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:12].tolist()
    places = [(int(rows[index]), int(columns[index])) for index in chosen]
    expected = [expected_label(rig, batch, *place) == REGIONS.index(region) for place in places]
    got = [bool(mask[place]) for place in places]
    assert any(expected) and not all(expected)
    assert got == expected


def test_a_face_turned_away_is_hidden_and_the_one_in_front_is_where_it_projects(rig: AnnyRig) -> None:
    batch = make_batch(rig, [0, 180, 180], [0, 0, 180], views=[0])
    masks = region_masks(rig, batch)
    area = masks["face"].flatten(2).sum(2)[0]
    assert masks["face"].shape == (1, 3, 1, HEIGHT, WIDTH) and masks["face"].dtype == torch.bool
    assert int(area[0]) > 20 and int(area[2]) > 20
    assert int(area[1]) <= 0.05 * int(area[0])  # the back of the head hides it
    pose = RigPose(batch.driving.rotations_BTJ3[0, :1], batch.driving.translation_BT3[0, :1])
    face = rig.posed_vertices(batch.identity_BI, pose)[0][rig.regions_V == REGIONS.index("face")]
    pixels, _ = project_points(face, batch.targets.w2c_BT44[0, 0], batch.targets.K_BT33[0, 0])
    rows, columns = masks["face"][0, 0, 0].nonzero(as_tuple=True)
    assert abs(float(rows.float().mean() + 0.5 - pixels[:, 1].mean())) < 2
    assert abs(float(columns.float().mean() + 0.5 - pixels[:, 0].mean())) < 2


def test_an_unknown_pose_gives_empty_masks(rig: AnnyRig) -> None:
    batch = make_batch(rig, [0, 0], [0, float("nan")], views=[0])
    areas = region_masks(rig, batch)["face"].flatten(2).sum(2)[0]
    assert int(areas[0]) > 0 and int(areas[1]) == 0
