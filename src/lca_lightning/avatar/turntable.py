"""A full turn around an avatar."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from lca_lightning.avatar.animate import View, posed_joints, write_video
from lca_lightning.avatar.avatar import Avatar, PosedAvatar
from lca_lightning.avatar.cameras import circle_cameras
from lca_lightning.motion.clip import Motion


def turntable(
    avatar: Avatar,
    path: str | Path,
    view: View | None = None,
    seconds: float = 4.0,
    fps: float = 24.0,
    pose: Motion | None = None,
    quiet: bool = False,
) -> Path:
    """Write an MP4 that circles once around an avatar.

    Args:
        avatar: Whom to show.
        path: The ``.mp4``, written atomically.
        view: Size and background; the camera always orbits.
        seconds: Length of the turn.
        fps: Frames per second.
        pose: One frame of motion; the canonical pose without correctives when None.
        quiet: Show no progress bar.

    Returns:
        The path.
    """
    view = view or View()
    posed, joints = (avatar.at_rest(), avatar.joints_J3) if pose is None else _posed(avatar, pose)
    cameras = circle_cameras(joints, max(2, round(seconds * fps)), view.width, view.height)
    frames = (posed.render(camera, background=view.background).color_TCHW for camera in cameras)
    write_video(frames, path, fps, len(cameras), quiet)
    return Path(path)


def turntable_images(
    avatar: Avatar, count: int, view: View | None = None, pose: Motion | None = None
) -> list[Tensor]:
    """Pictures ``(3, H, W)`` of an avatar from ``count`` sides, the first from the front."""
    view = view or View()
    posed, joints = (avatar.at_rest(), avatar.joints_J3) if pose is None else _posed(avatar, pose)
    cameras = circle_cameras(joints, count, view.width, view.height)
    with torch.no_grad():
        return [posed.render(camera, background=view.background).color_TCHW[0] for camera in cameras]


def _posed(avatar: Avatar, pose: Motion) -> tuple[PosedAvatar, Tensor]:
    return avatar.animate(pose), posed_joints(avatar, pose)[0]
