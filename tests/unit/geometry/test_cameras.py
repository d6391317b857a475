"""Cameras against closed forms."""

from __future__ import annotations

import math

import torch

from lca_lightning.geometry import cameras


def test_look_at_puts_the_target_in_the_middle_and_up_on_top() -> None:
    w2c = cameras.look_at(torch.tensor([1.0, 2.0, 5.0]), torch.tensor([0.0, 1.0, 0.0]))
    K = cameras.intrinsics_from_field_of_view(0.8, 64, 48)
    pixels, depth = cameras.project_points(torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.5, 0.0]]), w2c, K)
    torch.testing.assert_close(pixels[0], torch.tensor([32.0, 24.0]))
    torch.testing.assert_close(depth[0], torch.tensor([1.0, 1.0, 5.0]).norm())
    assert pixels[1, 1] < 24.0, "y grows downwards in the picture"
    torch.testing.assert_close(torch.linalg.det(w2c[:3, :3]), torch.tensor(1.0))
    torch.testing.assert_close(cameras.camera_center(w2c), torch.tensor([1.0, 2.0, 5.0]))


def test_field_of_view_reaches_the_border() -> None:
    K = cameras.intrinsics_from_field_of_view(math.pi / 2, 100, 100)
    pixels, _ = cameras.project_points(torch.tensor([[1.0, 1.0, 1.0]]), torch.eye(4), K)
    torch.testing.assert_close(pixels, torch.tensor([[100.0, 100.0]]))


def test_crop_and_scale_follow_the_pixels() -> None:
    K = cameras.intrinsics_from_field_of_view(0.7, 200, 100)
    points = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)) + torch.tensor([0.0, 0.0, 5.0])
    before, _ = cameras.project_points(points, torch.eye(4), K)
    changed = cameras.scale_intrinsics(cameras.crop_intrinsics(K, 30.0, 10.0), 0.5, 0.25)
    after, _ = cameras.project_points(points, torch.eye(4), changed)
    expected = (before - torch.tensor([30.0, 10.0])) * torch.tensor([0.5, 0.25])
    torch.testing.assert_close(after, expected)


def test_orbit_starts_in_front_and_keeps_its_distance() -> None:
    target = torch.tensor([0.0, 1.0, 0.0])
    w2c = cameras.orbit_cameras(8, target, 3.0, elevation=0.2)
    centers = cameras.camera_center(w2c)
    torch.testing.assert_close((centers - target).norm(dim=1), torch.full((8,), 3.0))
    assert centers[0, 2] > 2.9 and abs(float(centers[0, 0])) < 1e-5
    assert centers[2, 0] > 2.9, "a quarter turn later the camera stands at +x"


def test_points_behind_the_camera_stay_finite() -> None:
    pixels, depth = cameras.project_points(
        torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, -2.0]]), torch.eye(4), torch.eye(3)
    )
    assert pixels.isfinite().all() and (depth <= 0).all()
