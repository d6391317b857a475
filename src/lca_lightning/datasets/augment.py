"""Augmentation of whole batches, on the device they are on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lca_lightning.batch import Batch
from lca_lightning.errors import ConfigError


@dataclass
class AugmentationConfig:
    """What is changed in training batches; nothing by default.

    Args:
        recolor_probability: Share of subjects whose colours are changed, in references and targets alike, so
            that what a photo shows is the only way to know them (ours; the paper distorts photometrically).
        largest_gamma: Exponent of the strongest change of a colour channel, at least 1.
    """

    recolor_probability: float = 0.0
    largest_gamma: float = 1.8

    def __post_init__(self) -> None:
        if not 0.0 <= self.recolor_probability <= 1.0:
            raise ConfigError(
                f"model.augmentation.recolor_probability must lie in [0, 1], got {self.recolor_probability}."
            )
        if self.largest_gamma < 1.0:
            raise ConfigError(
                f"model.augmentation.largest_gamma must be at least 1, got {self.largest_gamma}."
            )


def recolor(batch: Batch, config: AugmentationConfig) -> Batch:
    """Exchange and bend the colour channels of some subjects, the same way in references and targets.

    White stays white and black stays black, so backgrounds are what they were. Draws from torch's global
    generator, which the training step seeds.

    Args:
        batch: Images in [0, 1].
        config: Probability and strength.

    Returns:
        A batch with new colours; poses, masks and cameras are shared with the old one.
    """
    if config.recolor_probability == 0.0:
        return batch
    channels = torch.stack([torch.randperm(3) for _ in range(batch.size)])
    gammas = config.largest_gamma ** (2 * torch.rand(batch.size, 3) - 1)
    unchanged = torch.rand(batch.size) >= config.recolor_probability
    channels[unchanged], gammas[unchanged] = torch.arange(3), 1.0
    references, targets = batch.references, batch.targets
    return replace(
        batch,
        references=replace(
            references,
            body_BV3HW=_bend(references.body_BV3HW, channels, gammas),
            face_BV3hw=_bend(references.face_BV3hw, channels, gammas),
        ),
        targets=replace(targets, images_BT3HW=_bend(targets.images_BT3HW, channels, gammas)),
    )


def _bend(images_BN3HW: Tensor, channels_B3: Tensor, gammas_B3: Tensor) -> Tensor:
    device = images_BN3HW.device
    rows = torch.arange(len(images_BN3HW), device=device)[:, None]
    exchanged = images_BN3HW.transpose(1, 2)[rows, channels_B3.to(device)].transpose(1, 2)
    return exchanged.clamp(0, 1) ** gammas_B3.to(exchanged)[:, None, :, None, None]
