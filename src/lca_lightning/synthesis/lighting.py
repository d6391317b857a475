"""The light and the surroundings of one take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lca_lightning.datasets.format import CameraRecord
from lca_lightning.synthesis.backgrounds import studio_background, wild_background
from lca_lightning.synthesis.body_atlas import Array
from lca_lightning.synthesis.environments import (
    captured_environment,
    directions,
    look_around,
    normalised,
    procedural_environment,
)
from lca_lightning.synthesis.sensor import pixel_rays


@dataclass(frozen=True)
class Surroundings:
    """Environment map, picture behind the person, exposure, and what they are called."""

    environment_HW3: Array
    background_HW3: NDArray
    exposure: float
    place: str


def wild_environment(rng: np.random.Generator) -> Array:
    """Light of a random place; mean radiance one."""
    return procedural_environment(rng)


def studio_environment(rng: np.random.Generator) -> Array:
    """Even light, slightly brighter from above; mean radiance one."""
    up = directions()[..., 1:2]
    return normalised(np.ones(3) * (1 + rng.uniform(0.2, 0.4) * up))


def studio_surroundings(height: int, width: int, rng: np.random.Generator) -> Surroundings:
    """Even light before a grey wall."""
    return Surroundings(studio_environment(rng), studio_background(height, width), 0.9, "studio")


def wild_surroundings(camera: CameraRecord, maps: list[Path], rng: np.random.Generator) -> Surroundings:
    """A place anywhere: a captured map, seen behind the person too, or drawn light and background.

    Args:
        camera: Sees the background.
        maps: Captured environment maps; with none of them everything is procedural.
        rng: Source of every choice.
    """
    exposure = float(np.exp(rng.uniform(np.log(0.5), np.log(0.95))))
    if maps:
        path = maps[int(rng.integers(len(maps)))]
        lit, seen = captured_environment(path, rng)
        rays = pixel_rays(camera.K_33, camera.w2c_44, camera.width, camera.height)
        view = look_around(seen, rays, float(rng.uniform(0.3, 3.0)))
        return Surroundings(lit, np.clip(view * exposure, 0, 1), exposure, path.stem)
    environment = wild_environment(rng)
    background = wild_background(camera.height, camera.width, rng)
    return Surroundings(environment, background, exposure, "procedural")
