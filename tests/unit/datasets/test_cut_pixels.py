"""Four bytes as one word: equal to plain arithmetic on channels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lca_lightning.datasets.cut_pixels import merge_mask, stack_cuts


@pytest.fixture
def cuts() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (9, 7, 4), dtype=np.uint8).transpose(2, 0, 1) for _ in range(3)]


def test_a_mask_becomes_the_fourth_channel_and_colours_stay() -> None:
    generator = np.random.default_rng(1)
    picture = generator.integers(0, 256, (12, 10, 4), dtype=np.uint8)
    mask = generator.integers(0, 256, (6, 5), dtype=np.uint8)
    before = picture.copy()
    merge_mask(picture[3:9, 2:7], mask)  # a part of a picture, rows apart in memory
    assert np.array_equal(picture[3:9, 2:7, 3], mask)
    picture[3:9, 2:7, 3] = before[3:9, 2:7, 3]
    assert np.array_equal(picture, before)


@pytest.mark.parametrize("background", [None, 0.0, 0.5])
def test_cuts_become_floats_over_a_background(cuts: list[np.ndarray], background: float | None) -> None:
    colors, mattes = stack_cuts(cuts, (9, 7), background)
    reference = torch.from_numpy(np.stack(cuts)).double() / 255
    expected = reference[:, :3]
    if background is not None:
        expected = expected * reference[:, 3:] + background * (1 - reference[:, 3:])
    # float32 rounds three times: 255ths, difference, product
    torch.testing.assert_close(colors.double(), expected, atol=3e-7, rtol=0)
    torch.testing.assert_close(mattes.double(), reference[:, 3:], atol=1e-7, rtol=0)


def test_a_missing_cut_is_zero_even_over_a_background(cuts: list[np.ndarray]) -> None:
    colors, mattes = stack_cuts([cuts[0], None], (9, 7), 0.5)
    assert not colors[1].any() and not mattes[1].any() and colors[0].any()


def test_cuts_with_channels_apart_in_memory_are_the_same(cuts: list[np.ndarray]) -> None:
    planar = [np.ascontiguousarray(cut) for cut in cuts]
    for ours, theirs in zip(stack_cuts(planar, (9, 7), 0.3), stack_cuts(cuts, (9, 7), 0.3), strict=True):
        assert torch.equal(ours, theirs)
