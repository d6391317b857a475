"""``lca create``: an avatar and its contact sheet from photos, and one sentence for what cannot work."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import lca_lightning
from lca_lightning.avatar import load_avatar
from lca_lightning.avatar.avatar import Camera
from lca_lightning.avatar.create import PreparedPhotos, ReferencePhoto
from lca_lightning.avatar.photo_files import list_photos
from lca_lightning.cli.main import main
from lca_lightning.datasets.video import probe_video, read_frames
from lca_lightning.errors import CheckpointError, ConfigError, DataError
from lca_lightning.geometry.cameras import look_at
from lca_lightning.model.avatar_model import AvatarModel
from lca_lightning.model.backbone import load_backbone
from lca_lightning.model.configuration import AvatarModelConfig
from lca_lightning.motion.clip import Motion
from lca_lightning.pretrained_models import files, packaging
from lca_lightning.rig.anny import AnnyRig
from lca_lightning.training.checkpoints import make_block

CONFIG = AvatarModelConfig(
    backbone="random-tiny", width=32, layers=1, heads=2, anchors=64, gaussians_per_anchor=1,
    decoder_hidden=16, adaln_gate_init=0.5, scale_limit_start=0.08, scale_limit_end=0.1,
)  # fmt: skip
RECIPE = "data:\n  init_args:\n    image_size: [64, 48]\n    face_size: [32, 32]\n    background: 0.5\n"


@pytest.fixture(scope="module")
def checkpoint(rig: AnnyRig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = AvatarModel(CONFIG, rig, load_backbone("random-tiny"))
    torch.nn.init.normal_(model.canonical_decoder.layers[-1].weight, std=0.05)
    block = make_block(rig="anny", anchors=64, backbone="random-tiny", model=CONFIG, config=RECIPE)
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    path = tmp_path_factory.mktemp("run") / "last.ckpt"
    torch.save({"state_dict": state, "lca": block}, path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Photos of different sizes and kinds."""
    generator = np.random.default_rng(0)
    paths = []
    for name, size in (("a.png", (120, 90)), ("b.jpg", (200, 300)), ("c.webp", (97, 131))):
        Image.fromarray(generator.integers(0, 255, (*size, 3), np.uint8)).save(tmp_path / name)
        paths.append(tmp_path / name)
    return paths


def prepare_by_middle(images: Sequence[Path | np.ndarray], rig: AnnyRig) -> PreparedPhotos:
    """Stands in for the search of people: the person fills the middle of each picture."""
    prepared = []
    for photo in images:
        image = photo if isinstance(photo, np.ndarray) else np.array(Image.open(photo))
        mask = np.zeros(image.shape[:2], np.uint8)
        height, width = mask.shape
        mask[height // 8 : -height // 8, width // 4 : -width // 4] = 255
        prepared.append(ReferencePhoto(image, mask, np.array([width / 3, 10, width / 2, 40])))
    values = rig.neutral_identity()
    values[0] = 0.9
    pose = rig.rest_pose(len(images))
    motion = Motion(pose.rotations_BJ3.numpy(), pose.translation_B3.numpy(), 1.0) if images else None
    camera = Camera(look_at(torch.tensor([0.0, 0.1, 3.0]), torch.zeros(3)), torch.eye(3) * 100, 90, 120)
    return PreparedPhotos(tuple(prepared), values, ("foot.L",), motion, (camera,) * len(images))


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lca_lightning, "_prepare_photos", prepare_by_middle)


def status_of(*words: object) -> int:
    try:
        main([str(word) for word in words])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.mark.usefixtures("prepared")
def test_create_writes_avatar_and_sheet(
    tmp_path: Path, checkpoint: Path, photos: list[Path], capsys: pytest.CaptureFixture[str], rig: AnnyRig
) -> None:
    out = tmp_path / "made" / "me.lca"
    assert status_of("create", "--ckpt_path", checkpoint, "--images", *photos, "--out", out) == 0
    avatar = load_avatar(out)
    assert avatar.origin.photos == 3 and avatar.origin.identity == "fit"
    assert avatar.origin.joints_at_prior == ("foot.L",)
    expected = rig.canonical_joints(prepare_by_middle([], rig).identity_I[None])[0]  # type: ignore[index]
    torch.testing.assert_close(avatar.joints_J3, expected)
    text = capsys.readouterr().out
    assert "Not seen in any photo, left as usual: foot.L" in text and " s, avatar made in " in text
    sheet = Image.open(out.with_suffix(".png"))
    assert sheet.width > 4 * 240 and sheet.height > 3 * 320
    assert sorted(path.name for path in out.parent.iterdir()) == ["me.lca", "me.png"]


@pytest.mark.usefixtures("prepared")
def test_the_neutral_body_comes_with_a_warning(
    tmp_path: Path, checkpoint: Path, photos: list[Path], capsys: pytest.CaptureFixture[str], rig: AnnyRig
) -> None:
    words = ["create", "--ckpt_path", checkpoint, "--images", photos[0], "--out", tmp_path / "a.lca"]
    assert status_of(*words, "--identity", "neutral") == 0
    assert "warning: the neutral body" in capsys.readouterr().err
    assert torch.equal(load_avatar(tmp_path / "a.lca").identity_I, rig.neutral_identity())


