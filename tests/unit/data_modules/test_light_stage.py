"""A small light stage: lamps, linear pictures, true layers and interpolated poses in the batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lca_data_modules import LightStageDataModule, StudioDataModule
from lca_lightning.datasets.format import CameraRecord, SequenceWriter, Signals, StageLights
from lca_lightning.datasets.linear_light import linear_to_srgb
from lca_lightning.errors import ConfigError, DataError

FRAMES, HEIGHT, WIDTH, LAMPS = 12, 48, 36, 5
WHITE = 4.0
OPTIONS = dict(image_size=(64, 48), face_size=(32, 32), steps_per_epoch=4, views=(2,), targets_per_sample=4)


def brightness(frame: int) -> float:
    return 0.2 + 0.05 * frame


def write_stage(
    root: Path, quality: dict | None = None, color: str = "linear", lit: bool = True, frames: int = FRAMES
) -> Path:
    """A square whose linear radiance tells the frame; every third frame is fully lit."""
    K_33 = np.array([[50.0, 0, WIDTH / 2], [0, 50, HEIGHT / 2], [0, 0, 1]])
    records = []
    for index in range(3):
        w2c_44 = np.eye(4)
        w2c_44[0, 3], w2c_44[2, 3] = index - 1, 3
        records.append(CameraRecord(f"cam{index}", WIDTH, HEIGHT, K_33, w2c_44))
    fully_lit = np.arange(frames) % 3 == 0
    intensities = np.zeros((frames, LAMPS, 3), np.float32)
    for frame in range(frames):
        intensities[frame, slice(None) if fully_lit[frame] else frame % LAMPS] = frame + 1
    lights = StageLights(
        np.arange(LAMPS * 3).reshape(LAMPS, 3).astype(np.float32), intensities, fully_lit, 1.5
    )
    layers = ("albedo", "normal") if color == "linear" else ()
    arguments = dict(subject="ann", split="train", fps=30, rig="anny", licence="CC0", provenance="test")
    extra = dict(color="linear", linear_white=WHITE, layers=layers) if color == "linear" else {}
    frame_T = np.arange(frames, dtype=np.float32)
    with SequenceWriter(root, "take", cameras=records, kind="light_stage", **arguments, **extra) as writer:
        for record in records:
            for frame in range(frames):
                mask = np.zeros((HEIGHT, WIDTH), np.uint8)
                mask[8:40, 8:28] = 255
                if color == "linear":
                    image = np.full((HEIGHT, WIDTH, 3), brightness(frame) / WHITE * 65535).astype(np.uint16)
                    albedo = np.full((HEIGHT, WIDTH, 3), 0.25 * 65535).astype(np.uint16)
                    normal = np.broadcast_to(
                        np.array([32768, 65535, 32768], np.uint16), (HEIGHT, WIDTH, 3)
                    ).copy()
                    writer.add_frame(record.name, image, mask, {"albedo": albedo, "normal": normal})
                else:
                    writer.add_frame(record.name, np.full((HEIGHT, WIDTH, 3), 188, np.uint8), mask)
        writer.finish(
            Signals(
                identity_I=np.zeros(3, np.float32),
                rotations_TJ3=np.zeros((frames, 2, 3), np.float32),
                translation_T3=np.where(fully_lit[:, None], np.stack([frame_T] * 3, 1), -7),
                expression_TE=np.zeros((frames, 1), np.float32),
                gaze_T8=np.zeros((frames, 8), np.float32),
                frame_valid_T=np.ones(frames, bool),
                lights=lights if lit else None,
            ),
            quality,
        )
    return root


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stage(tmp_path_factory.mktemp("stage"), {"pose_fitted": "fully_lit"})


def test_lamps_linear_pictures_and_layers_are_those_of_the_targets(stage: Path) -> None:
    module = LightStageDataModule(str(stage), batch_size=2, **OPTIONS)
    module.setup("fit")
    seen = set()
    for batch in module.train_dataloader():
        lighting = batch.lighting
        assert lighting is not None and lighting.positions_BTL3.shape == (2, 4, LAMPS, 3)
        assert lighting.reference_distance_B.tolist() == [1.5, 1.5]
        assert lighting.positions_BTL3[0, 0].flatten().tolist() == list(range(LAMPS * 3))
        for row, names in enumerate(batch.frames):
            for place, name in enumerate(names):
                frame = int(name.rsplit("/", 1)[1])
                lit = frame % 3 == 0
                seen.add(lit)
                assert bool(lighting.fully_lit_BT[row, place]) == lit
                burning = lighting.intensities_BTL3[row, place, :, 0]
                assert int((burning > 0).sum()) == (LAMPS if lit else 1)
                assert float(burning.max()) == frame + 1
                middle = lighting.linear_images_BT3HW[row, place, :, 32, 24]
                torch.testing.assert_close(middle, torch.full((3,), brightness(frame)), atol=1e-4, rtol=0)
                assert batch.driving.translation_BT3[row, place, 0] == pytest.approx(min(frame, 9), abs=1e-5)
                albedo, normal = lighting.albedo_BT3HW, lighting.normals_BT3HW
                assert albedo is not None and normal is not None
                torch.testing.assert_close(
                    albedo[row, place, :, 32, 24], torch.full((3,), 0.25), atol=1e-4, rtol=0
                )
                expected = torch.tensor([0.0, 1.0, 0.0])
                torch.testing.assert_close(normal[row, place, :, 32, 24], expected, atol=1e-4, rtol=0)
    assert seen == {True, False}


def test_references_are_fully_lit_and_targets_have_their_share(stage: Path) -> None:
    for share in (0.0, 1.0):
        module = LightStageDataModule(str(stage), partially_lit=share, **OPTIONS)
        module.setup("fit")
        source = module.training_source()
        for number in range(20):
            _, draw = source.draw(number, 2)
            assert all(shot.frame % 3 == 0 for shot in draw.references)
            assert all((shot.frame % 3 != 0) == (share == 1.0) for shot in draw.targets)


def test_the_test_has_lit_references_and_all_targets(stage: Path) -> None:
    module = LightStageDataModule(str(stage), test_cameras=("cam2",), test_targets=None, **OPTIONS)
    module.setup("test")
    items = module.test_dataloader().dataset.items
    assert all(shot.frame % 3 == 0 and shot.camera != "cam2" for shot in items[0].references)
    assert {shot.frame % 3 == 0 for item in items for shot in item.targets} == {True, False}
    (first, *_) = module.test_dataloader()
    assert first.lighting is not None
    assert module.plot(first).width > 100


def test_poses_are_taken_as_they_are_unless_the_data_says_otherwise(tmp_path: Path) -> None:
    module = LightStageDataModule(str(write_stage(tmp_path)), partially_lit=1.0, **OPTIONS)
    module.setup("fit")
    batch = next(iter(module.train_dataloader()))
    assert (batch.driving.translation_BT3 == -7).all()


def test_photos_of_a_stage_are_brought_to_linear_light(tmp_path: Path) -> None:
    module = LightStageDataModule(str(write_stage(tmp_path, color="srgb")), **OPTIONS)
    module.setup("fit")
    lighting = next(iter(module.train_dataloader())).lighting
    assert lighting is not None and lighting.albedo_BT3HW is None
    middle = lighting.linear_images_BT3HW[0, 0, :, 32, 24]
    torch.testing.assert_close(
        middle, torch.full((3,), 0.503), atol=0.02, rtol=0
    )  # sRGB 188 is half the light


def test_bad_input(tmp_path: Path, stage: Path) -> None:
    dark = write_stage(tmp_path, lit=False)
    with pytest.raises(DataError, match="stores no lights; read such data with lca_data_modules.Studio"):
        LightStageDataModule(str(dark), **OPTIONS).setup("fit")
    StudioDataModule(str(dark), **OPTIONS).setup("fit")
    with pytest.raises(ConfigError, match=r"partially_lit must lie in \[0, 1\]"):
        LightStageDataModule(str(stage), partially_lit=1.5, **OPTIONS)


@pytest.mark.parametrize("color", ["linear", "srgb"])
def test_both_views_of_a_cut_agree_also_beyond_the_picture(tmp_path: Path, color: str) -> None:
    """Wide cuts of a narrow picture: the target is the linear one through the sRGB curve."""
    options = {**OPTIONS, "image_size": (48, 128)}
    module = LightStageDataModule(str(write_stage(tmp_path, color=color)), **options)
    module.setup("fit")
    batch = next(iter(module.train_dataloader()))
    assert batch.lighting is not None
    linear, images = batch.lighting.linear_images_BT3HW.numpy(), batch.targets.images_BT3HW.numpy()
    assert (images[..., 0] == np.float32(128 / 255)).all()  # beyond the picture
    different = np.abs(linear_to_srgb(linear) - images).max((0, 1, 2, 3)) > 0.005
    assert different.sum() <= 4  # columns on the picture's edges are averages, of light or of sRGB
