"""The compiled skin motion against the plain operations it stands for."""

from __future__ import annotations

import pytest
import torch

from lca_lightning.errors import ShapeError
from lca_lightning.geometry.rotations import (
    matrix_to_quaternion,
    nearest_rotation,
    polar_rotation,
    rotation_vector_to_matrix,
)
from lca_lightning.geometry.skinning import blend_transforms
from lca_lightning.geometry.skinning_cpu import skin_motion_cpu


def random_motion(points: int, joints: int, angle: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Sparse weights, and transforms whose rotations are up to ``angle`` radians."""
    generator = torch.Generator().manual_seed(points)
    weights = torch.rand(points, joints, generator=generator)
    weights *= torch.rand(points, joints, generator=generator) < 0.4
    weights[:, 0] += 0.01
    weights /= weights.sum(1, keepdim=True)
    axes = torch.nn.functional.normalize(torch.randn(3, joints, 3, generator=generator), dim=-1)
    transforms = torch.eye(4).repeat(3, joints, 1, 1)
    transforms[..., :3, :3] = rotation_vector_to_matrix(
        axes * angle * torch.rand(3, joints, 1, generator=generator)
    )
    transforms[..., :3, 3] = torch.randn(3, joints, 3, generator=generator)
    return weights, transforms


@pytest.mark.parametrize("points", [1, 7, 5000])
@pytest.mark.parametrize("angle", [0.0, 0.7, 1.5])
def test_equals_blending_polar_factor_and_quaternion(points: int, angle: float) -> None:
    """1e-5: float32 sums in another order; the polar factor amplifies them where blends shrink."""
    weights, transforms = random_motion(points, 6, angle)
    blended, rotations = skin_motion_cpu(weights, transforms)
    expected = blend_transforms(weights, transforms)
    torch.testing.assert_close(blended, expected[..., :3, :], atol=1e-6, rtol=0)
    quaternions = matrix_to_quaternion(polar_rotation(expected[..., :3, :3].double())).float()
    difference = torch.minimum((rotations - quaternions).abs(), (rotations + quaternions).abs())
    assert difference.max() < 1e-5
    assert (rotations[..., 0] >= 0).all()


def test_half_turns_are_found() -> None:
    """Turned by almost 180 degrees about each axis, where a quaternion's real part tells nothing."""
    vectors = 3.1 * torch.cat([torch.eye(3), -torch.eye(3), torch.full((1, 3), 3**-0.5)])
    transforms = torch.eye(4).repeat(1, 7, 1, 1)
    transforms[0, :, :3, :3] = rotation_vector_to_matrix(vectors)
    _, rotations = skin_motion_cpu(torch.eye(7), transforms)
    expected = matrix_to_quaternion(transforms[0, :, :3, :3])
    torch.testing.assert_close(rotations[0], expected, atol=1e-5, rtol=0)


def test_strongly_shrunk_blend_still_gives_the_nearest_rotation() -> None:
    transforms = torch.eye(4).repeat(1, 2, 1, 1)
    transforms[0, 0, :3, :3] = rotation_vector_to_matrix(torch.tensor([2.8, 0.3, 0.0]))
    blended, rotations = skin_motion_cpu(torch.tensor([[0.5, 0.5]]), transforms)
    assert torch.linalg.det(blended[0, 0, :, :3]) < 0.1
    expected = matrix_to_quaternion(nearest_rotation(blended[0, 0, :, :3].double()))
    torch.testing.assert_close(rotations[0, 0].double(), expected, atol=1e-4, rtol=0)


def test_weights_changed_in_place_are_noticed() -> None:
    weights, transforms = random_motion(20, 6, 1.0)
    before, _ = skin_motion_cpu(weights, transforms)
    weights.copy_(weights.roll(1, 0))
    after, _ = skin_motion_cpu(weights, transforms)
    torch.testing.assert_close(after, before.roll(1, 1))


def test_joint_counts_must_agree() -> None:
    with pytest.raises(ShapeError, match="transforms_TJ44"):
        skin_motion_cpu(torch.ones(3, 2), torch.eye(4).repeat(1, 3, 1, 1))
