"""The compiled frame against the plain operations it stands for."""

from __future__ import annotations

import pytest
import torch

from lca_lightning.avatar import Avatar
from lca_lightning.avatar.frame_kernel import frame_cpu
from lca_lightning.batch import Driving
from lca_lightning.geometry.kinematics import Skeleton, ancestor_steps
from lca_lightning.geometry.rotations import rotation_vector_to_matrix
from lca_lightning.model.attributes import CanonicalGaussians, PoseDeltas, ScaleLimits, apply_deltas
from lca_lightning.model.posing import pose_gaussians, skin_motion
from lca_lightning.motion.clip import Motion

LIMITS = ScaleLimits(1e-3, 0.05)


def scene(points: int) -> tuple[CanonicalGaussians, torch.Tensor, torch.Tensor, Skeleton, Driving]:
    """Attributes, decoded values with some far outside every limit, weights, bones and a pose."""
    torch.manual_seed(points)
    canonical = CanonicalGaussians(
        torch.randn(1, points, 3), torch.randn(1, points, 3), torch.randn(1, points, 3) - 4,
        torch.nn.functional.normalize(torch.randn(1, points, 4), dim=-1), torch.rand(1, points),
        3 * torch.randn(1, points, 3),
    )  # fmt: skip
    values = torch.randn(points, 13)
    values[::7] *= 30
    weights = torch.rand(points, 5) ** 4
    weights[:, 3] = 0
    weights /= weights.sum(1, keepdim=True)
    skeleton = Skeleton(
        torch.randn(1, 5, 3), torch.randn(1, 5, 3), rotation_vector_to_matrix(torch.randn(1, 5, 3)),
        ancestor_steps([-1, 0, 1, 1, 0]),
    )  # fmt: skip
    driving = Driving(
        0.5 * torch.randn(1, 1, 5, 3), torch.randn(1, 1, 3), torch.zeros(1, 1, 2), torch.zeros(1, 1, 8)
    )
    return canonical, values, weights, skeleton, driving


@pytest.mark.parametrize("points", [1, 65, 5000])
@pytest.mark.parametrize("corrected", [True, False])
def test_equals_corrections_skinning_and_activations(points: int, corrected: bool) -> None:
    """Relative 1e-5 and metres 1e-5: float32 in another order, and a polynomial exponential good to 1e-7."""
    canonical, values, weights, skeleton, driving = scene(points)
    transforms = skeleton.transforms(driving.rotations_BTJ3, driving.translation_BT3)[0, 0]
    got = frame_cpu(canonical, values if corrected else None, 0.05, LIMITS, weights, transforms)
    color, offset, quaternion, scale = values[None, None].split((3, 3, 4, 3), dim=-1)
    attributes = canonical
    if corrected:
        attributes = apply_deltas(canonical, PoseDeltas(color, offset * 0.05, quaternion, scale), LIMITS)
    else:
        attributes = apply_deltas(
            canonical,
            PoseDeltas(*(torch.zeros_like(part) for part in (color, offset, quaternion, scale))),
            LIMITS,
        )
    expected = pose_gaussians(attributes, skin_motion(skeleton, weights, driving))[0][0]
    torch.testing.assert_close(got.means_G3, expected.means_G3, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got.scales_G3, expected.scales_G3, atol=0, rtol=1e-5)
    torch.testing.assert_close(got.colors_GC, expected.colors_GC, atol=1e-6, rtol=0)
    assert torch.equal(got.opacities_G, expected.opacities_G)
    torch.testing.assert_close(got.quaternions_G4, expected.quaternions_G4, atol=1e-5, rtol=0)


@pytest.mark.parametrize("correctives", [True, False])
def test_an_avatars_frame_is_the_models(avatar: Avatar, motion: Motion, correctives: bool) -> None:
    driving = motion[0].driving(avatar.rig.expression_size)
    signals = torch.cat(
        [avatar.rig.driving_vector(driving.rotations_BTJ3), driving.expression_BTE, driving.gaze_BT8], dim=-1
    )
    attributes = avatar.canonical
    if correctives:
        attributes = avatar.pose_decoder.animate(attributes, avatar.projected_1AD, signals, avatar.limits)
    plain = skin_motion(avatar.skeleton, avatar.surface.weights_GJ, driving)
    expected = pose_gaussians(attributes, plain)[0][0]
    got = avatar.animate(driving, correctives).gaussians
    for name in ("means_G3", "scales_G3", "opacities_G", "colors_GC", "quaternions_G4"):
        torch.testing.assert_close(getattr(got, name), getattr(expected, name), atol=1e-5, rtol=1e-5)
