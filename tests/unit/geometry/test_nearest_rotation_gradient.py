"""The nearest rotation must have a gradient where its eigenvectors have none: planar points, identities."""

from __future__ import annotations

import torch

from lca_lightning.geometry.rotations import nearest_rotation, rotation_vector_to_matrix


def test_gradient_equals_finite_differences_also_with_repeated_eigenvalues() -> None:
    torch.manual_seed(0)
    turned = rotation_vector_to_matrix(torch.randn(3, 3, dtype=torch.float64))
    planar = turned[:1] @ torch.diag(torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64))
    matrices = torch.cat([turned, planar, torch.eye(3, dtype=torch.float64)[None]]).requires_grad_()
    assert torch.autograd.gradcheck(nearest_rotation, (matrices,), eps=1e-6, atol=1e-5)


def test_identity_of_the_rig_has_a_finite_gradient_through_joint_transforms() -> None:
    from lca_lightning.rig.loading import load_rig

    rig = load_rig()
    identity = rig.neutral_identity()[None].clone().requires_grad_()
    transforms = rig.joint_transforms(identity, rig.reference_pose(2))
    transforms.square().sum().backward()
    assert identity.grad is not None and torch.isfinite(identity.grad).all()
    assert identity.grad.abs().sum() > 0
