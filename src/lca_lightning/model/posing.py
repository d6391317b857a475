"""From canonical attributes to Gaussians in the world: skinning of centres and covariances (LCA eq. 13)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lca_lightning.batch import Driving
from lca_lightning.geometry.kinematics import Skeleton
from lca_lightning.geometry.rotations import matrix_to_quaternion, polar_rotation, quaternion_multiply
from lca_lightning.geometry.skinning import apply_blended, blend_transforms
from lca_lightning.geometry.skinning_cpu import skin_motion_cpu
from lca_lightning.model.attributes import CanonicalGaussians
from lca_lightning.rendering.renderer import Gaussians


class SkinMotion(NamedTuple):
    """How the skin under each Gaussian moves in each frame.

    Args:
        blended_BTG34: Upper rows of the blended rest-to-posed transforms.
        rotations_BTG4: Quaternions ``wxyz`` of their polar factors.
    """

    blended_BTG34: Tensor
    rotations_BTG4: Tensor


def skin_motion(skeleton: Skeleton, weights_GJ: Tensor, driving: Driving) -> SkinMotion:
    """Blend joint transforms for every Gaussian and frame.

    Args:
        skeleton: Bones of ``B`` subjects.
        weights_GJ: Skinning weights of the Gaussians.
        driving: Poses ``(B, T)``.

    Returns:
        Transforms and rotations, float32.
    """
    transforms_BTJ44 = skeleton.transforms(driving.rotations_BTJ3, driving.translation_BT3)
    shape, flat = transforms_BTJ44.shape[:2], transforms_BTJ44.flatten(0, 1)
    needs_gradient = torch.is_grad_enabled() and (flat.requires_grad or weights_GJ.requires_grad)
    if flat.device.type == "cpu" and not needs_gradient:
        blended, rotations = skin_motion_cpu(weights_GJ, flat)
    else:
        blended = blend_transforms(weights_GJ, flat)[..., :3, :]
        rotations = matrix_to_quaternion(polar_rotation(blended[..., :3]))
    return SkinMotion(blended.unflatten(0, shape), rotations.unflatten(0, shape))


def pose_gaussians(attributes: CanonicalGaussians, motion: SkinMotion) -> list[list[Gaussians]]:
    """Move attributes to the poses of a skin motion.

    Args:
        attributes: ``(B, G, ...)`` for static ones, ``(B, T, G, ...)`` for corrected ones.
        motion: Transforms of ``B`` subjects and ``T`` frames.

    Returns:
        One world-space cloud per subject and frame, ``[b][t]``.
    """
    points = attributes.base_BG3 + attributes.offsets_BG3
    quaternions = attributes.quaternions_BG4
    scales, opacities, colors = attributes.scales_BG3, attributes.opacities_BG, attributes.colors_BG3
    if points.dim() == 3:  # static attributes serve every frame
        points, quaternions, scales, opacities, colors = (
            part[:, None] for part in (points, quaternions, scales, opacities, colors)
        )
    means = apply_blended(motion.blended_BTG34, points.expand(*motion.blended_BTG34.shape[:3], 3))
    turned = quaternion_multiply(motion.rotations_BTG4, quaternions)
    frames = means.shape[1]
    static = scales.shape[1] == 1
    return [
        [
            Gaussians(
                means[b, t],
                turned[b, t],
                *(part[b, 0 if static else t] for part in (scales, opacities, colors)),
            )
            for t in range(frames)
        ]
        for b in range(means.shape[0])
    ]
