"""``lca animate`` and ``lca export``: files appear complete, wrong words and files give one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lca_lightning.avatar import Avatar, save_avatar
from lca_lightning.avatar.create import create_avatar
from lca_lightning.batch import References
from lca_lightning.cli.animate import parse_color, parse_frames, parse_size
from lca_lightning.cli.main import main
from lca_lightning.datasets.video import probe_video
from lca_lightning.errors import UsageError
from lca_lightning.export.ply import read_ply
from lca_lightning.model.avatar_model import AvatarModel
from lca_lightning.model.backbone import load_backbone
from lca_lightning.model.configuration import AvatarModelConfig
from lca_lightning.rig.anny import AnnyRig
from tests.unit.motion.bvh_files import lively_body


@pytest.fixture(scope="module")
def avatar(rig: AnnyRig) -> Avatar:
    config = AvatarModelConfig(
        backbone="random-tiny", width=32, layers=1, heads=2, anchors=64, gaussians_per_anchor=1,
        decoder_hidden=16, scale_limit_start=0.08, scale_limit_end=0.1,
    )  # fmt: skip
    photos = References(
        torch.rand(1, 1, 3, 32, 32), torch.rand(1, 1, 3, 32, 32), torch.ones(1, 1, dtype=torch.bool),
        torch.ones(1, 1, dtype=torch.bool),
    )  # fmt: skip
    return create_avatar(AvatarModel(config, rig, load_backbone("random-tiny")), photos)


@pytest.fixture
def folder(tmp_path: Path, avatar: Avatar) -> Path:
    save_avatar(avatar, tmp_path / "a.lca")
    lively_body(12).write(tmp_path / "walk.bvh")
    return tmp_path


def status_of(*words: object) -> int:
    try:
        main([str(word) for word in words])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_animate_writes_a_video(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["animate", folder / "a.lca", "--motion", folder / "walk.bvh", "--out", folder / "a.mp4"]
    assert status_of(*words, "--size", "64x48", "--frames", "2:10", "--fps", "25", "--camera", "follow") == 0
    info = probe_video(folder / "a.mp4")
    assert (info.width, info.height, info.frames, info.fps) == (48, 64, 4, 25)
    assert "4 frames at 25 per second" in capsys.readouterr().out


def test_nan_frames_are_counted_for_the_user(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = (folder / "walk.bvh").read_text().splitlines()
    lines[-3] = "nan" + lines[-3][lines[-3].index(" ") :]
    (folder / "walk.bvh").write_text("\n".join(lines))
    words = ["animate", folder / "a.lca", "--motion", folder / "walk.bvh", "--out", folder / "a.mp4"]
    assert status_of(*words, "--size", "32x32", "--fps", "10") == 0
    assert "1 frames of" in capsys.readouterr().out


def test_a_saved_motion_animates_too(folder: Path, rig: AnnyRig) -> None:
    rotations = np.zeros((3, len(rig.joint_names), 3), np.float32)
    np.savez(folder / "m.npz", rotations=rotations, translation=np.zeros((3, 3), np.float32), fps=12.0)
    words = ["animate", folder / "a.lca", "--motion", folder / "m.npz", "--out", folder / "a.mp4"]
    assert status_of(*words, "--size", "32x32", "--background", "#0000ff") == 0
    assert probe_video(folder / "a.mp4").frames == 3


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--size", "big"], 2, "--size must be HEIGHTxWIDTH"),
        (["--frames", "7"], 2, "--frames must be A:B"),
        (["--frames", "5:5"], 2, "selects no frame"),
        (["--frames", "90:99"], 2, "frames 0 to 11"),
        (["--background", "mauve"], 2, "--background must be"),
        (["--camera", "side"], 2, "invalid choice: 'side'"),
        (["--out", "a.avi"], 2, "must end in .mp4"),
        (["--fps", "-3"], 2, "frame rate must lie between"),
        (["--device", "cuda:7"], 1, "no CUDA device"),
        (["--device", "abacus"], 2, "must be cpu or cuda"),
        (["--motion", "none.bvh"], 1, "Cannot read the motion file"),
        (["--motion", "a.lca"], 1, "neither .bvh nor .npz"),
    ],
)
def test_wrong_words_give_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    words: list[str], status: int, message: str,
) -> None:  # fmt: skip
    if "cuda:7" in words and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    monkeypatch.chdir(folder)
    assert status_of("animate", "a.lca", "--motion", "walk.bvh", "--out", "a.mp4", *words) == status
    error = capsys.readouterr().err.strip()
    assert message in error and "\n" not in error
    assert not (folder / "a.mp4").exists()


def test_export_writes_the_canonical_cloud(
    folder: Path, avatar: Avatar, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of("export", folder / "a.lca", "--out", folder / "a.ply") == 0
    cloud = read_ply(folder / "a.ply")
    torch.testing.assert_close(cloud.means_G3, avatar.at_rest().gaussians.means_G3, atol=1e-6, rtol=0)
    assert "64 Gaussians" in capsys.readouterr().out


def test_export_of_a_frame_differs_from_the_canonical_pose(folder: Path) -> None:
    words = ["export", folder / "a.lca", "--motion", folder / "walk.bvh", "--out", folder / "b.ply"]
    assert status_of(*words, "--frame", 5) == 0
    assert status_of("export", folder / "a.lca", "--out", folder / "a.ply") == 0
    first, second = (read_ply(folder / name).means_G3 for name in ("a.ply", "b.ply"))
    assert float((first - second).norm(dim=1).max()) > 0.2


def test_export_refuses_wrong_words(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of("export", folder / "a.lca", "--out", folder / "a.obj") == 2
    assert "must end in .ply" in capsys.readouterr().err
    assert status_of("export", folder / "walk.bvh", "--out", folder / "a.ply") == 1
    assert "not an avatar file" in capsys.readouterr().err
    words = ["export", folder / "a.lca", "--motion", folder / "walk.bvh", "--out", folder / "a.ply"]
    assert status_of(*words, "--frame", "12") == 2
    assert "between 0 and 11" in capsys.readouterr().err


def test_parsers() -> None:
    assert parse_size("512X384") == (512, 384)
    assert (
        parse_frames("3:") == (3, None) and parse_frames(":7") == (0, 7) and parse_frames(None) == (0, None)
    )
    assert parse_color("#ff0080") == (1.0, 0.0, 128 / 255)
    with pytest.raises(UsageError):
        parse_size("8x8")
