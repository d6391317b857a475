"""Cameras that keep the body in the picture, videos and contact sheets that can be read back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lca_lightning.avatar import Avatar, View, animate_video, contact_sheet, turntable, turntable_images
from lca_lightning.avatar.animate import posed_joints
from lca_lightning.avatar.cameras import CAMERA_PATHS, CameraPath, facing_direction, plan_cameras
from lca_lightning.datasets.video import probe_video, read_frames
from lca_lightning.errors import ConfigError, DataError
from lca_lightning.geometry.cameras import camera_center, project_points
from lca_lightning.motion.clip import Motion


@pytest.mark.parametrize("path", CAMERA_PATHS)
@pytest.mark.parametrize("size", [(384, 512), (640, 360)])
def test_the_whole_body_stays_in_the_picture(path: CameraPath, size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    body = torch.rand(20, 3, generator=generator) * torch.tensor([1.2, 1.8, 0.6])
    walk = torch.linspace(0, 2, 40)[:, None] * torch.tensor([1.0, 0.0, 0.6])
    joints = body + walk[:, None] + 0.1 * torch.randn(40, 20, 3, generator=generator)
    planned = plan_cameras(joints, path, *size, fps=20.0)
    assert len(planned) == 40
    for frame, camera in enumerate(planned):
        pixels, depth = project_points(joints[frame], camera.w2c_44, camera.K_33)
        assert bool((depth > 0.3).all())
        assert bool((pixels > 0).all()) and bool((pixels < torch.tensor(size)).all())
    centers = torch.stack([camera_center(camera.w2c_44) for camera in planned])
    speed = (centers[1:] - centers[:-1]).norm(dim=1)
    assert float(speed.max()) < {"front": 1e-5, "follow": 0.15, "orbit": 0.6}[path], "the camera is smooth"


def test_the_front_camera_stands_where_the_person_faces() -> None:
    rotations = torch.zeros(3, 4, 3)
    rotations[:, 0, 1] = torch.pi / 2  # faces +x
    facing = facing_direction(rotations)
    torch.testing.assert_close(facing, torch.tensor([1.0, 0.0, 0.0]), atol=1e-5, rtol=0)
    camera = plan_cameras(torch.rand(3, 5, 3), "front", 64, 64, 10.0, facing)[0]
    assert camera_center(camera.w2c_44)[0] > 1.5


def test_unknown_camera_and_tiny_picture() -> None:
    with pytest.raises(ConfigError, match="front, orbit, follow"):
        plan_cameras(torch.rand(3, 5, 3), "side", 64, 64, 10.0)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at least 16 pixels"):
        plan_cameras(torch.rand(3, 5, 3), "front", 4, 64, 10.0)


def test_a_video_shows_every_frame(tmp_path: Path, avatar: Avatar, motion: Motion) -> None:
    view = View(48, 64, "front", (0.0, 0.0, 1.0))
    planned = animate_video(avatar, motion, tmp_path / "a.mp4", view, quiet=True)
    info = probe_video(tmp_path / "a.mp4")
    assert (info.width, info.height, info.frames, round(info.fps)) == (48, 64, 4, 10)
    expected = avatar.animate(motion[3]).render(planned[3], background=view.background).color_TCHW[0]
    shown = torch.from_numpy(read_frames(tmp_path / "a.mp4", [3])[3]).permute(2, 0, 1) / 255
    assert float((shown - expected).abs().mean()) < 0.05
    assert float(shown[2, :4].mean()) > 0.8 and float(shown[0, :4].mean()) < 0.2, "the background is blue"


def test_a_motion_to_infinity_leaves_no_file(tmp_path: Path, avatar: Avatar, motion: Motion) -> None:
    broken = replace(motion, translation_T3=np.full_like(motion.translation_T3, np.inf))
    with pytest.raises(DataError, match="at infinity"):
        animate_video(avatar, broken, tmp_path / "a.mp4", View(48, 64), quiet=True)
    assert not list(tmp_path.iterdir())


def test_turntable_and_its_pictures(tmp_path: Path, avatar: Avatar, motion: Motion) -> None:
    turntable(avatar, tmp_path / "turn.mp4", View(48, 64), seconds=0.5, fps=12, quiet=True)
    assert probe_video(tmp_path / "turn.mp4").frames == 6
    images = turntable_images(avatar, 2, View(48, 64), pose=motion[0])
    assert images[0].shape == (3, 64, 48) and float((images[0] - images[1]).abs().max()) > 0.05
    joints = posed_joints(avatar, motion)
    assert joints.shape == (4, 104, 3)


def test_a_contact_sheet_holds_every_picture(tmp_path: Path) -> None:
    red = torch.zeros(3, 40, 20)
    red[0] = 1
    blue = np.zeros((10, 30, 3), np.uint8)
    blue[..., 2] = 255
    path = contact_sheet(
        [red, blue, red], tmp_path / "deep" / "sheet.png", 2, ["a", "b", "c"], cell_height=50
    )
    sheet = np.asarray(Image.open(path)).astype(int)
    assert sheet.shape[0] == 2 * (50 + 22 + 8) + 8
    is_red = (sheet[..., 0] > 250) & (sheet[..., 1] < 5)
    is_blue = (sheet[..., 2] > 250) & (sheet[..., 1] < 5)
    assert is_red.sum() == 2 * 50 * 25 and is_blue.sum() == 50 * 150
    with pytest.raises(DataError, match="needs pictures"):
        contact_sheet([], tmp_path / "none.png")
    with pytest.raises(DataError, match="one label each"):
        contact_sheet([red], tmp_path / "none.png", labels=["a", "b"])
