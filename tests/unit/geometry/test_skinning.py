"""Linear blend skinning against a loop and under rigid motion."""

from __future__ import annotations

import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from lca_lightning.errors import ShapeError
from lca_lightning.geometry import skinning


def random_transforms(batch: int, joints: int, seed: int = 0) -> Tensor:
    transforms = torch.eye(4, dtype=torch.float64).repeat(batch, joints, 1, 1)
    vectors = torch.randn(
        batch * joints, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    turns = torch.from_numpy(Rotation.from_rotvec(vectors.numpy() * 0.5).as_matrix())
    transforms[..., :3, :3] = turns.unflatten(0, (batch, joints))
    transforms[..., :3, 3] = vectors.unflatten(0, (batch, joints))
    return transforms


def random_weights(points: int, joints: int) -> Tensor:
    logits = torch.randn(points, joints, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return (2 * logits).softmax(-1)


def test_equals_a_loop_over_joints() -> None:
    transforms, weights = random_transforms(2, 5), random_weights(7, 5)
    points = torch.randn(2, 7, 3, dtype=torch.float64)
    expected = torch.zeros_like(points)
    for b in range(2):
        for g in range(7):
            for j in range(5):
                moved = transforms[b, j] @ torch.cat([points[b, g], points.new_ones(1)])
                expected[b, g] += weights[g, j] * moved[:3]
    torch.testing.assert_close(skinning.skin_points(points, weights, transforms), expected)


def test_one_rigid_motion_of_all_joints_is_that_motion() -> None:
    transform = random_transforms(1, 1)
    transforms, weights = transform.expand(1, 5, 4, 4), random_weights(7, 5)
    points = torch.randn(1, 7, 3, dtype=torch.float64)
    expected = points @ transform[0, 0, :3, :3].T + transform[0, 0, :3, 3]
    torch.testing.assert_close(skinning.skin_points(points, weights, transforms), expected)
    rotations = skinning.skin_rotations(weights, transforms)
    torch.testing.assert_close(rotations, transform[:, :, :3, :3].expand(1, 7, 3, 3))


def test_skin_rotations_are_rotations() -> None:
    rotations = skinning.skin_rotations(random_weights(50, 5), random_transforms(3, 5))
    eye = torch.eye(3, dtype=torch.float64).expand_as(rotations)
    torch.testing.assert_close(rotations @ rotations.transpose(-1, -2), eye, atol=1e-9, rtol=0)
    assert (torch.linalg.det(rotations) > 0).all()


def test_a_wrong_shape_names_the_argument() -> None:
    with pytest.raises(ShapeError, match=r"points_BG3 must have shape \(2, 7, 3\), got \(2, 6, 3\)"):
        skinning.skin_points(torch.zeros(2, 6, 3).double(), random_weights(7, 5), random_transforms(2, 5))
