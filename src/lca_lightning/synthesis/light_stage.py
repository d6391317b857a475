"""A light stage: lamps on a sphere that flash in turn, radiance, albedo, normals (LCA section 3.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lca_lightning.datasets.format import StageLights
from lca_lightning.datasets.linear_light import DEEPEST, linear_to_deep
from lca_lightning.synthesis.body_atlas import Array
from lca_lightning.synthesis.person import Person
from lca_lightning.synthesis.precision import rounded, stored
from lca_lightning.synthesis.scene import PersonScene, SurfaceLayers
from lca_lightning.synthesis.sensor import load_mitsuba

LAMPS = 16
RADIUS = 2.5  # metres; also the reference distance of the lamps' strength
CENTER = (0.0, 0.15, 0.0)  # the middle of a standing person in the rig's world
LINEAR_WHITE = 2.0
FULLY_LIT_EVERY = 3
_LARGEST_GROUP = 4
_SURFACE_SAMPLES = 8
_WALL = 0.2  # radiance of the backdrop when all lamps burn; black otherwise
_NORMAL_ZERO = round(DEEPEST / 2)


def stage_lights(frames: int, rng: np.random.Generator) -> StageLights:
    """Lamps and their schedule: every third frame all burn, in between groups of one to four.

    Args:
        frames: Number of frames ``T``.
        rng: Draws the groups.

    Returns:
        Positions and intensities; a white surface facing a lit group is about as bright as under all lamps.
    """
    positions = rounded(np.array(CENTER) + RADIUS * _sphere_points(LAMPS))
    # An even sphere of L lamps of strength e gives every surface the irradiance L e / 4.
    full = 4 * np.pi * 0.9 / LAMPS
    fully_lit = np.arange(frames) % FULLY_LIT_EVERY == 0
    intensities = np.zeros((frames, LAMPS, 3))
    for frame in range(frames):
        group = np.arange(LAMPS)
        strength = full
        if not fully_lit[frame]:
            size = int(rng.integers(1, _LARGEST_GROUP + 1))
            group = rng.choice(LAMPS, size=size, replace=False)
            strength = np.pi * 0.9 / (0.5 + 0.5 * size)
        intensities[frame, group] = strength
    return StageLights(stored(positions), stored(intensities), fully_lit, RADIUS)


def _sphere_points(count: int) -> NDArray[np.float64]:
    """Evenly spread unit directions (Fibonacci lattice), top first."""
    index = np.arange(count) + 0.5
    height = 1 - 2 * index / count
    azimuth = np.pi * (1 + np.sqrt(5)) * index
    ring = np.sqrt(1 - height**2)
    return np.stack([ring * np.sin(azimuth), height, ring * np.cos(azimuth)], -1)


def lamp_light() -> dict[str, Any]:
    """One lamp as Mitsuba describes it, to be moved and dimmed from picture to picture."""
    return {"type": "point", "position": list(CENTER), "intensity": {"type": "rgb", "value": [1.0, 1.0, 1.0]}}


@dataclass(frozen=True)
class StagePicture:
    """One picture of the stage: linear radiance premultiplied by the coverage, coverage, surface truth."""

    radiance_HW3: Array
    alpha_HW: Array
    surface: SurfaceLayers


class StageScene:
    """A person among lamps. Light is additive: each lamp is rendered alone, without choosing among lamps.

    Args:
        person: Whom to render.
        lights: Lamps and schedule.
        samples: Samples per pixel over all lamps; each lamp gets at least four.
    """

    def __init__(self, person: Person, lights: StageLights, samples: int) -> None:
        self._lights = lights
        self._samples = samples
        self._scene = PersonScene(person, lamp_light(), samples)
        self._lamp = load_mitsuba().traverse(self._scene.light)

    def move_to(self, points_N3: NDArray) -> None:
        """Pose the person."""
        self._scene.move_to(points_N3)

    def render(
        self, frame: int, K_33: NDArray, w2c_44: NDArray, width: int, height: int, seed: int
    ) -> StagePicture:
        """Render the current pose under the lamps of a frame; arguments as for `PersonScene.render`."""
        self._scene.samples = min(self._samples, _SURFACE_SAMPLES)
        surface = self._scene.layers(K_33, w2c_44, width, height, seed)
        radiance, alpha = np.zeros((height, width, 3), np.float32), surface.alpha_HW
        burning = np.flatnonzero(self._lights.intensities_TL3[frame].max(-1) > 0)
        self._scene.samples = max(4, self._samples // max(1, len(burning)))
        for lamp in burning:
            self._burn(self._lights.positions_L3[lamp], self._lights.intensities_TL3[frame, lamp])
            rendered = self._scene.render(K_33, w2c_44, width, height, seed)
            radiance += rendered.color_HW3
            alpha = rendered.alpha_HW
        return StagePicture(radiance, alpha, surface)

    def _burn(self, position_3: NDArray, intensity_3: NDArray) -> None:
        """Make the lamp give this irradiance at the reference distance, falling with the square."""
        power = np.asarray(intensity_3, np.float64) * self._lights.reference_distance**2
        self._lamp["position"] = [float(value) for value in position_3]
        self._lamp["intensity.value"] = [float(value) for value in power]
        self._lamp.update()


def finish_stage_picture(
    picture: StagePicture, fully_lit: bool
) -> tuple[NDArray[np.uint16], NDArray[np.uint8], dict[str, NDArray[np.uint16]]]:
    """What is stored of a picture: linear light, mask, albedo and normals.

    Args:
        picture: The rendering.
        fully_lit: Put the backdrop behind the person; it is black in the other frames.

    Returns:
        uint16 ``(H, W, 3)`` where 65535 is ``LINEAR_WHITE``, uint8 mask, uint16 layers by name.
    """
    alpha = picture.alpha_HW[..., None]
    linear = picture.radiance_HW3 + (_WALL * (1 - alpha) if fully_lit else 0.0)
    normal = np.round((picture.surface.normal_HW3 + 1) / 2 * DEEPEST).astype(np.uint16)
    empty = picture.surface.alpha_HW == 0
    normal[empty] = _NORMAL_ZERO
    layers = {"albedo": linear_to_deep(picture.surface.albedo_HW3, 1.0), "normal": normal}
    mask = np.round(picture.alpha_HW * 255).astype(np.uint8)
    return linear_to_deep(linear, LINEAR_WHITE), mask, layers
