"""Videos of an avatar: a motion seen by a smooth camera."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from lca_lightning.avatar.avatar import WHITE, Avatar, Camera
from lca_lightning.avatar.cameras import CameraPath, facing_direction, plan_cameras
from lca_lightning.datasets.pictures import to_uint8
from lca_lightning.datasets.video import VideoWriter
from lca_lightning.errors import DataError
from lca_lightning.motion.clip import Motion
from lca_lightning.rig.rig import RigPose


@dataclass(frozen=True)
class View:
    """How a video shows an avatar.

    Args:
        width: Picture width in pixels.
        height: Picture height in pixels.
        camera: ``front``, ``orbit`` or ``follow``.
        background: sRGB behind the avatar, in [0, 1].
    """

    width: int = 384
    height: int = 512
    camera: CameraPath = "front"
    background: tuple[float, float, float] = WHITE


def posed_joints(avatar: Avatar, motion: Motion) -> Tensor:
    """World positions of the avatar's joints in each frame, metres, ``(T, J, 3)``."""
    rotations = torch.from_numpy(motion.rotations_TJ3).to(avatar.device)
    translation = torch.from_numpy(motion.translation_T3).to(avatar.device)
    with torch.no_grad():
        return avatar.rig.posed_joints(avatar.identity_I[None], RigPose(rotations, translation))


def animate_video(
    avatar: Avatar,
    motion: Motion,
    path: str | Path,
    view: View,
    quiet: bool = False,
    correctives: bool = True,
) -> list[Camera]:
    """Render a motion to an H.264 video.

    Args:
        avatar: Who moves.
        motion: How, at the video's frame rate.
        path: An ``.mp4``, written atomically.
        view: Size, camera and background.
        quiet: Show no progress bar.
        correctives: Whether pose and expression correct the Gaussians; else skinning alone.

    Returns:
        The cameras used, one per frame.

    Raises:
        DataError: The motion leaves the numbers a camera can show, or the file cannot be written.
    """
    joints = posed_joints(avatar, motion)
    if not bool(torch.isfinite(joints).all()):
        raise DataError("The motion puts joints at infinity; export it again.")
    facing = facing_direction(torch.from_numpy(motion.rotations_TJ3)).to(joints)
    cameras = plan_cameras(joints, view.camera, view.width, view.height, motion.fps, facing)
    frames = (
        avatar.animate(motion[index], correctives).render(camera, background=view.background).color_TCHW
        for index, camera in enumerate(cameras)
    )
    write_video(frames, path, motion.fps, len(cameras), quiet)
    return cameras


def write_video(
    frames: Iterable[Tensor], path: str | Path, fps: float, count: int, quiet: bool = False
) -> None:
    """Encode frames as they come.

    Args:
        frames: An iterable of ``count`` float sRGB pictures ``(1, 3, H, W)``.
        path: An ``.mp4``, written atomically.
        fps: Frames per second.
        count: Number of frames, for the progress bar.
        quiet: Show no progress bar.
    """
    writer: VideoWriter | None = None
    try:
        for frame in tqdm(frames, total=count, unit="frame", desc=Path(path).name, disable=quiet):
            picture = to_uint8(frame)
            if writer is None:
                writer = VideoWriter(path, fps, picture.shape[1], picture.shape[0])
            writer.add(picture)
    except BaseException:
        if writer is not None:
            writer.abort()
        raise
    if writer is None:
        raise DataError(f"{path} was not written because there are no frames.")
    writer.close()
