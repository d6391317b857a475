"""Motion of eyes and face: jumping gaze, blinks, and expressions that come and go."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lca_lightning.rig.rig import Rig
from lca_lightning.synthesis.clock import Clock
from lca_lightning.synthesis.precision import stored

_EXPRESSIONS: tuple[tuple[str, ...], ...] = (
    ("mouthSmileLeft", "mouthSmileRight", "cheekSquintLeft", "cheekSquintRight"),
    ("jawOpen",),
    ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    ("browDownLeft", "browDownRight", "noseSneerLeft", "noseSneerRight"),
    ("mouthPucker",),
    ("mouthFunnel",),
    ("mouthFrownLeft", "mouthFrownRight"),
    ("mouthStretchLeft", "mouthStretchRight"),
    ("eyeWideLeft", "eyeWideRight"),
    ("eyeSquintLeft", "eyeSquintRight"),
    ("mouthLeft",),
    ("mouthUpperUpLeft", "mouthUpperUpRight"),
    ("cheekPuff",),
)
# Faces that go through the whole range.
_RICH_EXPRESSIONS: tuple[dict[str, float], ...] = (
    {"jawOpen": 0.9, "eyeWideLeft": 0.8, "eyeWideRight": 0.8, "browInnerUp": 0.9},
    {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0, "cheekSquintLeft": 0.8, "cheekSquintRight": 0.8},
    {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8, "jawOpen": 0.5, "mouthUpperUpLeft": 0.5},
    {"browDownLeft": 1.0, "browDownRight": 1.0, "noseSneerLeft": 0.9, "noseSneerRight": 0.9},
    {"mouthPucker": 1.0, "browOuterUpLeft": 0.6},
    {"mouthFunnel": 1.0, "jawOpen": 0.3},
    {"mouthFrownLeft": 1.0, "mouthFrownRight": 1.0, "browInnerUp": 0.7},
    {"mouthStretchLeft": 1.0, "mouthStretchRight": 1.0, "eyeSquintLeft": 0.6, "eyeSquintRight": 0.6},
    {"mouthLeft": 0.9, "jawLeft": 0.6},
    {"mouthRight": 0.9, "jawRight": 0.6},
    {"cheekPuff": 1.0, "mouthClose": 0.2},
    {"tongueOut": 0.9, "jawOpen": 0.6},
    {"eyeBlinkLeft": 1.0, "mouthSmileLeft": 0.6, "cheekSquintLeft": 0.7},
    {"mouthRollLower": 0.8, "mouthRollUpper": 0.8},
    {"browOuterUpLeft": 0.9, "browOuterUpRight": 0.9, "mouthShrugUpper": 0.6},
)
_SECONDS_PER_EXPRESSION = 0.5


def gaze_motion(clock: Clock, rng: np.random.Generator) -> NDArray[np.float32]:
    """Eyes that hold a direction and jump to the next.

    Args:
        clock: Times of the frames.
        rng: Source of every choice.

    Returns:
        Left eye's unit vector in the head frame and validity, then the right eye's, ``(T, 8)``.
    """
    holds = max(2, int(np.ceil(clock.duration / 0.7)) + 1)
    yaw, pitch = rng.normal(0, 0.22, holds), rng.normal(0, 0.12, holds)
    hold = np.minimum((clock.seconds_T / 0.7).astype(int), holds - 1)
    yaw_T, pitch_T = np.clip(yaw[hold], -0.5, 0.5), np.clip(pitch[hold], -0.3, 0.3)
    gaze = np.ones((len(hold), 8))
    for start, vergence in ((0, -0.02), (4, 0.02)):
        angle = yaw_T + vergence
        direction = [np.sin(angle) * np.cos(pitch_T), np.sin(pitch_T), np.cos(angle) * np.cos(pitch_T)]
        gaze[:, start : start + 3] = np.stack(direction, -1)
    return stored(gaze)


def plain_expression(rig: Rig, clock: Clock, rng: np.random.Generator) -> NDArray[np.float32]:
    """A few expressions at a time that come and go, and blinks.

    Args:
        rig: Names the coefficients; those it lacks stay away.
        clock: Times of the frames.
        rng: Source of every choice.

    Returns:
        Coefficients in [0, 1], ``(T, E)``.
    """
    index = _places(rig)
    values = np.zeros((len(clock.seconds_T), rig.expression_size))
    for group in rng.choice(len(_EXPRESSIONS), size=5, replace=False):
        strength = np.clip(clock.wave(rng, -0.5, rng.uniform(0.5, 0.9), 0.5), 0, 1)
        for name in _EXPRESSIONS[group]:
            if name in index:
                values[:, index[name]] = strength
    return _with_blinks(values, index, clock, rng)


def rich_expression(rig: Rig, clock: Clock, rng: np.random.Generator) -> NDArray[np.float32]:
    """One strong expression after another, blended where they meet: what a studio asks its subjects for.

    Args:
        rig: Names the coefficients; those it lacks stay away.
        clock: Times of the frames.
        rng: Source of every choice.

    Returns:
        Coefficients in [0, 1], ``(T, E)``.
    """
    index = _places(rig)
    count = int(np.ceil(clock.duration / _SECONDS_PER_EXPRESSION)) + 2
    order = np.concatenate([rng.permutation(len(_RICH_EXPRESSIONS)) for _ in range(count)])[:count]
    held = np.zeros((count, rig.expression_size))
    for row, group in enumerate(order):
        strength = rng.uniform(0.7, 1.0)
        for name, value in _RICH_EXPRESSIONS[group].items():
            if name in index:
                held[row, index[name]] = value * strength
    place = clock.seconds_T / _SECONDS_PER_EXPRESSION
    first = place.astype(int)
    share = np.clip((place - first - 0.5) / 0.5, 0, 1)[:, None]
    return _with_blinks(held[first] * (1 - share) + held[first + 1] * share, index, clock, rng)


def _places(rig: Rig) -> Mapping[str, int]:
    return {name: place for place, name in enumerate(rig.expression_names)}


def _with_blinks(
    values_TE: NDArray, index: Mapping[str, int], clock: Clock, rng: np.random.Generator
) -> NDArray[np.float32]:
    period, phase = rng.uniform(1.5, 3.5), rng.uniform(0, 3)
    blink = np.clip(1.4 - np.abs(((clock.seconds_T + phase) % period) - 0.15) * 12, 0, 1)
    for name in ("eyeBlinkLeft", "eyeBlinkRight"):
        if name in index:
            values_TE[:, index[name]] = np.maximum(values_TE[:, index[name]], blink)
    return stored(values_TE)
