"""Something else behind the person: colours, smooth noise or pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from lca_lightning.augmentation.backdrop import Backdrop
from lca_lightning.augmentation.configuration import BackgroundConfig
from lca_lightning.augmentation.draws import draw_uniform
from lca_lightning.augmentation.picture_bank import PictureBank
from lca_lightning.augmentation.reframing import Frames, resample
from lca_lightning.batch import Batch

NOISE_CELLS = 6  # of smooth noise along each axis


@dataclass(frozen=True)
class Backgrounds:
    """What comes behind each picture.

    Args:
        chosen_BN: Whether anything does.
        kind_BN: Index into the configured kinds.
        cells_BN3nn: Colours of smooth noise; the first is the constant colour.
        picture_BN4: Which picture, size and place of the window in it; all in [0, 1).
    """

    chosen_BN: Tensor
    kind_BN: Tensor
    cells_BN3nn: Tensor
    picture_BN4: Tensor

    def to(self, device: torch.device) -> Backgrounds:
        """The same on a device."""
        return Backgrounds(*(part.to(device, non_blocking=True) for part in vars(self).values()))


def draw_backgrounds(
    config: BackgroundConfig, place: str, samples: Sequence[int], kind: str, pictures: int
) -> Backgrounds | None:
    """Draw what comes behind pictures.

    Args:
        config: Probability and kinds.
        place: Seed, step and accumulation part.
        samples: Numbers of the samples.
        kind: Of the pictures, references or targets.
        pictures: Pictures ``N`` of each sample.

    Returns:
        On the CPU; None where nothing changes.
    """
    cells = 3 * NOISE_CELLS**2
    uniform = draw_uniform(place, samples, f"background/{kind}", pictures, 6 + cells)
    chosen = uniform[..., 0] < config.probability
    if not chosen.any():
        return None
    return Backgrounds(
        chosen,
        (uniform[..., 1] * len(config.kinds)).long(),
        uniform[..., 6:].unflatten(-1, (3, NOISE_CELLS, NOISE_CELLS)),
        uniform[..., 2:6],
    )


def paint_backgrounds(
    backgrounds: Backgrounds, kinds: Sequence[str], bank: PictureBank | None, size: tuple[int, int]
) -> Tensor:
    """Make the pictures that come behind, ``(B, N, 3, *size)`` in [0, 1].

    Args:
        backgrounds: On the device of the result.
        kinds: As configured.
        bank: Pictures, where a kind needs them.
        size: Height and width in pixels.
    """
    rows, count = backgrounds.kind_BN.shape
    cells = backgrounds.cells_BN3nn
    painted = cells[..., :1, :1].expand(rows, count, 3, *size)
    for index, kind in enumerate(kinds):
        if kind == "color":
            continue
        if kind == "noise":
            one = functional.interpolate(cells.flatten(0, 1), size, mode="bicubic", align_corners=False)
            one = one.clamp(0, 1).unflatten(0, (rows, count))
        else:
            assert bank is not None
            one = _window(bank, backgrounds.picture_BN4, size)
        painted = torch.where((backgrounds.kind_BN == index)[..., None, None, None], one, painted)
    return painted


def behind_references(images_BN3HW: Tensor, backdrop: Backdrop, painted: Tensor, chosen_BN: Tensor) -> Tensor:
    """Exchange the constant colour behind the person, exactly also at soft edges."""
    room = (1 - backdrop.matte_BN1HW) * chosen_BN[..., None, None, None]
    return (images_BN3HW + room * (painted - backdrop.color_BN3[..., None, None])).clamp(0, 1)


def behind_targets(batch: Batch, painted: Tensor, chosen_BT: Tensor) -> Batch:
    """Put pictures behind targets, and their linear light behind linear ones; only where fully lit.

    Args:
        batch: Any batch.
        painted: sRGB in [0, 1], ``(B, T, 3, H, W)``.
        chosen_BT: Which targets.
    """
    targets, lighting = batch.targets, batch.lighting
    if lighting is not None:
        chosen_BT = chosen_BT & lighting.fully_lit_BT
    room = (1 - targets.masks_BT1HW) * chosen_BT[..., None, None, None]
    images = targets.images_BT3HW + room * (painted - targets.images_BT3HW)
    if lighting is not None:
        linear = lighting.linear_images_BT3HW
        lighting = replace(lighting, linear_images_BT3HW=linear + room * (srgb_to_linear(painted) - linear))
    return replace(batch, targets=replace(targets, images_BT3HW=images), lighting=lighting)


def srgb_to_linear(images: Tensor) -> Tensor:
    """Linear light of sRGB values in [0, 1] (IEC 61966-2-1)."""
    return torch.where(images <= 0.04045, images / 12.92, ((images.clamp(min=0) + 0.055) / 1.055) ** 2.4)


def _window(bank: PictureBank, draws_BN4: Tensor, size: tuple[int, int]) -> Tensor:
    """A part of a picture of the bank, in the shape asked for, at least half as large as fits."""
    pictures = bank.on(draws_BN4.device)
    index = (draws_BN4[..., 0] * len(pictures)).long().clamp(max=len(pictures) - 1)
    fits = torch.tensor([size[1], size[0]], dtype=torch.float32) / max(size)  # on the CPU: two numbers
    share = torch.stack([float(side) * (0.5 + 0.5 * draws_BN4[..., 1]) for side in fits.tolist()], -1)
    start = draws_BN4[..., 2:] * (1 - share)
    frames = Frames(1 / share, -start / share)
    return resample(pictures[index].float() / 255, frames, size)
