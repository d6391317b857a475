"""Numbers of samples and what may be drawn, as pure functions of the seed and the sample's number.

The number of a sample is ``(step * world_size + rank) * batch_size + slot``: it depends neither on the number
of loading workers nor on what was drawn before. A run that resumes at a step sees what the straight run saw.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lca_lightning.datasets.frame_store import Shot

_VIEWS, _SHOTS, _SOURCES = 1, 2, 3  # separate streams of random numbers


@dataclass(frozen=True)
class Take:
    """What may be drawn from one sequence.

    Args:
        cameras: Camera names ``C``; every one has at least one usable frame.
        usable_CT: True where a camera's frame may be used.
        yaw_CT: Direction of the camera about the person's vertical axis, radians, 0 in front of the person;
            None where it is unknown.
        sharpness_CT: How sharp the person is; None where it was not measured.
        face_CT: True where a face is seen; None where faces were not looked for.
        reference_T: Frames that may serve as references; None for all.
    """

    cameras: tuple[str, ...]
    usable_CT: np.ndarray
    yaw_CT: np.ndarray | None = None
    sharpness_CT: np.ndarray | None = None
    face_CT: np.ndarray | None = None
    reference_T: np.ndarray | None = None

    def frames(self, camera: int) -> np.ndarray:
        """Usable frame indices of one camera, ascending."""
        return np.flatnonzero(self.usable_CT[camera])

    def reference_frames(self, camera: int) -> np.ndarray:
        """Frame indices of one camera that may serve as references, ascending."""
        usable = self.usable_CT[camera]
        return np.flatnonzero(usable if self.reference_T is None else usable & self.reference_T)


@dataclass(frozen=True)
class Draw:
    """References and targets of one sample."""

    references: tuple[Shot, ...]
    targets: tuple[Shot, ...]


def sample_number(step: int, rank: int, world_size: int, batch_size: int, slot: int) -> int:
    """Number of a sample in the endless stream of a run; ``slot`` counts within the rank's batch."""
    return (step * world_size + rank) * batch_size + slot


@lru_cache(maxsize=64)  # asked for each sample of a step; a generator takes longer than the draw
def draw_view_count(seed: int, step: int, view_counts: tuple[int, ...]) -> int:
    """Number of reference views of a step; equal on all ranks, so that none waits for another."""
    return int(np.random.default_rng([seed, _VIEWS, step]).choice(view_counts))


def shot_generator(seed: int, number: int) -> np.random.Generator:
    """Random numbers for the shots of one sample."""
    return np.random.default_rng([seed, _SHOTS, number])


def source_generator(seed: int, block: int) -> np.random.Generator:
    """Random numbers for the sources of one block of samples of a mixture."""
    return np.random.default_rng([seed, _SOURCES, block])


def derived_seed(seed: int, name: str) -> int:
    """A seed for one source of a mixture, unlike that of the others; 32 bits."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=4).digest(), "big")


def spread(count: int, wanted: int) -> np.ndarray:
    """``min(wanted, count)`` positions spread evenly over ``range(count)``."""
    wanted = min(wanted, count)
    return ((np.arange(wanted) + 0.5) * count / max(wanted, 1)).astype(int)
