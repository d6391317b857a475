"""Photometric distortion: one affine map and one exponent per picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lca_lightning.augmentation.backdrop import Backdrop
from lca_lightning.augmentation.configuration import ColorsConfig
from lca_lightning.augmentation.draws import draw_uniform, spread
from lca_lightning.batch import Batch

_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class ColorChange:
    """``new = clamp(matrix old + bias) ** exponent``.

    Args:
        matrix_BN33: Brightness, contrast, saturation and hue.
        bias_BN3: Of the contrast.
        exponent_BN: Gamma.
    """

    matrix_BN33: Tensor
    bias_BN3: Tensor
    exponent_BN: Tensor

    def to(self, device: torch.device) -> ColorChange:
        """The same change on a device."""
        flat = [self.matrix_BN33.flatten(-2), self.bias_BN3, self.exponent_BN[..., None]]
        packed = torch.cat(flat, -1).to(device, non_blocking=True)
        return ColorChange(packed[..., :9].unflatten(-1, (3, 3)), packed[..., 9:12], packed[..., 12])

    @property
    def changes(self) -> bool:
        """Whether any picture changes; asked of draws on the CPU."""
        eye = torch.eye(3).expand_as(self.matrix_BN33)
        return not torch.equal(self.matrix_BN33, eye) or bool((self.exponent_BN != 1).any())


def draw_colors(config: ColorsConfig, place: str, samples: Sequence[int], pictures: int) -> ColorChange:
    """Draw how colours change.

    Args:
        config: Probability and strengths.
        place: Seed, step and accumulation part.
        samples: Numbers of the samples.
        pictures: Pictures ``N`` of each sample that change each in its own way.

    Returns:
        Changes on the CPU; pictures that stay as they are have the identity.
    """
    uniform = draw_uniform(place, samples, "colors", pictures, 6)
    sizes = (config.brightness, config.contrast, config.saturation)
    brightness, contrast, saturation = (
        spread(uniform[..., 1 + index], 1 - size, 1 + size) for index, size in enumerate(sizes)
    )
    angle = 2 * math.pi * spread(uniform[..., 4], -config.hue, config.hue)
    exponent = config.largest_gamma ** spread(uniform[..., 5], -1.0, 1.0)
    matrix = (brightness * contrast)[..., None, None] * _saturate(saturation) @ _turn_hue(angle)
    bias = (0.5 * brightness * (1 - contrast))[..., None].expand(*contrast.shape, 3)
    changed = uniform[..., 0] < config.probability
    return ColorChange(
        torch.where(changed[..., None, None], matrix, torch.eye(3)),
        bias * changed[..., None],
        torch.where(changed, exponent, 1.0),
    )


def change_colors(images_BN3HW: Tensor, change: ColorChange) -> Tensor:
    """Apply a change to every pixel; one that is the identity leaves values in [0, 1] as they are."""
    affine = torch.einsum("bnij,bnjhw->bnihw", change.matrix_BN33, images_BN3HW)
    affine = affine + change.bias_BN3[..., None, None]
    changed = affine.clamp(0, 1) ** change.exponent_BN[..., None, None, None]
    # matrices may be multiplied in TF32: what is to stay, stays to the bit
    eye = torch.eye(3, device=images_BN3HW.device)
    kept = (change.matrix_BN33 == eye).flatten(-2).all(-1) & (change.exponent_BN == 1)
    return torch.where(kept[..., None, None, None], images_BN3HW, changed)


def recolor_people(images_BN3HW: Tensor, backdrop: Backdrop | None, change: ColorChange) -> Tensor:
    """Change the person and keep the constant colour behind it, soft edges included.

    Args:
        images_BN3HW: ``matte * person + (1 - matte) * colour``.
        backdrop: Matte and colour; None where unknown, then all pixels change.
        change: What happens.
    """
    changed = change_colors(images_BN3HW, change)
    if backdrop is None:
        return changed
    color = backdrop.color_BN3[..., None, None]
    return (changed + (1 - backdrop.matte_BN1HW) * (color - change_colors(color, change))).clamp(0, 1)


def distort_colors(
    batch: Batch, change: ColorChange, body: Backdrop | None, face: Backdrop | None, both: bool
) -> Batch:
    """Distort references, or references and targets alike.

    Args:
        batch: Any batch.
        change: Of each view, or of each subject (``N = 1``) where both change; on the CPU.
        body: What is behind the person in references, None where unknown.
        face: The same for close-ups.
        both: Whether targets change too.
    """
    if not change.changes:
        return batch
    change = change.to(batch.identity_BI.device)
    references, targets = batch.references, batch.targets
    references = replace(
        references,
        body_BV3HW=recolor_people(references.body_BV3HW, body, change),
        face_BV3hw=recolor_people(references.face_BV3hw, face, change),
    )
    if both:
        targets = replace(targets, images_BT3HW=change_colors(targets.images_BT3HW, change))
    return replace(batch, references=references, targets=targets)


def _saturate(factor_BN: Tensor) -> Tensor:
    """Matrix that scales distances from grey."""
    grey = torch.tensor(_LUMA).expand(3, 3)
    factor = factor_BN[..., None, None]
    return factor * torch.eye(3) + (1 - factor) * grey


def _turn_hue(angle_BN: Tensor) -> Tensor:
    """Rotation about the axis of greys, by Rodrigues' formula."""
    axis = torch.full((3,), 3**-0.5)
    cross = torch.linalg.cross(torch.eye(3), axis.expand(3, 3), dim=1)
    angle = angle_BN[..., None, None]
    return angle.cos() * torch.eye(3) + angle.sin() * cross + (1 - angle.cos()) * torch.outer(axis, axis)
