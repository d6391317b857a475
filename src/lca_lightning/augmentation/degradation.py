"""Blur, sensor noise and compression of pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lca_lightning.augmentation.compression import compress
from lca_lightning.augmentation.configuration import DegradationConfig
from lca_lightning.augmentation.draws import draw_uniform, spread

_WORD = 0xFFFFFFFF


@dataclass(frozen=True)
class Degradation:
    """How each picture suffers.

    Args:
        blur_BN: Standard deviation in pixels.
        noise_BN: Standard deviation of colours.
        quality_BN: Of the compression; 100 or more compresses nothing.
        seed_BN: Of the noise, integers below 2**31.
    """

    blur_BN: Tensor
    noise_BN: Tensor
    quality_BN: Tensor
    seed_BN: Tensor

    def to(self, device: torch.device) -> Degradation:
        """The same on a device."""
        strengths = torch.stack([self.blur_BN, self.noise_BN, self.quality_BN])
        blur_BN, noise_BN, quality_BN = strengths.to(device, non_blocking=True).unbind(0)
        return Degradation(blur_BN, noise_BN, quality_BN, self.seed_BN.to(device, non_blocking=True))


def draw_degradation(
    config: DegradationConfig, place: str, samples: Sequence[int], kind: str, pictures: int
) -> Degradation | None:
    """Draw how pictures suffer.

    Args:
        config: Probability and strengths.
        place: Seed, step and accumulation part.
        samples: Numbers of the samples.
        kind: Of the pictures.
        pictures: Pictures ``N`` of each sample.

    Returns:
        On the CPU; None where no picture does.
    """
    uniform = draw_uniform(place, samples, f"degradation/{kind}", pictures, 5)
    suffers = uniform[..., 0] < config.probability
    if not suffers.any():
        return None
    quality = spread(uniform[..., 3], config.lowest_quality, 100.0)
    return Degradation(
        uniform[..., 1] * config.blur * suffers,
        uniform[..., 2] * config.noise * suffers,
        torch.where(suffers, quality, 100.0),
        (uniform[..., 4].double() * 2**31).long(),
    )


def degrade(
    images_BN3HW: Tensor, matte_BN1HW: Tensor | None, degradation: Degradation, config: DegradationConfig
) -> Tensor:
    """Blur, add noise and compress, where the person is.

    Args:
        images_BN3HW: sRGB in [0, 1].
        matte_BN1HW: How much of each pixel is the person; the rest stays. None changes all pixels.
        degradation: On the images' device.
        config: Says which effects there are at all.
    """
    flat = images_BN3HW.flatten(0, 1)
    changed = flat
    if config.blur > 0:
        changed = blur(changed, degradation.blur_BN.flatten(), config.blur)
    if config.noise > 0:
        noise = hashed_noise(degradation.seed_BN.flatten(), changed.shape[1:])
        changed = (changed + noise * degradation.noise_BN.flatten()[:, None, None, None]).clamp(0, 1)
    if config.lowest_quality < 100:
        quality = degradation.quality_BN.flatten()
        lossy = (quality < 100)[:, None, None, None]
        changed = torch.where(lossy, compress(changed, quality), changed)
    suffers = (degradation.blur_BN > 0) | (degradation.noise_BN > 0) | (degradation.quality_BN < 100)
    room = suffers[..., None, None, None].to(images_BN3HW)
    if matte_BN1HW is not None:
        room = room * matte_BN1HW
    return images_BN3HW + room * (changed.view_as(images_BN3HW) - images_BN3HW)


def blur(images_nCHW: Tensor, sigma_n: Tensor, largest: float) -> Tensor:
    """Gaussian blur, edges repeated.

    Args:
        images_nCHW: Any channels.
        sigma_n: Standard deviation of each picture in pixels; 0 leaves it as it is.
        largest: Bound of ``sigma_n``, which sets the window.
    """
    count, channels, height, width = images_nCHW.shape
    radius = min(math.ceil(3 * largest), height - 1, width - 1)
    taps = torch.arange(-radius, radius + 1, device=images_nCHW.device, dtype=images_nCHW.dtype)
    kernel = torch.exp(-0.5 * (taps / sigma_n.clamp(min=1e-3)[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)[:, None]  # (nC, 1, taps)
    flat = images_nCHW.reshape(1, count * channels, height, width)
    flat = functional.pad(flat, (radius, radius, radius, radius), mode="replicate")
    flat = functional.conv2d(flat, kernel[..., None, :], groups=count * channels)
    flat = functional.conv2d(flat, kernel[..., None], groups=count * channels)
    return flat.view_as(images_nCHW)


def hashed_noise(seed_n: Tensor, shape: Sequence[int]) -> Tensor:
    """Normal noise that depends on the seed and the pixel alone, whatever the device and the batch.

    Args:
        seed_n: Integers below 2**31.
        shape: Of each picture.

    Returns:
        ``(n, *shape)``, variance 1, by an integer hash of 32 bits.
    """
    counter = torch.arange(math.prod(shape), device=seed_n.device)
    word = _mix(counter + _mix(seed_n)[:, None])
    uniform = ((word >> 8).float() + 0.5) / 2**24
    return (math.sqrt(2) * torch.erfinv(2 * uniform - 1)).view(len(seed_n), *shape)


def _mix(word: Tensor) -> Tensor:
    """Scatter the bits of integers below 2**33; products wrap in 64 bits, which keeps the low 32 exact."""
    word = word & _WORD
    word = ((word ^ (word >> 16)) * 0x7FEB352D) & _WORD
    word = ((word ^ (word >> 15)) * 0x846CA68B) & _WORD
    return word ^ (word >> 16)
