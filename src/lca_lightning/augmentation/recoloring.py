"""Colour channels exchanged and bent, so that only the photos tell what colours a person wears."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lca_lightning.augmentation.configuration import AugmentationConfig
from lca_lightning.batch import Batch
from lca_lightning.errors import check_shape


@dataclass(frozen=True)
class Recoloring:
    """What happens to the colour channels of each subject.

    Args:
        channels_B3: Which channel each new one is taken from, integers, ``(B, 3)``.
        gammas_B3: Exponent of each new channel, positive, ``(B, 3)``.
    """

    channels_B3: Tensor
    gammas_B3: Tensor


def draw_recoloring(config: AugmentationConfig, generators: Sequence[torch.Generator]) -> Recoloring:
    """Draw which subjects are recoloured, and how; equally many numbers are drawn whatever the outcome.

    Args:
        config: Probability and strength.
        generators: A generator on the CPU for each subject.

    Returns:
        The draws, on the CPU; subjects that stay as they are keep their channels with exponents of 1.
    """
    channels = torch.stack([torch.randperm(3, generator=generator) for generator in generators])
    uniform = torch.stack([torch.rand(4, generator=generator) for generator in generators])
    gammas = config.largest_gamma ** (2 * uniform[:, :3] - 1)
    unchanged = uniform[:, 3] >= config.recolor_probability
    channels[unchanged], gammas[unchanged] = torch.arange(3), 1.0
    return Recoloring(channels, gammas)


def recolor(batch: Batch, recoloring: Recoloring) -> Batch:
    """Exchange and bend the colour channels of some subjects, the same way in references and targets.

    White stays white and black stays black, so backgrounds are what they were.

    Args:
        batch: Images in [0, 1].
        recoloring: The draws.

    Returns:
        A batch with new colours; poses, masks and cameras are shared with the old one.
    """
    channels, gammas = recoloring.channels_B3, recoloring.gammas_B3
    check_shape("channels_B3", channels, (batch.size, 3))
    check_shape("gammas_B3", gammas, (batch.size, 3))
    if torch.equal(channels, torch.arange(3).expand_as(channels)) and bool((gammas == 1.0).all()):
        return batch
    references, targets = batch.references, batch.targets
    return replace(
        batch,
        references=replace(
            references,
            body_BV3HW=bend_channels(references.body_BV3HW, channels, gammas),
            face_BV3hw=bend_channels(references.face_BV3hw, channels, gammas),
        ),
        targets=replace(targets, images_BT3HW=bend_channels(targets.images_BT3HW, channels, gammas)),
    )


def bend_channels(images_BN3HW: Tensor, channels_B3: Tensor, gammas_B3: Tensor) -> Tensor:
    """Exchange the colour channels of each subject's pictures and bend them by a power.

    Args:
        images_BN3HW: sRGB, brought to [0, 1] first.
        channels_B3: Which channel each one is taken from.
        gammas_B3: Exponent of each channel.

    Returns:
        Pictures of the same shape.
    """
    device = images_BN3HW.device
    rows = torch.arange(len(images_BN3HW), device=device)[:, None]
    exchanged = images_BN3HW.transpose(1, 2)[rows, channels_B3.to(device)].transpose(1, 2)
    return exchanged.clamp(0, 1) ** gammas_B3.to(exchanged)[:, None, :, None, None]
