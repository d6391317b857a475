"""Chance as a function of a place: the run's seed, the step, the sample's number and what is drawn."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor


def seed_of(place: str) -> int:
    """Turn a name into a seed that has nothing to do with those of similar names."""
    return random.Random(place).getrandbits(63)


def draw_generators(place: str, samples: Sequence[int], kind: str) -> list[torch.Generator]:
    """A generator on the CPU for each sample.

    Args:
        place: Seed, step and accumulation part.
        samples: Numbers of the samples within the global batch.
        kind: What is drawn, so that kinds do not disturb each other.
    """
    return [torch.Generator().manual_seed(seed_of(f"{place}/{sample}/{kind}")) for sample in samples]


def draw_uniform(place: str, samples: Sequence[int], kind: str, pictures: int, numbers: int) -> Tensor:
    """Numbers in [0, 1) for each picture of each sample; further pictures change none of the earlier ones.

    Args:
        place: Seed, step and accumulation part.
        samples: Numbers of the samples within the global batch.
        kind: What is drawn.
        pictures: Pictures ``N`` of each sample.
        numbers: Numbers for each picture.

    Returns:
        ``(B, N, numbers)`` on the CPU.
    """
    generators = draw_generators(place, samples, kind)
    return torch.stack([torch.rand(pictures, numbers, generator=generator) for generator in generators])


def spread(uniform: Tensor, low: float, high: float) -> Tensor:
    """Uniform numbers in [0, 1) to [low, high)."""
    return low + uniform * (high - low)
