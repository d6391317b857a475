"""Linear blend skinning of points and of orientations (LCA eq. 13)."""

from __future__ import annotations

from torch import Tensor

from lca_lightning.errors import check_shape
from lca_lightning.geometry.rotations import polar_rotation


def blend_transforms(weights_GJ: Tensor, transforms_BJ44: Tensor) -> Tensor:
    """Weighted sums of joint transforms, one per point.

    Args:
        weights_GJ: Skinning weights, rows sum to 1, ``(G, J)``.
        transforms_BJ44: Rest-to-posed joint transforms, metres, ``(B, J, 4, 4)``.

    Returns:
        Blended affine maps, ``(B, G, 4, 4)``; their linear part is no rotation in general.

    Raises:
        ShapeError: The joint counts disagree.
    """
    joints = weights_GJ.shape[-1]
    check_shape("transforms_BJ44", transforms_BJ44, ("B", joints, 4, 4))
    blended = weights_GJ @ transforms_BJ44.flatten(2)
    return blended.unflatten(-1, (4, 4))


def skin_points(points_BG3: Tensor, weights_GJ: Tensor, transforms_BJ44: Tensor) -> Tensor:
    """Move canonical points to a pose by linear blend skinning (LCA eq. 13).

    Args:
        points_BG3: Canonical positions in metres, rig frame, ``(B, G, 3)``.
        weights_GJ: Skinning weights, rows sum to 1, ``(G, J)``.
        transforms_BJ44: Rest-to-posed joint transforms, metres, ``(B, J, 4, 4)``.

    Returns:
        Posed positions in metres, ``(B, G, 3)``, same dtype and device.

    Raises:
        ShapeError: Two arguments disagree; names the argument, the expected shape and the one it got.
    """
    check_shape("points_BG3", points_BG3, (transforms_BJ44.shape[0], weights_GJ.shape[0], 3))
    return apply_blended(blend_transforms(weights_GJ, transforms_BJ44), points_BG3)


def apply_blended(blended_BG34: Tensor, points_BG3: Tensor) -> Tensor:
    """Apply one affine map, ``(B, G, 3 or 4, 4)``, to each point ``(B, G, 3)``."""
    x, y, z = points_BG3[..., 0, None], points_BG3[..., 1, None], points_BG3[..., 2, None]
    linear = blended_BG34[..., :3, :]
    return linear[..., 0] * x + linear[..., 1] * y + linear[..., 2] * z + linear[..., 3]


def skin_rotations(weights_GJ: Tensor, transforms_BJ44: Tensor) -> Tensor:
    """Rotations that turn covariances with the skin: polar factors of the blended transforms.

    Args:
        weights_GJ: Skinning weights, rows sum to 1, ``(G, J)``.
        transforms_BJ44: Rest-to-posed joint transforms, ``(B, J, 4, 4)``.

    Returns:
        Rotation matrices, ``(B, G, 3, 3)``.
    """
    return polar_rotation(blend_transforms(weights_GJ, transforms_BJ44)[..., :3, :3])
