"""The objective against hand-computed values."""

from __future__ import annotations

import math

import pytest
import torch

from lca_lightning.batch import Targets
from lca_lightning.errors import ConfigError
from lca_lightning.losses.cropping import crop_squares, mask_box
from lca_lightning.losses.reconstruction import LossConfig, ReconstructionLoss, composite, surroundings
from lca_lightning.losses.regularization import position_penalty, region_factors, scale_penalty
from lca_lightning.model.attributes import CanonicalGaussians
from lca_lightning.model.avatar_model import AvatarOutput, Frames


def test_position_penalty_by_hand() -> None:
    offsets = torch.tensor([[0.0, 0, 0], [0.03, 0.04, 0], [0.3, 0.4, 0]])
    weights = torch.tensor([1.0, 1.0, 10.0])
    expected = 10 * (0.5 - 0.05625) / 3  # lengths 0, 0.05 and 0.5 m
    assert float(position_penalty(offsets, weights)) == pytest.approx(expected, rel=1e-6)


def test_position_penalty_has_a_finite_gradient_at_zero() -> None:
    offsets = torch.zeros(2, 3, requires_grad=True)
    position_penalty(offsets, torch.ones(2)).backward()
    assert offsets.grad is not None and bool(torch.isfinite(offsets.grad).all())


def test_scale_penalty_by_hand() -> None:
    scales = torch.tensor([[0.01, 0.02, 0.04], [0.01, 0.02, 0.08], [0.1, 0.01, 0.01]])
    weights = torch.tensor([1.0, 1.0, 3.0])
    expected = (0 + 3 + 3 * 5) / 3  # ratios 4, 8 and 10
    assert float(scale_penalty(scales.log(), weights)) == pytest.approx(expected, rel=1e-5)


def test_region_factors_follow_the_labels() -> None:
    assert region_factors(LossConfig().region_factors).tolist() == [1, 1, 10, 3, 1, 1]
    with pytest.raises(ConfigError, match="Unknown body region 'arm'"):
        region_factors({"arm": 2.0})


def make_output(image: float, alpha: float) -> tuple[AvatarOutput, Targets]:
    """One subject, one frame of 2x2 pixels; canonical images are 0.1 darker than animated ones."""
    frames = [
        Frames(torch.full((1, 1, 3, 2, 2), value), torch.full((1, 1, 1, 2, 2), alpha))
        for value in (image - 0.1, image)
    ]
    offsets = torch.tensor([[[0.0, 0.0, 0.15625], [0.0, 0.0, 0.0]]])
    attributes = CanonicalGaussians(
        torch.zeros(1, 2, 3), offsets, torch.tensor([[[0.0, 0, 0], [0, 0, math.log(7)]]]),
        torch.ones(1, 2, 4), torch.ones(1, 2), torch.zeros(1, 2, 3),
    )  # fmt: skip
    corrected = CanonicalGaussians(*(value[:, None] for value in vars(attributes).values()))
    output = AvatarOutput(
        frames[0], frames[1], torch.full((1, 1, 3), 0.2), attributes, corrected, torch.tensor([2, 0])
    )
    mask = torch.tensor([[[[[1.0, 0.0], [0.0, 0.0]]]]])
    targets = Targets(
        torch.full((1, 1, 3, 2, 2), 0.8), mask, torch.eye(4)[None, None], torch.eye(3)[None, None]
    )
    return output, targets


def test_holes_can_cost_more_than_rims() -> None:
    output, targets = make_output(image=0.5, alpha=0.5)
    terms = ReconstructionLoss(LossConfig(perceptual_weight=0.0, hole_weight=4.0))(output, targets)
    assert float(terms["canonical/mask"]) == pytest.approx(
        (4 * 0.5 + 3 * 0.5) / 4
    )  # one pixel inside, three out


def test_surroundings_are_what_is_near_and_outside() -> None:
    mask = torch.zeros(1, 1, 5, 6)
    mask[..., 2, 1], mask[..., 2, 2] = 1.0, 0.25
    assert not surroundings(mask, 0).any()
    near = surroundings(mask, 1)
    assert near[0, 0, 1:4].tolist() == [
        [1, 1, 1, 0.25, 0, 0],
        [1, 0, 0.75, 0.25, 0, 0],
        [1, 1, 1, 0.25, 0, 0],
    ]
    assert not near[..., [0, 4], :].any()


def test_no_term_looks_at_the_surroundings_of_the_silhouette() -> None:
    output, targets = make_output(image=0.5, alpha=0.5)
    config = LossConfig(perceptual_weight=0.0, silhouette_tolerance=1)  # all but the person's only pixel
    terms = ReconstructionLoss(config)(output, targets)
    assert float(terms["canonical/l1"]) == pytest.approx(0.4 / 4)
    assert float(terms["animated/l1"]) == pytest.approx(0.3 / 4)
    assert float(terms["animated/mask"]) == pytest.approx(0.5 / 4)
    with pytest.raises(ConfigError, match="silhouette_tolerance must not be negative"):
        LossConfig(silhouette_tolerance=-1)


