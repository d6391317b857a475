"""Recolouring changes references and targets alike, and nothing else."""

from __future__ import annotations

import pytest
import torch

from lca_lightning.augmentation.configuration import AugmentationConfig
from lca_lightning.augmentation.recoloring import Recoloring, draw_recoloring, recolor
from lca_lightning.batch import Batch
from lca_lightning.errors import ConfigError, ShapeError
from tests.unit.test_batch import make_batch

ALWAYS = AugmentationConfig(recolor_probability=1.0)


def generators(*seeds: int) -> list[torch.Generator]:
    """A generator for each subject."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_references_and_targets_change_alike() -> None:
    batch = make_batch(2)
    batch.references.body_BV3HW[0, 0] = batch.targets.images_BT3HW[0, 0]
    changed = recolor(batch, draw_recoloring(ALWAYS, generators(1)))
    torch.testing.assert_close(changed.references.body_BV3HW[0, 0], changed.targets.images_BT3HW[0, 0])
    assert (changed.targets.images_BT3HW - batch.targets.images_BT3HW).abs().mean() > 0.01
    assert torch.equal(changed.targets.masks_BT1HW, batch.targets.masks_BT1HW)


def test_the_draws_say_which_channel_goes_where() -> None:
    batch = Batch.collate([make_batch(1, "anna"), make_batch(1, "ben")])
    draws = Recoloring(torch.tensor([[2, 0, 1], [0, 1, 2]]), torch.tensor([[1.0, 2.0, 0.5], [1.0, 1.0, 1.0]]))
    old, new = (part.targets.images_BT3HW for part in (batch, recolor(batch, draws)))
    torch.testing.assert_close(new[0, :, 0], old[0, :, 2])
    torch.testing.assert_close(new[0, :, 1], old[0, :, 0].square())
    torch.testing.assert_close(new[0, :, 2], old[0, :, 1].sqrt())
    assert torch.equal(new[1], old[1])


def test_black_and_white_stay() -> None:
    batch = make_batch(2)
    batch.references.body_BV3HW[0, 0] = 1.0
    batch.references.body_BV3HW[0, 1] = 0.0
    changed = recolor(batch, draw_recoloring(ALWAYS, generators(0))).references.body_BV3HW[0]
    assert (changed[0] == 1).all() and (changed[1] == 0).all()


def test_probability_is_kept_and_gammas_stay_within_their_limit() -> None:
    draws = draw_recoloring(AugmentationConfig(0.25, largest_gamma=2.0), generators(*range(2000)))
    changed = (draws.gammas_B3 != 1.0).any(dim=1)
    assert 0.22 < changed.float().mean() < 0.28
    assert draws.gammas_B3.min() >= 0.5 and draws.gammas_B3.max() <= 2.0
    assert torch.equal(draws.channels_B3[~changed], torch.arange(3).expand(int((~changed).sum()), -1))
    assert torch.equal(draws.channels_B3.sort(dim=1).values, torch.arange(3).expand(2000, -1))
    assert len(draws.channels_B3[changed].unique(dim=0)) == 6


def test_probability_zero_changes_nothing_and_bad_values_are_refused() -> None:
    batch = make_batch(2)
    assert recolor(batch, draw_recoloring(AugmentationConfig(), generators(0))) is batch
    with pytest.raises(ConfigError, match=r"recolor_probability must lie in \[0, 1\]"):
        AugmentationConfig(recolor_probability=2.0)
    with pytest.raises(ShapeError, match=r"channels_B3 must have shape \(1, 3\), got \(2, 3\)"):
        recolor(batch, draw_recoloring(ALWAYS, generators(0, 1)))
