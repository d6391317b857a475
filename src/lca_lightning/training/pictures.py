"""Pictures of what the model sees and makes, as plain tensors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lca_lightning.batch import Batch
from lca_lightning.datasets.pictures import to_uint8
from lca_lightning.model.avatar_model import AvatarOutput

COLUMNS = ("references", "target", "animated", "canonical", "error", "mask")


@dataclass(frozen=True)
class Rendered:
    """Detached renderings of one batch.

    Args:
        animated_BT3HW: With pose correctives.
        canonical_BT3HW: Without.
        alphas_BT1HW: Opacity of the animated ones.
        background_BT3: Colour behind both.
    """

    animated_BT3HW: Tensor
    canonical_BT3HW: Tensor
    alphas_BT1HW: Tensor
    background_BT3: Tensor

    @staticmethod
    def of(output: AvatarOutput) -> Rendered:
        """Take them out of the model's output."""
        return Rendered(
            output.animated.images_BT3HW.detach(),
            output.canonical.images_BT3HW.detach(),
            output.animated.alphas_BT1HW.detach(),
            output.background_BT3.detach(),
        )


def picture_row(batch: Batch, rendered: Rendered, subject: int, frame: int, references: int = 2) -> Tensor:
    """Lay out one target frame: references, target, animated, canonical, error, mask of prediction and truth.

    Args:
        batch: On any device.
        rendered: The same batch's renderings.
        subject: Row ``b``.
        frame: Target ``t``.
        references: How many reference photos to show; missing ones stay grey.

    Returns:
        Float sRGB picture ``(3, H, (references + 5) W)`` on the CPU.
    """
    target_3HW = batch.targets.images_BT3HW[subject, frame].float().cpu()
    mask_1HW = batch.targets.masks_BT1HW[subject, frame].float().cpu()
    height, width = target_3HW.shape[-2:]
    background_311 = rendered.background_BT3[subject, frame].float().cpu()[:, None, None]
    composed = mask_1HW * target_3HW + (1.0 - mask_1HW) * background_311
    animated = rendered.animated_BT3HW[subject, frame].float().cpu()
    canonical = rendered.canonical_BT3HW[subject, frame].float().cpu()
    error = (animated - composed).abs().mean(dim=0, keepdim=True).mul(3.0).expand(3, -1, -1)
    alpha_1HW = rendered.alphas_BT1HW[subject, frame].float().cpu()
    masks = torch.cat([alpha_1HW, mask_1HW, mask_1HW])  # cyan: missed, red: too much, white: agreed
    tiles = [*_reference_tiles(batch, subject, references, height, width)]
    tiles += [composed, animated, canonical, error, masks]
    return torch.cat([tile.clamp(0.0, 1.0) for tile in tiles], dim=2)


def report_pictures(
    batch: Batch, rendered: Rendered, subject: int, frame: int, references: int = 4
) -> dict[str, np.ndarray]:
    """One target frame as reports show it: references, truth and prediction over white, error, masks.

    Args:
        batch: On any device.
        rendered: The same batch's renderings, over white.
        subject: Row ``b``.
        frame: Target ``t``.
        references: How many reference photos to show at most.

    Returns:
        uint8 sRGB pictures ``(H, W, 3)`` by what they show; the truth is cut out by its mask at 0.5.
    """
    target_3HW = batch.targets.images_BT3HW[subject, frame].float().cpu()
    person_1HW = batch.targets.masks_BT1HW[subject, frame].cpu() > 0.5
    truth = torch.where(person_1HW, target_3HW, torch.ones_like(target_3HW))
    prediction = rendered.animated_BT3HW[subject, frame].float().cpu()
    error = (prediction - truth).abs().mean(dim=0, keepdim=True).mul(3.0).expand(3, -1, -1)
    height, width = target_3HW.shape[-2:]
    count = min(references, int(batch.references.view_mask_BV[subject].sum()))
    photos = _reference_tiles(batch, subject, count, height, width)
    pictures = {f"reference {number + 1}": photo for number, photo in enumerate(photos)}
    masks = torch.cat([rendered.alphas_BT1HW[subject, frame].float().cpu(), *[person_1HW.float()] * 2])
    pictures |= {"truth": truth, "prediction": prediction, "error × 3": error, "masks": masks}
    return {label: to_uint8(picture) for label, picture in pictures.items()}


def picture_grid(batch: Batch, rendered: Rendered, rows: int) -> Tensor:
    """Stack the first target frames of a batch, one row each.

    Args:
        batch: The batch.
        rendered: Its renderings.
        rows: Number of rows at most.

    Returns:
        Float sRGB picture ``(3, rows H, columns W)`` on the CPU.
    """
    subjects, frames = batch.targets.images_BT3HW.shape[:2]
    places = [(subject, frame) for frame in range(frames) for subject in range(subjects)][:rows]
    return torch.cat([picture_row(batch, rendered, *place) for place in places], dim=1)


def batch_grid(batch: Batch, references: int = 4) -> Tensor:
    """Lay out what a batch holds, one row a subject: reference photos, then all targets.

    Args:
        batch: On the CPU; pixels that are not finite are shown in magenta.
        references: How many reference photos to show.

    Returns:
        Float sRGB picture ``(3, B H, (references + T) W)``.
    """
    height, width = batch.targets.images_BT3HW.shape[-2:]
    rows = []
    for subject, targets_T3HW in enumerate(batch.targets.images_BT3HW.float()):
        photos = _reference_tiles(batch, subject, references, height, width)
        rows.append(torch.cat([*photos, *targets_T3HW], dim=2))
    grid_3HW = torch.cat(rows, dim=1)
    magenta_311 = torch.tensor([1.0, 0.0, 1.0])[:, None, None]
    return torch.where(torch.isfinite(grid_3HW).all(dim=0), grid_3HW, magenta_311).clamp(0.0, 1.0)


def _reference_tiles(batch: Batch, subject: int, count: int, height: int, width: int) -> list[Tensor]:
    """Fit the first reference photos into tiles of the target's size, the rest grey."""
    photos_V3HW = batch.references.body_BV3HW[subject].float().cpu()
    real = torch.nonzero(batch.references.view_mask_BV[subject].cpu()).flatten().tolist()
    tiles = []
    for slot in range(count):
        tile = torch.full((3, height, width), 0.5)
        if slot < len(real):
            tile = _fitted(photos_V3HW[real[slot]], tile)
        tiles.append(tile)
    return tiles


def _fitted(photo_3HW: Tensor, tile_3HW: Tensor) -> Tensor:
    """Shrink or grow a photo into the middle of a tile, keeping its shape."""
    height, width = tile_3HW.shape[-2:]
    factor = min(height / photo_3HW.shape[1], width / photo_3HW.shape[2])
    size = (max(1, int(photo_3HW.shape[1] * factor)), max(1, int(photo_3HW.shape[2] * factor)))
    small = functional.interpolate(photo_3HW[None], size, mode="bilinear", antialias=True)[0]
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    tile_3HW[:, top : top + size[0], left : left + size[1]] = small
    return tile_3HW