@pytest.mark.usefixtures("prepared")
def test_photos_are_cut_as_in_training(checkpoint: Path, photos: list[Path]) -> None:
    creator = lca_lightning.load_model(checkpoint, "cpu")
    assert creator.photo_format.image_size == (64, 48) and creator.photo_format.background == 0.5
    images = [np.array(Image.open(path)) for path in photos]
    first, again = creator.create(images), creator.create(images[::-1])
    torch.testing.assert_close(
        first.canonical.color_logits_BG3, again.canonical.color_logits_BG3, atol=1e-5, rtol=0
    )
    other = creator.create([255 - image for image in images])
    assert float((first.canonical.color_logits_BG3 - other.canonical.color_logits_BG3).abs().max()) > 1e-3
    with pytest.raises(DataError, match="at least one"):
        creator.create([])
    with pytest.raises(ConfigError, match="fit, neutral"):
        creator.create(images, "mine")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b"", "is empty"),
        (b"\xff\xd8\xff rubbish", "cannot be read as a picture"),
    ],
)
def test_unreadable_photos(
    tmp_path: Path, checkpoint: Path, content: bytes | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "a.jpg"
    if content is not None:
        photo.write_bytes(content)
    words = ["create", "--ckpt_path", checkpoint, "--images", photo, "--out", tmp_path / "a.lca"]
    assert status_of(*words) == 1
    error = capsys.readouterr().err.strip()
    assert message in error and "\n" not in error
    assert not (tmp_path / "a.lca").exists()


@pytest.mark.usefixtures("prepared")
def test_a_folder_of_photos_and_the_model_that_ships(
    tmp_path: Path, checkpoint: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(files, "FOLDER", tmp_path / "shipped")
    model = lca_lightning.load_model(checkpoint, "cpu").model
    packaging.write_model(model, "tiny", {"image_size": [64, 48], "face_size": [32, 32]}, {})
    folder = tmp_path / "my_photos"
    folder.mkdir()
    for photo in photos:
        photo.rename(folder / photo.name.upper())
    (folder / "notes.txt").write_text("not a photo")
    (folder / ".hidden.jpg").write_text("nor is this")
    assert status_of("create", "--images", folder, "--out", tmp_path / "me.lca") == 0
    first, *_ = capsys.readouterr().out.splitlines()
    assert "demonstration model `tiny`" in first and "MODEL_CARD.md" in first and "likeness" in first
    assert load_avatar(tmp_path / "me.lca").origin.photos == 3
    assert (
        status_of("create", "--ckpt_path", checkpoint, "--images", folder, "--out", tmp_path / "me.lca") == 0
    )
    assert "demonstration" not in capsys.readouterr().out
    (tmp_path / "shipped" / "tiny.safetensors").unlink()
    assert status_of("create", "--images", folder, "--out", tmp_path / "other.lca") == 1
    error = capsys.readouterr().err.strip()
    assert "missing in this installation" in error and "\n" not in error


def test_folders_are_listed_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("me_10.jpg", "me_2.PNG", "ME_1.jpeg", "b.webp", "film.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "sub.jpg").mkdir()
    names = [path.name for path in list_photos([tmp_path, tmp_path / "film.mp4"])]
    assert names == ["b.webp", "ME_1.jpeg", "me_2.PNG", "me_10.jpg", "film.mp4"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no photos"):
        list_photos([tmp_path / "empty"])
    (tmp_path / "phone.HEIC").touch()
    if importlib.util.find_spec("pillow_heif") is None:
        with pytest.raises(DataError, match="pip install pillow-heif"):
            list_photos([tmp_path])


def test_more_photos_than_the_model_takes(
    tmp_path: Path, checkpoint: Path, photos: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["create", "--ckpt_path", checkpoint, "--images", *(photos[:1] * 17), "--out", tmp_path / "a.lca"]
    assert status_of(*words) == 1
    assert "17 photos were given, but this model takes at most 16" in capsys.readouterr().err


def test_a_checkpoint_that_does_not_fit_itself(tmp_path: Path, checkpoint: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    content["lca"]["model"]["width"] = 64
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="do not fit their own configuration") as caught:
        lca_lightning.load_model(tmp_path / "a.ckpt", "cpu")
    assert "\n" not in str(caught.value)
    content["lca"]["model"]["wings"] = 2
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="does not know \\(wings\\)"):
        lca_lightning.load_model(tmp_path / "a.ckpt", "cpu")


def test_the_public_names_exist() -> None:
    for name in lca_lightning.__all__:
        assert getattr(lca_lightning, name) is not None
    with pytest.raises(AttributeError):
        _ = lca_lightning.nothing


def test_a_photo_without_a_person(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mediapipe", reason="finding people needs the mediapipe extra")
    Image.new("RGB", (160, 200), (90, 140, 60)).save(tmp_path / "lawn.png")
    words = ["create", "--ckpt_path", checkpoint, "--images", tmp_path / "lawn.png"]
    assert status_of(*words, "--out", tmp_path / "a.lca") == 1
    assert "No person was found in lawn.png" in capsys.readouterr().err
    assert not (tmp_path / "a.lca").exists()


@pytest.mark.slow
def test_real_photos_become_an_avatar_that_dances(tmp_path: Path, checkpoint: Path, samples: Path) -> None:
    pytest.importorskip("mediapipe", reason="finding people needs the mediapipe extra")
    photos = []
    for camera in ("cam01", "cam02"):
        video = samples / "pose2sim_multiview" / f"{camera}.mp4"
        Image.fromarray(read_frames(video, [20])[20]).save(tmp_path / f"{camera}.jpg")
        photos.append(tmp_path / f"{camera}.jpg")
    out = tmp_path / "man.lca"
    assert status_of("create", "--ckpt_path", checkpoint, "--images", *photos, "--out", out) == 0
    height = np.ptp(load_avatar(out).joints_J3[:, 1].numpy())
    assert 1.3 < height < 1.9, "joints of an adult from ankle to crown"
    dance = samples / "motion_bvh" / "jesse_dance.bvh"
    words = ["animate", out, "--motion", dance, "--out", tmp_path / "dance.mp4", "--fps", "5"]
    assert status_of(*words, "--size", "128x128") == 0
    assert probe_video(tmp_path / "dance.mp4").frames == 51
