"""Drawn figures: light in a few flat steps, dark outlines, a rim of light. For held-out tests only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lca_lightning.synthesis.body_atlas import Array
from lca_lightning.synthesis.scene import RenderedFrame, SurfaceLayers

_STEP_SOFTNESS = 0.03
_CREASE_COSINE = 0.35
_EDGE_METRES = 0.035


@dataclass(frozen=True)
class Toon:
    """A drawing style.

    Attributes:
        towards_light_3: Unit direction to the light, world axes.
        steps: Cosines at which the light steps down, falling.
        tones: Brightness of the flat areas, one more than steps.
        outline: Darkness of the lines in [0, 1].
        saturation: Factor on the colours' distance from grey.
    """

    towards_light_3: NDArray[np.float64]
    steps: tuple[float, ...]
    tones: tuple[float, ...]
    outline: float
    saturation: float


def random_toon(rng: np.random.Generator) -> Toon:
    """Draw a style."""
    azimuth, elevation = rng.uniform(-1.2, 1.2), rng.uniform(0.3, 1.0)
    light = np.array(
        [np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)]
    )
    three = rng.random() < 0.6
    steps = (0.55, 0.05) if three else (0.15,)
    tones = (1.0, 0.72, 0.45) if three else (1.0, 0.6)
    return Toon(light, steps, tones, float(rng.uniform(0.75, 1.0)), float(rng.uniform(1.1, 1.6)))


def shade(surface: SurfaceLayers, toon: Toon) -> RenderedFrame:
    """Draw a rendered surface.

    Args:
        surface: What is seen through each pixel.
        toon: The style.

    Returns:
        Premultiplied linear colour and coverage.
    """
    cosine = (surface.normal_HW3 * toon.towards_light_3).sum(-1)
    light = np.full(cosine.shape, toon.tones[0])
    for step, before, after in zip(toon.steps, toon.tones, toon.tones[1:], strict=False):
        light += (after - before) * np.clip((step - cosine) / _STEP_SOFTNESS + 0.5, 0, 1)
    grey = surface.albedo_HW3.mean(-1, keepdims=True)
    colors = np.clip(grey + (surface.albedo_HW3 - grey) * toon.saturation, 0.01, 1.0) * light[..., None]
    colors = colors * (1 - toon.outline * outlines(surface))[..., None]
    return RenderedFrame((colors * surface.alpha_HW[..., None]).astype(np.float32), surface.alpha_HW)


def outlines(surface: SurfaceLayers) -> Array:
    """1 on lines: the silhouette, jumps in depth and sharp creases; ``(H, W)``."""
    solid = surface.alpha_HW > 0.5
    silhouette = solid & ~ndimage.binary_erosion(solid)
    depth = np.where(solid, surface.depth_HW, np.nan)
    lines = silhouette.copy()
    for axis in (0, 1):
        for shift in (1, -1):
            farther = np.roll(depth, shift, axis) - depth > _EDGE_METRES
            facing = (surface.normal_HW3 * np.roll(surface.normal_HW3, shift, axis)).sum(-1)
            near = np.roll(solid, shift, axis) & solid
            lines |= near & (farther | (facing < _CREASE_COSINE))
    return lines.astype(np.float32)
