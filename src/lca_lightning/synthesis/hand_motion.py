"""Motion of the fingers: loosely curling hands, or one pose of a library after another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lca_lightning.synthesis.clock import Clock

# Curl of thumb, index, middle, ring and little finger in radians per joint; negative spreads them back.
HAND_POSES: dict[str, tuple[float, float, float, float, float]] = {
    "flat": (0.0, -0.05, -0.05, -0.05, -0.05),
    "relaxed": (0.1, 0.25, 0.3, 0.35, 0.4),
    "fist": (0.5, 1.1, 1.1, 1.1, 1.1),
    "point": (0.4, 0.0, 1.0, 1.05, 1.1),
    "two": (0.4, 0.0, 0.0, 1.0, 1.1),
    "thumb up": (-0.1, 1.1, 1.1, 1.1, 1.1),
    "pinch": (0.35, 0.6, 0.15, 0.1, 0.05),
    "claw": (0.2, 0.6, 0.6, 0.6, 0.6),
    "horns": (0.4, 0.0, 1.05, 1.05, 0.0),
}
_SECONDS_PER_POSE = 0.6


def finger_curls(
    joint_names: Sequence[str], clock: Clock, rng: np.random.Generator, rich: bool
) -> dict[str, NDArray[np.float64]]:
    """Angle of every finger joint over time, about the axis that closes the hand.

    Args:
        joint_names: Joints of the rig.
        clock: Times of the frames.
        rng: Source of every choice.
        rich: Hold one pose of ``HAND_POSES`` after another instead of a loose curl.

    Returns:
        Radians ``(T,)`` by joint name.
    """
    curls = {}
    for side in (".L", ".R"):
        angles_TF = _posed(clock, rng) if rich else _loose(clock, rng)
        for finger in range(1 if rich else 2, 6):
            for joint in (1, 2, 3):
                name = f"finger{finger}-{joint}{side}"
                if name in joint_names:
                    curls[name] = angles_TF[:, finger - 1]
    return curls


def _loose(clock: Clock, rng: np.random.Generator) -> NDArray[np.float64]:
    """A fist share of the whole hand plus a little for each finger, ``(T, 5)``; the thumb keeps still."""
    curl = clock.wave(rng, -0.1, rng.uniform(0.2, 0.9), 0.4)
    own = [np.zeros_like(curl)]
    own += [np.clip(curl + clock.wave(rng, -0.1, 0.15, 0.6), -0.15, 1.1) for _ in range(4)]
    return np.stack(own, -1)


def _posed(clock: Clock, rng: np.random.Generator) -> NDArray[np.float64]:
    """One pose after another, blended where they meet, ``(T, 5)``."""
    count = int(np.ceil(clock.duration / _SECONDS_PER_POSE)) + 2
    library = np.array(list(HAND_POSES.values()))
    held = library[rng.integers(len(library), size=count)] * rng.uniform(0.85, 1.0, (count, 1))
    place = clock.seconds_T / _SECONDS_PER_POSE
    first = place.astype(int)
    share = np.clip((place - first - 0.4) / 0.6, 0, 1)[:, None]
    return held[first] * (1 - share) + held[first + 1] * share
