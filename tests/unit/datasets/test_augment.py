"""Recolouring changes references and targets alike, and nothing else."""

from __future__ import annotations

import pytest
import torch

from lca_lightning.datasets.augment import AugmentationConfig, recolor
from lca_lightning.errors import ConfigError
from tests.unit.test_batch import make_batch


def test_references_and_targets_change_alike() -> None:
    batch = make_batch(2)
    batch.references.body_BV3HW[0, 0] = batch.targets.images_BT3HW[0, 0]
    torch.manual_seed(1)
    changed = recolor(batch, AugmentationConfig(recolor_probability=1.0))
    torch.testing.assert_close(changed.references.body_BV3HW[0, 0], changed.targets.images_BT3HW[0, 0])
    assert (changed.targets.images_BT3HW - batch.targets.images_BT3HW).abs().mean() > 0.01
    assert torch.equal(changed.targets.masks_BT1HW, batch.targets.masks_BT1HW)


def test_black_and_white_stay() -> None:
    batch = make_batch(2)
    batch.references.body_BV3HW[0, 0] = 1.0
    batch.references.body_BV3HW[0, 1] = 0.0
    changed = recolor(batch, AugmentationConfig(recolor_probability=1.0)).references.body_BV3HW[0]
    assert (changed[0] == 1).all() and (changed[1] == 0).all()


def test_probability_zero_changes_nothing_and_bad_values_are_refused() -> None:
    batch = make_batch(2)
    assert recolor(batch, AugmentationConfig()) is batch
    with pytest.raises(ConfigError, match=r"recolor_probability must lie in \[0, 1\]"):
        AugmentationConfig(recolor_probability=2.0)
