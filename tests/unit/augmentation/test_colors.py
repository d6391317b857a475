"""Photometric distortion changes people, not the colour behind them, and both sides alike where asked."""

from __future__ import annotations

import colorsys

import pytest
import torch

from lca_lightning.augmentation import Augmentation, AugmentationConfig
from lca_lightning.augmentation.backdrop import Backdrop
from lca_lightning.augmentation.colors import ColorChange, change_colors, draw_colors, recolor_people
from lca_lightning.augmentation.configuration import ColorsConfig
from lca_lightning.batch import Batch
from lca_lightning.errors import ConfigError
from lca_lightning.rig.anny import AnnyRig
from tests.unit.augmentation.scenes import make_batch

ALWAYS = ColorsConfig(
    probability=1.0, brightness=0.3, contrast=0.3, saturation=0.4, hue=0.05, largest_gamma=1.3
)
NOTHING = dict(brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, largest_gamma=1.0)


def drawn(samples: int = 1, pictures: int = 1, **options: float) -> ColorChange:
    return draw_colors(
        ColorsConfig(**{**NOTHING, "probability": 1.0, **options}), "0/0/0", range(samples), pictures
    )


def test_each_strength_does_what_its_name_says() -> None:
    image = 0.3 + 0.4 * torch.rand(400, 1, 3, 1, 5)
    bright = change_colors(image, drawn(400, brightness=0.2)) / image
    assert (bright.amax(dim=(2, 4)) - bright.amin(dim=(2, 4))).max() < 1e-5  # one factor a picture
    assert 0.8 <= bright.min() < 0.81 and 1.19 < bright.max() <= 1.2001
    contrast = change_colors(image, drawn(400, contrast=0.5)) - 0.5
    ratio = (contrast / (image - 0.5)).median(dim=-1).values.median(dim=-1).values
    assert 0.5 <= ratio.min() < 0.52 and 1.48 < ratio.max() <= 1.501
    grey = image.mean(2, keepdim=True).expand_as(image)
    for unchanged in (drawn(400, saturation=0.9), drawn(400, hue=0.5)):
        torch.testing.assert_close(change_colors(grey, unchanged), grey, atol=1e-5, rtol=0)
    gamma = change_colors(image, drawn(400, largest_gamma=1.5)).log() / image.log()
    assert 1 / 1.5 - 1e-4 < gamma.min() < 0.69 and 1.45 < gamma.max() < 1.5001


def test_hue_turns_by_the_angle_drawn() -> None:
    red = torch.tensor([0.8, 0.2, 0.2])[:, None, None].expand(50, 1, 3, 1, 1)
    turned = change_colors(red, drawn(50, hue=0.1))[:, 0, :, 0, 0]
    hues = torch.tensor([(colorsys.rgb_to_hsv(*color.tolist())[0] + 0.5) % 1 - 0.5 for color in turned])
    assert hues.min() < -0.06 and hues.max() > 0.06 and hues.abs().max() < 0.11
    torch.testing.assert_close(turned.sum(1), torch.full((50,), 1.2), atol=1e-4, rtol=0)


def test_the_colour_behind_stays_through_soft_edges() -> None:
    person, color = torch.tensor([0.6, 0.3, 0.2]), torch.tensor([0.4, 0.4, 0.7])
    matte = torch.linspace(0, 1, 11)[None, None, None, None]
    image = matte * person[:, None, None] + (1 - matte) * color[:, None, None]
    change = drawn(brightness=0.2, contrast=0.2, saturation=0.3, hue=0.02)
    new = recolor_people(image, Backdrop(matte, color[None, None]), change)
    alone = change_colors(person[None, None, :, None, None], change)
    expected = matte * alone + (1 - matte) * color[:, None, None]
    torch.testing.assert_close(new, expected, atol=1e-5, rtol=0)
    assert (alone.flatten() - person).abs().max() > 0.03
    assert torch.equal(recolor_people(image, None, change), change_colors(image, change))


def augmented(batch: Batch, config: ColorsConfig) -> Batch:
    return Augmentation(AugmentationConfig(colors=config), None)(batch, "0/0/0")  # type: ignore[arg-type]


def test_references_alone_change_each_in_its_own_way(rig: AnnyRig) -> None:
    batch = make_batch(rig, views=2)
    batch.references.body_BV3HW[:, 1] = batch.references.body_BV3HW[:, 0]
    batch.references.face_BV3hw[:, 1] = batch.references.face_BV3hw[:, 0]
    new = augmented(batch, ALWAYS)
    assert new.targets is batch.targets
    first, second = new.references.body_BV3HW[0]
    assert (first - second).abs().max() > 0.02
    assert (new.references.body_BV3HW[..., 0, 0] > 0.999).all()  # white behind stays white


def test_references_and_targets_change_alike_where_both_do(rig: AnnyRig) -> None:
    batch = make_batch(rig, subjects=2)
    same = batch.targets.images_BT3HW
    matte = batch.references.body_mattes_BV1HW
    assert matte is not None
    batch.references.body_BV3HW.copy_(matte * same + 1 - matte)
    new = augmented(batch, ColorsConfig(**{**vars(ALWAYS), "where": "both"}))
    inside = (matte > 0.999).expand_as(same)
    assert inside.float().mean() > 0.1
    new_targets, new_bodies = new.targets.images_BT3HW[inside], new.references.body_BV3HW[inside]
    torch.testing.assert_close(new_bodies, new_targets, atol=5e-3, rtol=0)
    assert (new_targets - same[inside]).abs().mean() > 0.02
    changes = [(new.targets.images_BT3HW - same)[row].mean(dim=(0, 2, 3)) for row in (0, 1)]
    assert (changes[0] - changes[1]).abs().max() > 0.01  # each subject in its own way


def test_known_light_is_never_belied(rig: AnnyRig) -> None:
    batch = make_batch(rig, lit=True)
    assert augmented(batch, ColorsConfig(probability=1.0, where="both")) is batch
    new = augmented(batch, ALWAYS)
    assert new.lighting is batch.lighting and new.targets is batch.targets
    assert (new.references.body_BV3HW - batch.references.body_BV3HW).abs().max() > 0.02


def test_probability_zero_changes_nothing_and_bad_values_are_refused(rig: AnnyRig) -> None:
    batch = make_batch(rig)
    assert augmented(batch, ColorsConfig()) is batch
    share = draw_colors(ColorsConfig(probability=0.3), "0/0/0", range(2000), 1).exponent_BN != 1
    assert 0.27 < share.float().mean() < 0.33
    with pytest.raises(ConfigError, match="colors.where must be one of references, both, got 'targets'"):
        ColorsConfig(where="targets")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"colors.largest_gamma must lie in \[1, 10\], got 0.5"):
        ColorsConfig(largest_gamma=0.5)
