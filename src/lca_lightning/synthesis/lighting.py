"""Light around the person and the picture behind the person, both linear RGB."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lca_lightning.synthesis.body_atlas import Array
from lca_lightning.synthesis.textures import random_cloth_color, srgb_to_linear

_ENVIRONMENT_ROWS, _ENVIRONMENT_COLUMNS = 24, 48
_STUDIO_GREY = 0.5


def _directions() -> NDArray[np.float64]:
    """Unit directions of the texels of an environment map, ``(rows, columns, 3)``; row 0 is up."""
    polar = (np.arange(_ENVIRONMENT_ROWS) + 0.5) * np.pi / _ENVIRONMENT_ROWS
    azimuth = (np.arange(_ENVIRONMENT_COLUMNS) + 0.5) * 2 * np.pi / _ENVIRONMENT_COLUMNS
    sine, cosine = np.sin(polar)[:, None], np.cos(polar)[:, None]
    x, y, z = np.broadcast_arrays(sine * np.sin(azimuth), cosine, sine * np.cos(azimuth))
    return np.stack([x, y, z], -1)


def _normalised(radiance: NDArray) -> Array:
    """Scale a map so that its mean over the sphere is one."""
    weight = np.linalg.norm(_directions()[..., [0, 2]], axis=-1)
    mean = (radiance.mean(-1) * weight).sum() / weight.sum()
    return (radiance / mean).astype(np.float32)


def wild_environment(rng: np.random.Generator) -> Array:
    """Random environment: a sky gradient, a ground colour and one to three soft lamps; mean radiance one."""
    directions = _directions()
    up = directions[..., 1:2]
    sky = srgb_to_linear(rng.uniform([0.55, 0.6, 0.65], [0.85, 0.85, 0.95]))
    ground = srgb_to_linear(rng.uniform(0.25, 0.6, 3))
    radiance = ground + (sky - ground) * np.clip(up * 1.5 + 0.5, 0, 1)
    for _ in range(rng.integers(1, 4)):
        azimuth, elevation = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 1.2)
        towards = np.array(
            [np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)]
        )
        width = rng.uniform(0.25, 0.7)
        warmth = rng.uniform(-0.15, 0.25)
        color = np.array([1 + warmth, 1.0, 1 - warmth])
        lobe = np.exp(-((1 - directions @ towards) / width**2))[..., None]
        radiance = radiance + color * lobe * rng.uniform(0.4, 1.6) / width
    return _normalised(radiance)


def studio_environment(rng: np.random.Generator) -> Array:
    """Even light, slightly brighter from above; mean radiance one."""
    up = _directions()[..., 1:2]
    return _normalised(np.ones(3) * (1 + rng.uniform(0.2, 0.4) * up))


def studio_background(height: int, width: int) -> Array:
    """Plain grey, ``(height, width, 3)``."""
    return np.full((height, width, 3), srgb_to_linear(np.array(_STUDIO_GREY)), dtype=np.float32)


def wild_background(height: int, width: int, rng: np.random.Generator) -> Array:
    """Random out-of-focus scene: wall, floor, shapes and texture; linear RGB ``(height, width, 3)``."""
    rows, columns = np.mgrid[0:height, 0:width] / max(height, width)
    wall, floor, other = (random_cloth_color(rng) * 0.7 + 0.05 for _ in range(3))
    slope = rng.uniform(-0.4, 0.4)
    picture = wall + (other - wall) * np.clip(rows + slope * columns, 0, 1)[..., None] * rng.uniform(0, 0.8)
    for _ in range(rng.integers(0, 9)):
        top, left = rng.uniform(-0.1, 0.9, 2) * (height, width)
        bottom, right = top + rng.uniform(0.05, 0.5) * height, left + rng.uniform(0.05, 0.5) * width
        rectangle = np.s_[max(int(top), 0) : max(int(bottom), 0), max(int(left), 0) : max(int(right), 0)]
        picture[rectangle] = random_cloth_color(rng) * rng.uniform(0.3, 1.0)
    horizon = rng.uniform(0.55, 1.1)
    picture = np.where((rows > horizon * height / max(height, width))[..., None], floor, picture)
    picture = picture * (1 + 0.5 * _blotches(height, width, rng)[..., None])
    blur = rng.uniform(0.003, 0.03) * height
    picture = ndimage.gaussian_filter(picture, (blur, blur, 0), mode="nearest")
    return np.clip(picture, 0.005, 1.0).astype(np.float32)


def _blotches(height: int, width: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Smooth noise of several sizes in about [-1, 1]."""
    total = np.zeros((height, width))
    for share, weight in ((0.12, 0.6), (0.04, 0.3), (0.012, 0.15)):
        noise = ndimage.gaussian_filter(rng.normal(size=(height, width)), share * height, mode="wrap")
        total += weight * noise / max(float(noise.std()), 1e-9)
    return np.tanh(total)
