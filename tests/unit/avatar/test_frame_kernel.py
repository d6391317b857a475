"""The compiled frame against the plain operations it stands for."""

from __future__ import annotations

import pytest
import torch

from lca_lightning.avatar import Avatar
from lca_lightning.avatar.frame_kernel import CpuFrames
from lca_lightning.batch import Driving
from lca_lightning.geometry.kinematics import Skeleton, ancestor_steps
from lca_lightning.geometry.rotations import matrix_to_6d, rotation_vector_to_matrix
from lca_lightning.model.attributes import CanonicalGaussians, PoseDeltas, ScaleLimits, apply_deltas
from lca_lightning.model.configuration import AvatarModelConfig
from lca_lightning.model.decoders import PoseDecoder
from lca_lightning.model.posing import pose_gaussians, skin_motion
from lca_lightning.motion.clip import Motion

LIMITS = ScaleLimits(1e-3, 0.05)
DRIVING = (1, 3, 4)


def scene(points: int) -> tuple[CanonicalGaussians, torch.Tensor, Skeleton, Driving]:
    """Attributes, some outside every limit, weights, bones and a pose."""
    torch.manual_seed(points)
    canonical = CanonicalGaussians(
        torch.randn(1, points, 3), torch.randn(1, points, 3), torch.randn(1, points, 3) - 4,
        torch.nn.functional.normalize(torch.randn(1, points, 4), dim=-1), torch.rand(1, points),
        30 * torch.randn(1, points, 3),
    )  # fmt: skip
    weights = torch.rand(points, 5) ** 4
    weights[:, 3] = 0
    weights /= weights.sum(1, keepdim=True)
    skeleton = Skeleton(
        torch.randn(1, 5, 3), torch.randn(1, 5, 3), rotation_vector_to_matrix(torch.randn(1, 5, 3)),
        ancestor_steps([-1, 0, 1, 1, 0]),
    )  # fmt: skip
    driving = Driving(
        0.5 * torch.randn(1, 1, 5, 3), torch.randn(1, 1, 3), torch.rand(1, 1, 2), torch.rand(1, 1, 8)
    )
    return canonical, weights, skeleton, driving


@pytest.mark.parametrize("hidden", [16, 10])
@pytest.mark.parametrize(("anchors", "per_anchor"), [(1, 1), (19, 5), (600, 8)])
@pytest.mark.parametrize("corrected", [True, False])
def test_equals_decoder_corrections_skinning_and_activations(
    anchors: int, per_anchor: int, hidden: int, corrected: bool
) -> None:
    """Relative 1e-5 and metres 1e-5: float32 in another order, and a polynomial exponential good to 1e-7."""
    canonical, weights, skeleton, driving = scene(anchors * per_anchor)
    config = AvatarModelConfig(
        width=8, heads=1, anchors=2, gaussians_per_anchor=per_anchor, decoder_hidden=hidden, decoder_layers=3
    )
    signal_width = 6 * len(DRIVING) + 2 + 8
    decoder = PoseDecoder(config, signal_width)
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    projected = torch.randn(1, anchors, hidden)
    frames = CpuFrames(canonical, projected, decoder, LIMITS, weights, skeleton, DRIVING)
    matrices = rotation_vector_to_matrix(driving.rotations_BTJ3[0, 0, list(DRIVING)])
    codes = matrix_to_6d(matrices - torch.eye(3)).flatten()
    signals = torch.cat([codes, driving.expression_BTE[0, 0], driving.gaze_BT8[0, 0]])[None, None]
    with torch.no_grad():
        got = frames(driving, corrected)
        deltas = decoder(projected, signals)
        if not corrected:
            deltas = PoseDeltas(*(torch.zeros_like(part) for part in deltas))
        attributes = apply_deltas(canonical, deltas, LIMITS)
        expected = pose_gaussians(attributes, skin_motion(skeleton, weights, driving))[0][0]
    torch.testing.assert_close(got.means_G3, expected.means_G3, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got.scales_G3, expected.scales_G3, atol=0, rtol=1e-5)
    torch.testing.assert_close(got.colors_GC, expected.colors_GC, atol=1e-5, rtol=0)
    assert torch.equal(got.opacities_G, expected.opacities_G)
    torch.testing.assert_close(got.quaternions_G4, expected.quaternions_G4, atol=2e-5, rtol=0)


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
