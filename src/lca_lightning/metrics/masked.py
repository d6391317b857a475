"""The masked protocol: scores inside the person, beside scores that see what lies outside it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lca_lightning.losses.cropping import crop_squares, mask_box
from lca_lightning.losses.perceptual import LPIPS
from lca_lightning.metrics.perceptual import over_white, pairwise_lpips, shared_lpips
from lca_lightning.metrics.protocol import LOWEST_SQUARED_ERROR, Protocol, ScoredFrames

ANGLE_BINS = ((0, 30), (30, 60), (60, 90), (90, 180))
"""Degrees from the nearest reference view; a bin holds its lower bound, the last one both."""


class MaskedProtocol(Protocol):
    """PSNR, L1 and LPIPS inside the mask, beside scores that see what lies outside it.

    With ``m`` the mask binarised at 0.5 and ``d`` the difference to the image: ``l1 = sum m|d| / 3 sum m``,
    ``psnr = -10 log10(sum m d^2 / 3 sum m)``, at most 100 dB; ``lpips`` (AlexNet) compares both images
    composited on white by the mask, cropped to its box and resized; ``l1_full = sum m|d| / 3HW``;
    ``alpha_iou`` compares alpha and mask, both binarised at 0.5; ``energy_outside`` is the share of the
    rendered alpha outside the mask. ``psnr_face``, ``l1_hands`` and so on take ``m`` times the region;
    ``psnr_angle_0_30`` and so on are ``psnr`` of the frames in that bin of angles.

    Args:
        lpips: A loaded ``LPIPS("alex")`` to share; None loads one, False leaves the score out.
        lpips_size: Side of the compared crops, pixels.
        regions: Regions to score where the frames know them.
        **options: Passed on to ``torchmetrics.Metric``.
    """

    name = "masked"

    def __init__(
        self,
        lpips: LPIPS | bool | None = None,
        lpips_size: int = 512,
        regions: tuple[str, ...] = ("face", "hands"),
        **options: Any,
    ) -> None:
        network = shared_lpips(lpips, "alex")
        perceptual = ("lpips",) if network else ()
        by_region = tuple(f"{score}_{region}" for region in regions for score in ("psnr", "l1"))
        super().__init__(
            ("psnr", "l1", *perceptual, "l1_full", "alpha_iou", "energy_outside")
            + by_region
            + tuple(_bin_name(*edges) for edges in ANGLE_BINS),
            **options,
        )
        self.lpips, self.lpips_size, self.regions = network, lpips_size, regions

    def score(self, frames: ScoredFrames) -> dict[str, Tensor]:
        """Scores of each picture row by row, each ``(B * T,)``; unknown regions, alphas and angles lack."""
        predicted, images = frames.predicted_BT3HW.flatten(0, 1), frames.images_BT3HW.flatten(0, 1)
        mask = frames.masks_BT1HW.flatten(0, 1) > 0.5
        difference = predicted.double() - images.double()
        absolute, squared = difference.abs().sum(1, keepdim=True), difference.square().sum(1, keepdim=True)
        scores = _inside(absolute, squared, mask, "")
        scores["l1_full"] = scores["l1"] * mask.flatten(1).double().mean(1)
        for region in self.regions:
            if frames.regions is not None and region in frames.regions:
                within = mask & (frames.regions[region].flatten(0, 1) > 0.5)
                scores |= _inside(absolute, squared, within, f"_{region}")
        if frames.alphas_BT1HW is not None:
            scores |= _coverage(frames.alphas_BT1HW.flatten(0, 1).double(), mask)
        if frames.angles_BT is not None:
            scores |= _by_angle(scores["psnr"], frames.angles_BT.flatten().to(absolute))
        if self.lpips is not None:
            scores["lpips"] = self._perceptual(self.lpips, predicted, images, mask)
        return scores

    def _perceptual(
        self, lpips: LPIPS, predicted_n3HW: Tensor, images_n3HW: Tensor, mask_n1HW: Tensor
    ) -> Tensor:
        boxes = [mask_box(mask) for mask in mask_n1HW[:, 0]]
        white = torch.ones_like(images_n3HW[:, :, 0, 0])
        predicted, images = (
            crop_squares(over_white(pictures, mask_n1HW), boxes, self.lpips_size, white).clamp(0, 1)
            for pictures in (predicted_n3HW.to(images_n3HW), images_n3HW)
        )
        return pairwise_lpips(lpips, predicted, images)


def _inside(absolute_n1HW: Tensor, squared_n1HW: Tensor, mask_n1HW: Tensor, suffix: str) -> dict[str, Tensor]:
    """PSNR and L1 inside a mask, from errors summed over the colours; NaN where the mask is empty."""
    area = 3 * mask_n1HW.flatten(1).sum(1).double()
    area = area.masked_fill(area == 0, torch.nan)
    errors = (absolute_n1HW, squared_n1HW)
    absolute, squared = ((mask_n1HW * part).flatten(1).sum(1) / area for part in errors)
    psnr = -10 * squared.clamp_min(LOWEST_SQUARED_ERROR).log10()
    return {f"psnr{suffix}": psnr, f"l1{suffix}": absolute}


def _coverage(alphas_n1HW: Tensor, mask_n1HW: Tensor) -> dict[str, Tensor]:
    """How well the rendered opacity agrees with the mask."""
    covered = alphas_n1HW > 0.5
    both, either = (part.flatten(1).sum(1).double() for part in (covered & mask_n1HW, covered | mask_n1HW))
    outside, total = (part.flatten(1).sum(1) for part in (~mask_n1HW * alphas_n1HW, alphas_n1HW))
    return {"alpha_iou": both / either, "energy_outside": outside / total.clamp_min(1e-12)}


def _by_angle(psnr_n: Tensor, angles_n: Tensor) -> dict[str, Tensor]:
    """The same PSNR under the name of its bin, NaN under the others."""
    scores = {}
    for low, high in ANGLE_BINS:
        there = (angles_n >= low) & ((angles_n < high) | (high == 180))
        scores[_bin_name(low, high)] = psnr_n.masked_fill(~there, torch.nan)
    return scores


def _bin_name(low: int, high: int) -> str:
    return f"psnr_angle_{low}_{high}"
