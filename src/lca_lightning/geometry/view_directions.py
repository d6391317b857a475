"""From where a camera looks at a body, in the body's own axes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lca_lightning.errors import check_shape
from lca_lightning.geometry.cameras import camera_center
from lca_lightning.geometry.rotations import rotation_vector_to_matrix


def view_directions(w2c_n44: Tensor, root_rotations_n3: Tensor, root_positions_n3: Tensor) -> Tensor:
    """Directions from the root joint towards cameras, in the root's axes.

    Args:
        w2c_n44: World to camera, metres, ``(..., 4, 4)``.
        root_rotations_n3: World orientation of the root as rotation vectors, radians, ``(..., 3)``.
        root_positions_n3: World position of the root, metres, ``(..., 3)``.

    Returns:
        Unit vectors ``(..., 3)``: +z in front of the person, +x to the person's left, +y above; NaN where
        the pose is unknown (NaN).

    Raises:
        ShapeError: The leading sizes differ.
    """
    check_shape("root_rotations_n3", root_rotations_n3, (*w2c_n44.shape[:-2], 3))
    check_shape("root_positions_n3", root_positions_n3, (*w2c_n44.shape[:-2], 3))
    towards = camera_center(w2c_n44) - root_positions_n3
    root = rotation_vector_to_matrix(root_rotations_n3)
    return functional.normalize((root.transpose(-1, -2) @ towards[..., None]).squeeze(-1), dim=-1)


def yaw_between(directions_n3: Tensor, others_m3: Tensor) -> Tensor:
    """Angles about the vertical axis between each direction and each other one, ``(..., n, m)``.

    Args:
        directions_n3: Body axes, ``(..., n, 3)``; +y is the axis.
        others_m3: Body axes, ``(..., m, 3)``.

    Returns:
        Radians in [0, pi]; NaN where a direction is.
    """
    yaw_n, yaw_m = (torch.atan2(part[..., 0], part[..., 2]) for part in (directions_n3, others_m3))
    turn = (yaw_n[..., :, None] - yaw_m[..., None, :] + torch.pi).remainder(2 * torch.pi) - torch.pi
    return turn.abs()
