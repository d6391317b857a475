"""How the pictures of each kind of take are made: light, background, colour and layers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lca_lightning.datasets.format import CameraRecord, StageLights
from lca_lightning.datasets.linear_light import linear_to_srgb
from lca_lightning.synthesis.backgrounds import drawn_background
from lca_lightning.synthesis.cameras import studio_cameras, wild_camera
from lca_lightning.synthesis.environments import environment_files
from lca_lightning.synthesis.light_stage import (
    LINEAR_WHITE,
    StageScene,
    finish_stage_picture,
    stage_lights,
)
from lca_lightning.synthesis.lighting import Surroundings, studio_surroundings, wild_surroundings
from lca_lightning.synthesis.person import Person
from lca_lightning.synthesis.scene import PersonScene, RenderedFrame
from lca_lightning.synthesis.settings import CaptureSettings
from lca_lightning.synthesis.stylised import random_toon, shade

Picture = tuple[NDArray, NDArray[np.uint8], dict[str, NDArray] | None]
_WILD_RATE_FACTORS = (20, 32)  # of H.264: from barely to plainly compressed
_CLEAN_RATE_FACTOR = 16


class Take(Protocol):
    """One take of one person: cameras, and a picture for each frame of each of them.

    Attributes:
        cameras: What films.
        storage: Options of the sequence writer: colour, layers, compression.
        facts: Plain values for the sequence's description.
    """

    cameras: list[CameraRecord]
    storage: dict[str, Any]
    facts: dict[str, Any]

    @property
    def lights(self) -> StageLights | None:
        """Lamps of a light stage, None elsewhere."""
        ...

    def move_to(self, points_N3: NDArray) -> None:
        """Pose the person."""
        ...

    def picture(self, frame: int, camera: CameraRecord, seed: int) -> Picture:
        """Picture, mask and layers of the current pose."""
        ...


def start_take(
    settings: CaptureSettings, person: Person, points_TN3: NDArray, rng: np.random.Generator
) -> Take:
    """Put cameras and light around a moving person.

    Args:
        settings: What to render.
        person: Whom.
        points_TN3: The person in all frames by plain skinning, metres: what the cameras must see.
        rng: Source of every choice.

    Returns:
        The take.
    """
    size = settings.height, settings.width
    if settings.kind == "light_stage":
        cameras = studio_cameras(points_TN3, settings.cameras, *size, rng)
        return StageTake(person, cameras, stage_lights(settings.frames, rng), settings.samples)
    if settings.kind == "stylised":
        camera = wild_camera(points_TN3, *size, rng)
        return ToonTake(person, camera, settings.samples, rng)
    if settings.kind == "studio":
        cameras = studio_cameras(points_TN3, settings.cameras, *size, rng)
        return LitTake(person, cameras, studio_surroundings(*size, rng), settings.samples, _CLEAN_RATE_FACTOR)
    camera = wild_camera(points_TN3, *size, rng)
    maps = environment_files(settings.environments) if settings.environments is not None else []
    rate = int(rng.integers(_WILD_RATE_FACTORS[0], _WILD_RATE_FACTORS[1] + 1))
    return LitTake(person, [camera], wild_surroundings(camera, maps, rng), settings.samples, rate)


@dataclass
class LitTake:
    """A person under an environment map: the kinds wild and studio."""

    person: Person
    cameras: list[CameraRecord]
    surroundings: Surroundings
    samples: int
    rate_factor: int
    lights: StageLights | None = None
    storage: dict[str, Any] = field(init=False)
    facts: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.storage = {"quality": self.rate_factor}
        self.facts = {"rate_factor": self.rate_factor, "environment": self.surroundings.place}
        self._scene = PersonScene(self.person, self.surroundings.environment_HW3, self.samples)

    def move_to(self, points_N3: NDArray) -> None:
        """Pose the person."""
        self._scene.move_to(points_N3)

    def picture(self, frame: int, camera: CameraRecord, seed: int) -> Picture:
        """Picture and mask of the current pose."""
        rendered = self._scene.render(camera.K_33, camera.w2c_44, camera.width, camera.height, seed)
        around = self.surroundings
        return *finish_picture(rendered, around.background_HW3, around.exposure), None


@dataclass
class StageTake:
    """A person in a light stage."""

    person: Person
    cameras: list[CameraRecord]
    lights: StageLights
    samples: int
    storage: dict[str, Any] = field(init=False)
    facts: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.storage = {"color": "linear", "linear_white": LINEAR_WHITE, "layers": ("albedo", "normal")}
        self.facts = {"environment": "light stage", "lamps": len(self.lights.positions_L3)}
        self._scene = StageScene(self.person, self.lights, self.samples)

    def move_to(self, points_N3: NDArray) -> None:
        """Pose the person."""
        self._scene.move_to(points_N3)

    def picture(self, frame: int, camera: CameraRecord, seed: int) -> Picture:
        """Linear picture, mask, albedo and normals of the current pose."""
        rendered = self._scene.render(frame, camera.K_33, camera.w2c_44, camera.width, camera.height, seed)
        return finish_stage_picture(rendered, bool(self.lights.fully_lit_T[frame]))


class ToonTake:
    """A drawn figure before a drawn background."""

    lights: StageLights | None = None

    def __init__(self, person: Person, camera: CameraRecord, samples: int, rng: np.random.Generator) -> None:
        self.cameras = [camera]
        self.storage: dict[str, Any] = {"quality": _CLEAN_RATE_FACTOR}
        self.facts: dict[str, Any] = {"environment": "drawn"}
        self._toon = random_toon(rng)
        self._background_HW3 = drawn_background(camera.height, camera.width, rng)
        self._scene = PersonScene(person, np.ones((2, 4, 3), np.float32), samples)

    def move_to(self, points_N3: NDArray) -> None:
        """Pose the figure."""
        self._scene.move_to(points_N3)

    def picture(self, frame: int, camera: CameraRecord, seed: int) -> Picture:
        """Picture and mask of the current pose."""
        surface = self._scene.layers(camera.K_33, camera.w2c_44, camera.width, camera.height, seed)
        return *finish_picture(shade(surface, self._toon), self._background_HW3, 1.0), None


def finish_picture(
    rendered: RenderedFrame, background_HW3: NDArray, exposure: float
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Put a rendering over its background and store it as sRGB.

    Args:
        rendered: Premultiplied linear colour and coverage.
        background_HW3: Linear RGB.
        exposure: Factor on the person's light.

    Returns:
        sRGB picture ``(H, W, 3)`` and mask ``(H, W)``, both uint8.
    """
    alpha = rendered.alpha_HW[..., None]
    linear = rendered.color_HW3 * exposure + background_HW3 * (1 - alpha)
    picture = np.round(linear_to_srgb(linear) * 255).astype(np.uint8)
    return picture, np.round(rendered.alpha_HW * 255).astype(np.uint8)