def test_total_by_hand() -> None:
    output, targets = make_output(image=0.5, alpha=0.5)
    terms = ReconstructionLoss(LossConfig(perceptual_weight=0.0))(output, targets)
    expected = {
        "canonical/l1": (0.4 + 3 * 0.2) / 4,  # wanted: 0.8 in one pixel, background 0.2 in three
        "animated/l1": (0.3 + 3 * 0.3) / 4,
        "canonical/mask": 0.5,
        "animated/mask": 0.5,
        "position": 2 * 10 * 0.1 / 2,  # the Gaussian that strays is on a hand
        "scale": 2 * 1 * 2 / 2,  # ratio 7 on the face
    }
    assert {name: float(value) for name, value in terms.items() if name != "total"} == pytest.approx(expected)
    photometric = sum(value for name, value in expected.items() if "/" in name)
    total = photometric + 10 * expected["position"] + 0.1 * expected["scale"]
    assert float(terms["total"]) == pytest.approx(total)


@pytest.mark.parametrize("factor", [0.0, 0.25])
def test_the_canonical_rendering_counts_as_asked(factor: float) -> None:
    output, targets = make_output(image=0.5, alpha=0.5)
    terms = ReconstructionLoss(LossConfig(perceptual_weight=0.0, canonical_weight=factor))(output, targets)
    assert ("canonical/l1" in terms) == (factor > 0)
    regularisers = 10 * float(terms["position"]) + 0.1 * float(terms["scale"])
    assert float(terms["position"]) == pytest.approx(2 * 10 * 0.1 / 2)  # of both attributes all the same
    animated = float(terms["animated/l1"]) + float(terms["animated/mask"])
    assert float(terms["total"]) == pytest.approx(animated + factor * (0.25 + 0.5) + regularisers)
    with pytest.raises(ConfigError, match="canonical_weight must not be negative"):
        LossConfig(canonical_weight=-1.0)


def test_composite_by_hand() -> None:
    masks = torch.tensor([[[[[1.0, 0.25]]]]])
    result = composite(torch.full((1, 1, 3, 1, 2), 0.8), masks, torch.tensor([[[0.0, 0.4, 1.0]]]))
    torch.testing.assert_close(result[0, 0, :, 0], torch.tensor([[0.8, 0.2], [0.8, 0.5], [0.8, 0.95]]))


def test_mask_box_is_a_square_with_margin() -> None:
    mask = torch.zeros(40, 30)
    mask[10:30, 4:9] = 1.0
    left, top, side = mask_box(mask)
    assert side == 22
    assert (left, top) == ((4 + 9 - 22) // 2, (10 + 30 - 22) // 2)
    assert mask_box(torch.zeros(40, 30)) == (0, 5, 30)


def test_crop_keeps_pixels_and_continues_the_background() -> None:
    torch.manual_seed(0)
    images, background = torch.rand(1, 3, 8, 6), torch.tensor([[0.1, 0.2, 0.3]])
    crop = crop_squares(images, [(-2, 1, 6)], 6, background)
    torch.testing.assert_close(crop[..., 2:], images[:, :, 1:7, 0:4])
    torch.testing.assert_close(crop[..., :2], background[:, :, None, None].expand(-1, -1, 6, 2))


def test_perceptual_term_sees_the_crop_only_when_asked() -> None:
    """With a crop, changes far from the person do not count."""
    from lca_lightning.errors import MissingAssetError

    try:
        losses = [
            ReconstructionLoss(LossConfig(perceptual_net="alex", perceptual_size=size)) for size in (None, 48)
        ]
    except MissingAssetError as error:
        pytest.skip(str(error))
    output, _ = make_output(0.5, 0.5)
    torch.manual_seed(0)
    image = torch.rand(1, 1, 3, 64, 64)
    mask = torch.zeros(1, 1, 1, 64, 64)
    mask[..., 4:30, 4:30] = 1.0
    targets = Targets(image, mask, torch.eye(4)[None, None], torch.eye(3)[None, None])
    exact = composite(image, mask, output.background_BT3)
    soiled = exact.clone()
    soiled[..., 45:, 45:] = 1.0
    frames = [Frames(picture, mask) for picture in (exact, soiled)]
    output = AvatarOutput(
        *frames,
        output.background_BT3,
        output.canonical_attributes,
        output.animated_attributes,
        output.regions_G,
    )
    whole, cropped = (loss(output, targets) for loss in losses)
    assert float(whole["canonical/lpips"]) == pytest.approx(0.0, abs=1e-6)
    assert float(whole["animated/lpips"]) > 0.01
    assert float(cropped["animated/lpips"]) == pytest.approx(0.0, abs=1e-6)
    assert not losses[0].state_dict()
