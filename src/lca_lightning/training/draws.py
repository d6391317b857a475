"""Random draws of a training step, as a function of the seed, the step and the sample's number.

Those of augmentation are made likewise, by `lca_lightning.augmentation`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch import Tensor

from lca_lightning.augmentation.draws import draw_generators, seed_of

__all__ = ["StepDraws", "draw_step", "seed_of", "step_place"]


@dataclass(frozen=True)
class StepDraws:
    """What chance decides in one step, on the CPU.

    Args:
        on_template_B: True where base points sit on the template instead of the subject's surface.
        background_BT3: sRGB colour behind each target frame, in [0, 1].
    """

    on_template_B: Tensor
    background_BT3: Tensor


def draw_step(
    place: str,
    first_sample: int,
    subjects: int,
    frames: int,
    identity_dropout: float,
) -> StepDraws:
    """Draw for the samples of one process; how samples are spread over processes changes nothing.

    Args:
        place: Seed, step and accumulation part, by ``step_place``.
        first_sample: Number of the first sample within the global batch, ``rank * B``.
        subjects: Samples ``B`` of this process.
        frames: Target frames ``T`` of each sample.
        identity_dropout: Probability that base points sit on the template.

    Returns:
        The draws of samples ``first_sample`` to ``first_sample + B - 1``.
    """
    samples = range(first_sample, first_sample + subjects)
    generators = draw_generators(place, samples, "step")
    dropped = torch.cat([torch.rand(1, generator=generator) for generator in generators])
    background = torch.stack([torch.rand(frames, 3, generator=generator) for generator in generators])
    return StepDraws(dropped < identity_dropout, background)


def step_place(step: int, part: int) -> str:
    """Name a step for ``draw_step``: the run's seed, the optimiser step and the accumulation part."""
    return f"{os.environ.get('PL_GLOBAL_SEED', '0')}/{step}/{part}"
