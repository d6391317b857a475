"""The masked evaluation protocol: scores inside the person, averaged per subject, exact over processes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from lca_lightning.errors import DataError, check_shape
from lca_lightning.losses.cropping import crop_squares, mask_box
from lca_lightning.losses.perceptual import LPIPS

SCORES = ("psnr", "l1", "lpips", "l1_full", "alpha_iou", "energy_outside")
LOWEST_SQUARED_ERROR = 1e-10  # 100 dB for a perfect image


class MaskedProtocol(Metric):
    """PSNR, L1 and LPIPS inside the mask, beside scores that see what lies outside it.

    With ``m`` the mask binarised at 0.5 and ``d`` the difference to the image: ``l1 = sum m|d| / 3 sum m``,
    ``psnr = -10 log10(sum m d^2 / 3 sum m)``; ``lpips`` (AlexNet) compares both images composited on white by
    the mask, cropped to its box and resized; ``l1_full = sum m|d| / 3HW``; ``alpha_iou`` compares alpha and
    mask, both binarised at 0.5; ``energy_outside`` is the share of the rendered alpha outside the mask.

    Scores are means over images by subject, then over subjects. An image seen twice (padding that evens out
    processes) counts once, one with an empty mask not at all.

    Args:
        lpips: A loaded ``LPIPS("alex")`` to share; None loads one, False leaves the score out.
        lpips_size: Side of the compared crops, pixels.
        **options: Passed on to ``torchmetrics.Metric``.
    """

    is_differentiable = False
    full_state_update = False
    frame_keys: list[Tensor]
    frame_scores: list[Tensor]

    def __init__(self, lpips: LPIPS | bool | None = None, lpips_size: int = 512, **options: Any) -> None:
        super().__init__(**options)
        self.lpips_size = lpips_size
        if lpips is None or lpips is True:
            lpips = LPIPS("alex")
        self.lpips = lpips if isinstance(lpips, LPIPS) else None
        self.add_state("frame_keys", default=[], dist_reduce_fx="cat")
        self.add_state("frame_scores", default=[], dist_reduce_fx="cat")

    @property
    def score_names(self) -> tuple[str, ...]:
        """Scores that ``compute`` reports, in the order they are stored."""
        return tuple(name for name in SCORES if self.lpips is not None or name != "lpips")

    @torch.no_grad()
    def update(
        self,
        predicted_BT3HW: Tensor,
        alphas_BT1HW: Tensor,
        images_BT3HW: Tensor,
        masks_BT1HW: Tensor,
        subjects: Sequence[str],
        frames: Sequence[Sequence[str]],
    ) -> None:
        """Score the frames of a batch.

        Args:
            predicted_BT3HW: Renderings over white, sRGB.
            alphas_BT1HW: Rendered opacity.
            images_BT3HW: True images, sRGB.
            masks_BT1HW: True masks.
            subjects: Subject of each row.
            frames: ``"sequence/camera/frame"`` of each row and target.
        """
        shape = tuple(images_BT3HW.shape)
        check_shape("predicted_BT3HW", predicted_BT3HW, shape)
        check_shape("alphas_BT1HW", alphas_BT1HW, (*shape[:2], 1, *shape[3:]))
        check_shape("masks_BT1HW", masks_BT1HW, (*shape[:2], 1, *shape[3:]))
        keys = [
            [_key(subject), _key(f"{subject}/{frame}")]
            for subject, row in zip(subjects, frames, strict=True)
            for frame in row
        ]
        images = (predicted_BT3HW, alphas_BT1HW, images_BT3HW, masks_BT1HW)
        scores = self.score(*(part.flatten(0, 1) for part in images))
        self.frame_keys.append(torch.tensor(keys, dtype=torch.long, device=scores.device))
        self.frame_scores.append(scores)

    @torch.no_grad()
    def score(
        self, predicted_n3HW: Tensor, alphas_n1HW: Tensor, images_n3HW: Tensor, masks_n1HW: Tensor
    ) -> Tensor:
        """Scores of each image, ``(n, len(score_names))``, double; NaN where the mask is empty."""
        mask = (masks_n1HW > 0.5).double()
        difference = mask * (predicted_n3HW.double() - images_n3HW.double())
        area = mask.sum(dim=(1, 2, 3))
        inside = 3 * area.masked_fill(area == 0, torch.nan)
        absolute, squared = difference.abs().sum(dim=(1, 2, 3)), difference.square().sum(dim=(1, 2, 3))
        alpha = alphas_n1HW.double()
        covered = (alpha > 0.5).double()
        union = torch.maximum(covered, mask).sum(dim=(1, 2, 3))
        scores = {
            "psnr": -10 * (squared / inside).clamp_min(LOWEST_SQUARED_ERROR).log10(),
            "l1": absolute / inside,
            "l1_full": absolute / (3 * mask[0].numel()),
            "alpha_iou": (covered * mask).sum(dim=(1, 2, 3)) / union,
            "energy_outside": ((1 - mask) * alpha).sum(dim=(1, 2, 3))
            / alpha.sum(dim=(1, 2, 3)).clamp_min(1e-12),
        }
        if self.lpips is not None:
            scores["lpips"] = self._perceptual(self.lpips, predicted_n3HW, images_n3HW, masks_n1HW)
        scores = {name: value.masked_fill(area == 0, torch.nan) for name, value in scores.items()}
        return torch.stack([scores[name] for name in self.score_names], dim=1)

    def _perceptual(
        self, lpips: LPIPS, predicted_n3HW: Tensor, images_n3HW: Tensor, masks_n1HW: Tensor
    ) -> Tensor:
        boxes = [mask_box(mask) for mask in masks_n1HW[:, 0]]
        binary = (masks_n1HW > 0.5).to(images_n3HW.dtype)
        white = torch.ones_like(images_n3HW[:, :, 0, 0])
        crops = [
            crop_squares(binary * images + (1 - binary), boxes, self.lpips_size, white).clamp(0, 1)
            for images in (predicted_n3HW.to(images_n3HW), images_n3HW)
        ]
        pairs = zip(*crops, strict=True)  # one at a time: at 512 px a batch of features would not be small
        with torch.autocast(images_n3HW.device.type, enabled=False):  # scores do not depend on the precision
            return torch.cat([lpips(mine[None], true[None]) for mine, true in pairs]).double()

    def compute(self) -> dict[str, Tensor]:
        """Mean scores.

        Returns:
            Each score, the ``frames`` and ``subjects`` that count, and ``frames_without_mask`` left out.

        Raises:
            DataError: Nothing was scored.
        """
        keys, values = _concatenated(self.frame_keys), _concatenated(self.frame_scores)
        if keys is None or values is None:
            raise DataError("No frame was evaluated; the test split is empty or every mask in it is.")
        rows = _first_of_each(keys[:, 1])
        keys, values = keys[rows], values[rows]
        seen = ~values[:, 0].isnan()
        if not bool(seen.any()):
            raise DataError("No frame was evaluated; every mask of the test split is empty.")
        subjects, index = keys[seen, 0].unique(return_inverse=True)
        sums = values.new_zeros(len(subjects), values.shape[1]).index_add_(0, index, values[seen])
        means = (sums / index.bincount()[:, None]).mean(0)
        counts = {
            "frames": seen.sum(),
            "subjects": torch.tensor(len(subjects)),
            "frames_without_mask": (~seen).sum(),
        }
        return {**dict(zip(self.score_names, means.float(), strict=True)), **counts}


def _key(text: str) -> int:
    """A 63-bit digest: strings cannot be gathered over processes, integers can."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def _concatenated(state: list[Tensor] | Tensor) -> Tensor | None:
    """A list state before, or one tensor after synchronisation."""
    if isinstance(state, Tensor):
        return state
    return torch.cat(state) if state else None


def _first_of_each(keys_n: Tensor) -> Tensor:
    """Index of the first occurrence of each key."""
    order = torch.argsort(keys_n, stable=True)
    ordered = keys_n[order]
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return order[first]
