"""Cameras that keep a moving person in the picture."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from lca_lightning.avatar.avatar import Camera
from lca_lightning.errors import ConfigError
from lca_lightning.geometry.cameras import intrinsics_from_field_of_view, look_at

CameraPath = Literal["front", "orbit", "follow"]
CAMERA_PATHS: tuple[CameraPath, ...] = ("front", "orbit", "follow")
# Vertical field of view, radians; room around the joints, metres; seconds over which following is smoothed.
_FIELD_OF_VIEW, _HEAD_ROOM, _SMOOTHING_SECONDS = math.radians(30), 0.22, 0.7
_TURN_SECONDS = 8.0
_ELEVATION = math.radians(6)


def plan_cameras(
    joints_TJ3: Tensor, path: CameraPath, width: int, height: int, fps: float, forward_3: Tensor | None = None
) -> list[Camera]:
    """Smooth cameras that show the whole body in every frame of a clip.

    Args:
        joints_TJ3: Posed joints, metres, ``(T, J, 3)``.
        path: ``front`` stands still, ``follow`` moves with the person, ``orbit`` circles around them.
        width: Picture width in pixels.
        height: Picture height in pixels.
        fps: Frames per second.
        forward_3: Horizontal direction the person mostly faces; +z when None.

    Returns:
        ``T`` cameras.

    Raises:
        ConfigError: The path is unknown or the size too small.
    """
    if path not in CAMERA_PATHS:
        raise ConfigError(f"The camera must be one of {', '.join(CAMERA_PATHS)}, got {path!r}.")
    if min(width, height) < 16:
        raise ConfigError(f"The picture must be at least 16 pixels wide and high, got {width}x{height}.")
    frames = len(joints_TJ3)
    low, high = joints_TJ3.amin(1) - _HEAD_ROOM, joints_TJ3.amax(1) + _HEAD_ROOM
    if path == "front" or frames == 1:
        target = (0.5 * (low.amin(0) + high.amax(0))).expand(frames, 3)
    else:
        target = _smooth(0.5 * (low + high), fps)
    ahead = torch.tensor([0.0, 0.0, 1.0]).to(joints_TJ3) if forward_3 is None else forward_3
    angle = torch.atan2(ahead[0], ahead[2]).expand(frames)
    if path == "orbit":
        angle = angle + torch.arange(frames).to(angle) * (2 * math.pi / (_TURN_SECONDS * fps))
    horizontal = math.cos(_ELEVATION)
    direction = torch.stack(
        [angle.sin() * horizontal, torch.full_like(angle, math.sin(_ELEVATION)), angle.cos() * horizontal], -1
    )
    K_33 = intrinsics_from_field_of_view(_FIELD_OF_VIEW, width, height).to(joints_TJ3)
    distance = _distance(joints_TJ3, target, direction, width / height)
    w2c_T44 = look_at(target + distance * direction, target)
    return [Camera(w2c_44, K_33, width, height) for w2c_44 in w2c_T44]


def circle_cameras(joints_J3: Tensor, count: int, width: int, height: int) -> list[Camera]:
    """Cameras on a full circle around one pose, the first in front (+z).

    Args:
        joints_J3: Posed joints, metres, ``(J, 3)``.
        count: Number of cameras.
        width: Picture width in pixels.
        height: Picture height in pixels.

    Returns:
        ``count`` cameras.
    """
    fps = count / _TURN_SECONDS
    return plan_cameras(joints_J3.expand(count, -1, -1), "orbit", width, height, fps)


def facing_direction(rotations_TJ3: Tensor) -> Tensor:
    """Mean horizontal direction the root faces over a clip, unit ``(3,)``; +z when it faces all ways.

    Args:
        rotations_TJ3: Rotation vectors of a motion, ``(T, J, 3)``.
    """
    from lca_lightning.geometry.rotations import rotation_vector_to_matrix

    ahead = rotation_vector_to_matrix(rotations_TJ3[:, 0])[..., 2].mean(0) * torch.tensor([1.0, 0.0, 1.0]).to(
        rotations_TJ3
    )
    length = ahead.norm()
    return ahead / length if float(length) > 0.3 else torch.tensor([0.0, 0.0, 1.0]).to(rotations_TJ3)


def _distance(joints_TJ3: Tensor, target_T3: Tensor, direction_T3: Tensor, aspect: float) -> Tensor:
    """One distance, metres, from which every joint with its head room is inside every picture."""
    offsets = joints_TJ3 - target_T3[:, None]
    along = (offsets * direction_T3[:, None]).sum(-1)
    upward = torch.tensor([0.0, 1.0, 0.0]).to(joints_TJ3).expand_as(direction_T3)
    right = torch.linalg.cross(upward, direction_T3)
    right = right / right.norm(dim=-1, keepdim=True)
    above = torch.linalg.cross(direction_T3, right)
    across = (offsets * right[:, None]).sum(-1).abs() + _HEAD_ROOM
    vertical = (offsets * above[:, None]).sum(-1).abs() + _HEAD_ROOM
    tangent = math.tan(0.5 * _FIELD_OF_VIEW)
    needed = torch.maximum(vertical / tangent, across / (tangent * aspect)) + along
    return needed.max()


def _smooth(path_T3: Tensor, fps: float) -> Tensor:
    """Gaussian smoothing of a path over time."""
    sigma = max(_SMOOTHING_SECONDS * fps, 1e-3)
    reach = max(1, min(int(3 * sigma), len(path_T3) * 2))
    offsets = torch.arange(-reach, reach + 1).to(path_T3)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    index = torch.arange(len(path_T3))[:, None] + torch.arange(-reach, reach + 1)
    padded = path_T3[index.clamp(0, len(path_T3) - 1).to(path_T3.device)]
    return (padded * kernel[None, :, None]).sum(1)
