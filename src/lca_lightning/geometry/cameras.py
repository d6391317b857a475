"""Pinhole cameras: OpenCV axes (x right, y down, z forward), world to camera, pixel centres at +0.5."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def project_points(points_P3: Tensor, w2c_44: Tensor, K_33: Tensor) -> tuple[Tensor, Tensor]:
    """Project world points into pictures.

    Args:
        points_P3: World points in metres, ``(..., P, 3)``.
        w2c_44: World to camera, ``(..., 4, 4)``.
        K_33: Intrinsics in pixels, ``(..., 3, 3)``.

    Returns:
        Pixels ``(..., P, 2)`` and depths in metres ``(..., P)``; a point with depth at or below zero lies
        behind the camera and its pixel is meaningless but finite.
    """
    camera = points_P3 @ w2c_44[..., :3, :3].transpose(-1, -2) + w2c_44[..., None, :3, 3]
    depth = camera[..., 2]
    safe_depth = torch.where(depth.abs() < 1e-6, torch.full_like(depth, 1e-6), depth)
    pixels = (camera / safe_depth[..., None]) @ K_33.transpose(-1, -2)
    return pixels[..., :2], depth


def camera_center(w2c_44: Tensor) -> Tensor:
    """World position ``(..., 3)`` in metres of cameras ``(..., 4, 4)``."""
    return -(w2c_44[..., :3, :3].transpose(-1, -2) @ w2c_44[..., :3, 3:]).squeeze(-1)


def crop_intrinsics(K_33: Tensor, left: float | Tensor, top: float | Tensor) -> Tensor:
    """Intrinsics after cutting ``left`` and ``top`` pixels away; negative values mean padding."""
    cropped = K_33.clone()
    cropped[..., 0, 2] -= left
    cropped[..., 1, 2] -= top
    return cropped


def scale_intrinsics(K_33: Tensor, scale_x: float | Tensor, scale_y: float | Tensor) -> Tensor:
    """Intrinsics after resizing by the factors; exact because pixel centres lie at +0.5."""
    scaled = K_33.clone()
    scaled[..., 0, :] *= scale_x
    scaled[..., 1, :] *= scale_y
    return scaled


def intrinsics_from_field_of_view(vertical_radians: float, width: int, height: int) -> Tensor:
    """Square-pixel intrinsics ``(3, 3)`` with the principal point in the middle of the picture."""
    focal = 0.5 * height / math.tan(0.5 * vertical_radians)
    return torch.tensor([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])


def look_at(eye_3: Tensor, target_3: Tensor, up: Sequence[float] = (0.0, 1.0, 0.0)) -> Tensor:
    """Cameras at ``eye_3`` that look at ``target_3``.

    Args:
        eye_3: Positions in metres, ``(..., 3)``.
        target_3: Points in the middle of the picture, ``(..., 3)``.
        up: World direction that appears upwards; must not be parallel to the view direction.

    Returns:
        World to camera, ``(..., 4, 4)``.
    """
    eye_3, target_3 = torch.broadcast_tensors(eye_3, target_3)
    forward = functional.normalize(target_3 - eye_3, dim=-1)
    upward = torch.tensor(up, dtype=eye_3.dtype, device=eye_3.device).expand_as(forward)
    right = functional.normalize(torch.linalg.cross(forward, upward), dim=-1)
    down = torch.linalg.cross(forward, right)
    rotation = torch.stack([right, down, forward], -2)
    w2c = torch.eye(4, dtype=eye_3.dtype, device=eye_3.device).expand(*eye_3.shape[:-1], 4, 4).clone()
    w2c[..., :3, :3] = rotation
    w2c[..., :3, 3] = -(rotation @ eye_3[..., None]).squeeze(-1)
    return w2c


def orbit_cameras(count: int, target_3: Tensor, distance: float, elevation: float = 0.0) -> Tensor:
    """Cameras on a circle around a point, the first in front (+z), then counter-clockwise seen from above.

    Args:
        count: Number of cameras ``C``, evenly spaced over the full turn.
        target_3: Centre in metres, ``(3,)``.
        distance: From the centre, metres.
        elevation: Angle above the horizon, radians, below a right angle.

    Returns:
        World to camera, ``(C, 4, 4)``.
    """
    azimuth = torch.arange(count, dtype=target_3.dtype, device=target_3.device) * (2 * math.pi / count)
    horizontal = math.cos(elevation) * distance
    height = torch.full_like(azimuth, math.sin(elevation) * distance)
    offsets = torch.stack([azimuth.sin() * horizontal, height, azimuth.cos() * horizontal], -1)
    return look_at(target_3 + offsets, target_3)
