"""Forward kinematics by pointer jumping against a walk along each chain."""

from __future__ import annotations

import pytest
import torch

from lca_lightning.errors import ShapeError
from lca_lightning.geometry.kinematics import Skeleton, ancestor_steps
from lca_lightning.geometry.kinematics_cpu import pose_joints
from lca_lightning.geometry.rotations import rotation_vector_to_matrix

TREES = {
    "chain of 9": [-1, *range(8)],
    "star": [-1, 0, 0, 0],
    "branches": [-1, 0, 1, 1, 3, 2, 5, 0],
    "one": [-1],
}


def walk(skeleton: Skeleton, parents: list[int], rotations: torch.Tensor, root: torch.Tensor) -> torch.Tensor:
    """One subject, one frame, joint by joint."""
    turned, placed, transforms = [], [], []
    for joint, parent in enumerate(parents):
        local = rotation_vector_to_matrix(rotations[joint])
        if parent < 0:
            turned.append(local)
            placed.append(root)
        else:
            turned.append(turned[parent] @ local)
            placed.append(placed[parent] + turned[parent] @ skeleton.offsets_BJ3[0, joint])
        transform = torch.eye(4, dtype=rotations.dtype)
        transform[:3, :3] = turned[joint] @ skeleton.alignment_BJ33[0, joint]
        transform[:3, 3] = placed[joint] - transform[:3, :3] @ skeleton.joints_BJ3[0, joint]
        transforms.append(transform)
    return torch.stack(transforms)


@pytest.mark.parametrize("parents", TREES.values(), ids=TREES.keys())
def test_transforms_equal_a_walk_along_the_chain(parents: list[int]) -> None:
    torch.manual_seed(0)
    joints = len(parents)
    skeleton = Skeleton(
        torch.randn(1, joints, 3, dtype=torch.double), torch.randn(1, joints, 3, dtype=torch.double),
        rotation_vector_to_matrix(torch.randn(1, joints, 3, dtype=torch.double)), ancestor_steps(parents),
    )  # fmt: skip
    rotations = torch.randn(1, 3, joints, 3, dtype=torch.double)
    roots = torch.randn(1, 3, 3, dtype=torch.double)
    got = skeleton.transforms(rotations, roots)
    for frame in range(3):
        expected = walk(skeleton, parents, rotations[0, frame], roots[0, frame])
        torch.testing.assert_close(got[0, frame], expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("parents", TREES.values(), ids=TREES.keys())
def test_compiled_pass_equals_the_skeleton(parents: list[int]) -> None:
    """1e-5: float32 products along chains of up to nine bones, in another order."""
    torch.manual_seed(1)
    joints = len(parents)
    skeleton = Skeleton(
        torch.randn(1, joints, 3), torch.randn(1, joints, 3),
        rotation_vector_to_matrix(torch.randn(1, joints, 3)), ancestor_steps(parents),
    )  # fmt: skip
    rotations = torch.randn(1, 1, joints, 3)
    rotations[0, 0, 0] *= 1e-5  # below the square root of the smallest angle
    root, local, transforms = torch.randn(1, 1, 3), torch.empty(joints, 3, 3), torch.empty(joints, 3, 4)
    bones = (skeleton.joints_BJ3[0], skeleton.offsets_BJ3[0], skeleton.alignment_BJ33[0])
    tensors = (skeleton.parents_J(), rotations[0, 0], root[0, 0], *bones, local, transforms)
    pose_joints(*(tensor.numpy() for tensor in tensors))
    torch.testing.assert_close(local, rotation_vector_to_matrix(rotations[0, 0]), atol=1e-6, rtol=0)
    expected = skeleton.transforms(rotations, root)[0, 0, :, :3]
    torch.testing.assert_close(transforms, expected, atol=1e-5, rtol=0)


def test_gradients_reach_rotations_and_root() -> None:
    parents = TREES["branches"]
    skeleton = Skeleton(
        torch.randn(2, 8, 3, dtype=torch.double), torch.randn(2, 8, 3, dtype=torch.double),
        torch.eye(3, dtype=torch.double).expand(2, 8, 3, 3), ancestor_steps(parents),
    )  # fmt: skip
    inputs = [torch.randn(2, 1, 8, 3, dtype=torch.double), torch.randn(2, 1, 3, dtype=torch.double)]
    assert torch.autograd.gradcheck(skeleton.transforms, [part.requires_grad_() for part in inputs])


def test_other_number_of_joints_is_refused() -> None:
    skeleton = Skeleton(
        torch.zeros(1, 2, 3), torch.zeros(1, 2, 3), torch.eye(3).expand(1, 2, 3, 3), ancestor_steps([-1, 0])
    )
    with pytest.raises(ShapeError, match="rotations_BTJ3"):
        skeleton.transforms(torch.zeros(1, 1, 3, 3), torch.zeros(1, 1, 3))
