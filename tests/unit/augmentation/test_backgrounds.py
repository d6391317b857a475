"""Backgrounds change behind the soft matte only, and never on partially lit frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lca_lightning.augmentation import Augmentation, AugmentationConfig
from lca_lightning.augmentation.backdrop import Backdrop
from lca_lightning.augmentation.backgrounds import (
    behind_references,
    draw_backgrounds,
    paint_backgrounds,
    srgb_to_linear,
)
from lca_lightning.augmentation.configuration import BackgroundConfig
from lca_lightning.augmentation.picture_bank import PictureBank
from lca_lightning.batch import Batch
from lca_lightning.errors import ConfigError, DataError
from lca_lightning.rig.anny import AnnyRig
from tests.unit.augmentation.scenes import make_batch


def changed(batch: Batch, **options: object) -> Batch:
    config = BackgroundConfig(probability=1.0, **options)  # type: ignore[arg-type]
    return Augmentation(AugmentationConfig(background=config), None)(batch, "0/0/0")  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four pictures of one colour each, one in a subfolder, and a text."""
    (tmp_path / "more").mkdir()
    for index, name in enumerate(("a.png", "b.jpg", "c.webp", "more/d.PNG")):
        Image.fromarray(np.full((30, 60 - 10 * index, 3), 40 + 50 * index, np.uint8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a picture")
    return tmp_path


def test_soft_edges_hold_the_new_colour_exactly() -> None:
    person, old, new = torch.rand(3, 1, 1), torch.tensor([0.9, 0.1, 0.5]), torch.rand(1, 1, 3, 1, 9)
    matte = torch.linspace(0, 1, 9)[None, None, None, None]
    image = matte * person + (1 - matte) * old[:, None, None]
    result = behind_references(image, Backdrop(matte, old[None, None]), new, torch.tensor([[True]]))
    torch.testing.assert_close(result, matte * person + (1 - matte) * new, atol=1e-6, rtol=0)


def test_references_show_something_else_behind_the_same_person(rig: AnnyRig) -> None:
    batch = make_batch(rig, subjects=2, views=3)
    new = changed(batch)
    matte = batch.references.body_mattes_BV1HW
    assert matte is not None and torch.equal(new.targets.images_BT3HW, batch.targets.images_BT3HW)
    before, after = batch.references.body_BV3HW, new.references.body_BV3HW
    inside = (matte > 0.9999).expand_as(before)
    torch.testing.assert_close(after[inside], before[inside], atol=1e-3, rtol=0)
    corners = after[..., 0, 0].flatten(0, 1)
    assert (torch.cdist(corners, corners) + torch.eye(6)).min() > 1e-3  # each view its own
    assert (corners < 0.99).any(dim=1).all()


def test_padding_views_and_missing_faces_stay_empty(rig: AnnyRig) -> None:
    batch = make_batch(rig, views=1)
    references = replace(batch.references.pad_views(3), face_mask_BV=torch.zeros(1, 3, dtype=torch.bool))
    references = replace(references, face_BV3hw=torch.zeros_like(references.face_BV3hw))
    new = changed(replace(batch, references=references)).references
    assert not new.body_BV3HW[:, 1:].any() and not new.face_BV3hw.any()
    assert (new.body_BV3HW[:, 0] - references.body_BV3HW[:, 0]).abs().max() > 0.05


def test_partially_lit_frames_keep_their_background(rig: AnnyRig) -> None:
    batch = make_batch(rig, subjects=2, lit=True)
    new = changed(batch, where="both")
    assert batch.lighting is not None and new.lighting is not None
    for before, after in (
        (batch.targets.images_BT3HW, new.targets.images_BT3HW),
        (batch.lighting.linear_images_BT3HW, new.lighting.linear_images_BT3HW),
    ):
        assert torch.equal(after[:, 1], before[:, 1])  # frame 1 is lit in part
        assert (after[:, 0] - before[:, 0])[..., 0, 0].abs().max() > 0.05
        room = 1 - batch.targets.masks_BT1HW[:, 0]
        assert ((after[:, 0] - before[:, 0]).abs() <= 3 * room).all()
    # nothing but the background is seen in a corner: linear light is that of the sRGB picture
    corner = (..., 0, 0)
    torch.testing.assert_close(
        new.lighting.linear_images_BT3HW[:, 0][corner],
        srgb_to_linear(new.targets.images_BT3HW[:, 0][corner]),
        atol=2e-3,
        rtol=0,
    )


def test_kinds_are_drawn_evenly_and_painted(folder: Path) -> None:
    config = BackgroundConfig(probability=0.6, kinds=("color", "noise", "pictures"), pictures=str(folder))
    drawn = draw_backgrounds(config, "0/0/0", range(3000), "targets", 1)
    assert drawn is not None and 0.57 < drawn.chosen_BN.float().mean() < 0.63
    assert (drawn.kind_BN.flatten().bincount(minlength=3) - 1000).abs().max() < 100
    few = draw_backgrounds(config, "0/0/0", range(60), "targets", 1)
    assert few is not None
    painted = paint_backgrounds(few, config.kinds, PictureBank(str(folder), 200), (60, 48))[:, 0]
    assert painted.shape == (60, 3, 60, 48) and painted.min() >= 0 and painted.max() <= 1
    spread = painted.flatten(2).std(-1).amax(1)
    kind = few.kind_BN[:, 0]
    assert (spread[kind == 0] == 0).all() and (spread[kind == 1] > 0.05).all()
    steps = (painted[kind == 1][..., 1:] - painted[kind == 1][..., :-1]).abs()
    assert steps.max() < 0.25  # smooth
    shown = (painted[kind == 2].mean(dim=(1, 2, 3)) * 255).round()
    assert set(shown.int().tolist()) <= {40, 90, 140, 190, 89, 91} and len(shown.unique()) >= 3


def test_windows_of_pictures_keep_their_proportions(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 384, dtype=np.uint8)
    square = np.stack(
        [np.tile(ramp, (384, 1)), np.tile(ramp[:, None], (1, 384)), np.zeros((384, 384), np.uint8)], -1
    )
    Image.fromarray(square).save(tmp_path / "ramp.png")
    config = BackgroundConfig(probability=1.0, kinds=("pictures",), pictures=str(tmp_path))
    drawn = draw_backgrounds(config, "0/0/0", range(20), "targets", 1)
    assert drawn is not None
    painted = paint_backgrounds(drawn, config.kinds, PictureBank(str(tmp_path), 1), (60, 40))[:, 0]
    across = painted[:, 0, 0, -1] - painted[:, 0, 0, 0]
    down = painted[:, 1, -1, 0] - painted[:, 1, 0, 0]
    torch.testing.assert_close(across / down, torch.full((20,), 39 / 59), atol=0.02, rtol=0)
    assert down.min() > 0.45 and down.max() <= 1.0


def test_what_cannot_work_is_refused(folder: Path, rig: AnnyRig) -> None:
    with pytest.raises(
        ConfigError, match="background.kinds names pictures: give .*background.pictures a folder"
    ):
        BackgroundConfig(kinds=("pictures",))
    with pytest.raises(
        ConfigError, match="background.kinds must be one of color, noise, pictures, got 'snow'"
    ):
        BackgroundConfig(kinds=("snow",))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="There is no folder .*nowhere"):
        PictureBank(str(folder / "nowhere"), 5)
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no PNG, JPEG or WebP file"):
        PictureBank(str(folder / "empty"), 5)
    (folder / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="The background picture .*a.png cannot be read .*; remove it"):
        PictureBank(str(folder), 5)
    whole = folder / "b.jpg"
    whole.write_bytes(whole.read_bytes()[:200])
    (folder / "a.png").unlink()
    with pytest.raises(DataError, match="b.jpg cannot be read"):
        PictureBank(str(folder), 5)
    batch = make_batch(rig)
    bare = replace(batch, references=replace(batch.references, body_mattes_BV1HW=None))
    with pytest.raises(ConfigError, match="only be exchanged where the data module gives mattes"):
        changed(bare)


def test_files_are_spread_over_the_folder(folder: Path) -> None:
    assert len(PictureBank(str(folder), 200)) == 4
    two = PictureBank(str(folder), 2).on(torch.device("cpu"))
    assert (two[:, 0, 0, 0].int() - torch.tensor([40, 140])).abs().max() <= 2
