"""What is behind the person: out-of-focus places, plain studio walls, flat drawn ones. Linear RGB."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lca_lightning.datasets.linear_light import srgb_to_linear
from lca_lightning.synthesis.body_atlas import Array
from lca_lightning.synthesis.textures import random_cloth_color

PLACES = ("shapes", "landscape", "street", "room")
_STUDIO_GREY = 0.5


def studio_background(height: int, width: int) -> Array:
    """Plain grey, ``(height, width, 3)``."""
    return np.full((height, width, 3), srgb_to_linear(np.array(_STUDIO_GREY)), dtype=np.float32)


def wild_background(height: int, width: int, rng: np.random.Generator, place: str | None = None) -> Array:
    """Random out-of-focus scene.

    Args:
        height: Pixels.
        width: Pixels.
        rng: Source of every choice.
        place: One of ``PLACES``, or None to draw one.

    Returns:
        Linear RGB in [0.005, 1], ``(height, width, 3)``.
    """
    chosen = str(rng.choice(PLACES)) if place is None else place
    picture = {"shapes": _shapes, "landscape": _landscape, "street": _street, "room": _room}[chosen](
        height, width, rng
    )
    picture = picture * (1 + rng.uniform(0.1, 0.5) * blotches(height, width, rng)[..., None])
    blur = rng.uniform(0.003, 0.03) * height
    picture = ndimage.gaussian_filter(picture, (blur, blur, 0), mode="nearest")
    return np.clip(picture, 0.005, 1.0).astype(np.float32)


def drawn_background(height: int, width: int, rng: np.random.Generator) -> Array:
    """Flat colours with sharp edges, as behind a drawn figure."""
    rows, columns = np.mgrid[0:height, 0:width] / max(height, width)
    sky, ground, sun = (srgb_to_linear(rng.uniform(0.45, 0.95, 3)) for _ in range(3))
    horizon = rng.uniform(0.5, 0.9) + 0.04 * np.sin(columns * rng.uniform(6, 20) + rng.uniform(0, 6))
    picture = np.where((rows > horizon * height / max(height, width))[..., None], ground, sky)
    center, radius = rng.uniform([0.05, 0.1], [0.3, 0.7]), rng.uniform(0.05, 0.15)
    disc = np.hypot(rows - center[0], columns - center[1]) < radius
    return np.where(disc[..., None], sun, picture).astype(np.float32)


def _shapes(height: int, width: int, rng: np.random.Generator) -> NDArray:
    """Wall, floor and rectangles of any colour."""
    rows, columns = np.mgrid[0:height, 0:width] / max(height, width)
    wall, floor, other = (random_cloth_color(rng) * 0.7 + 0.05 for _ in range(3))
    slope = rng.uniform(-0.4, 0.4)
    picture = wall + (other - wall) * np.clip(rows + slope * columns, 0, 1)[..., None] * rng.uniform(0, 0.8)
    for _ in range(rng.integers(0, 9)):
        _fill(picture, rng.uniform(-0.1, 0.9, 2), rng.uniform(0.05, 0.5, 2), random_cloth_color(rng)
              * rng.uniform(0.3, 1.0))  # fmt: skip
    horizon = rng.uniform(0.55, 1.1)
    return np.where((rows > horizon * height / max(height, width))[..., None], floor, picture)


def _landscape(height: int, width: int, rng: np.random.Generator) -> NDArray:
    """Sky, hills one behind the other, and grass or sand."""
    rows = np.arange(height)[:, None] / height
    columns = np.arange(width)[None] / height
    top = srgb_to_linear(rng.uniform([0.3, 0.5, 0.7], [0.6, 0.75, 0.95]))
    low = srgb_to_linear(rng.uniform([0.7, 0.7, 0.75], [0.95, 0.9, 0.95]))
    picture = np.broadcast_to((top + (low - top) * rows[..., None]), (height, width, 3)).copy()
    base = rng.uniform(0.35, 0.6)
    for hill in range(4):
        phase, rate = rng.uniform(0, 6), rng.uniform(3, 14)
        line = base + 0.09 * hill + 0.05 * np.sin(columns * rate + phase) * (1 - 0.2 * hill)
        green = srgb_to_linear(rng.uniform([0.2, 0.3, 0.12], [0.55, 0.55, 0.35]) * (0.6 + 0.15 * hill))
        picture = np.where((rows > line)[..., None], green, picture)
    return picture


def _street(height: int, width: int, rng: np.random.Generator) -> NDArray:
    """House fronts with windows over a pavement."""
    picture = np.tile(srgb_to_linear(rng.uniform([0.6, 0.7, 0.8], [0.8, 0.85, 0.95])), (height, width, 1))
    left = -rng.uniform(0, 0.3)
    while left < 1:
        wide, roof = rng.uniform(0.25, 0.6), rng.uniform(-0.1, 0.35)
        wall = srgb_to_linear(rng.uniform([0.35, 0.3, 0.25], [0.85, 0.8, 0.75]))
        _fill(picture, np.array([roof, left]), np.array([1.0, wide]), wall)
        glass = (
            wall * rng.uniform(0.1, 0.4)
            if rng.random() < 0.7
            else srgb_to_linear(np.array([0.95, 0.85, 0.6]))
        )
        storey, pane = rng.uniform(0.12, 0.2), rng.uniform(0.08, 0.14)
        for row in np.arange(roof + 0.3 * storey, 0.75, storey):
            for column in np.arange(left + 0.3 * pane, left + wide - 0.6 * pane, pane * 1.4):
                _fill(picture, np.array([row, column]), np.array([storey * 0.6, pane * 0.7]), glass)
        left += wide + rng.uniform(0, 0.1)
    ground = srgb_to_linear(np.full(3, rng.uniform(0.3, 0.6)))
    _fill(picture, np.array([rng.uniform(0.72, 0.88), -0.1]), np.array([1.0, 1.3]), ground)
    return picture


def _room(height: int, width: int, rng: np.random.Generator) -> NDArray:
    """Wall and floor, a window or shelf, pictures on the wall."""
    wall = srgb_to_linear(rng.uniform([0.6, 0.58, 0.52], [0.95, 0.93, 0.9]))
    picture = np.tile(wall, (height, width, 1))
    for _ in range(rng.integers(1, 4)):
        corner, size = rng.uniform([0.05, -0.1], [0.4, 0.9]), rng.uniform(0.12, 0.4, 2)
        _fill(picture, corner, size, wall * 0.4)
        bright = (
            srgb_to_linear(np.array([0.92, 0.95, 1.0])) if rng.random() < 0.4 else random_cloth_color(rng)
        )
        _fill(picture, corner + 0.015, size - 0.03, bright)
    wood = srgb_to_linear(rng.uniform([0.35, 0.22, 0.12], [0.7, 0.5, 0.35]))
    edge = rng.uniform(0.65, 0.9)
    _fill(picture, np.array([edge, -0.1]), np.array([1.0, 1.3]), wood)
    _fill(picture, np.array([edge - 0.02, -0.1]), np.array([0.02, 1.3]), wall * 0.8)
    if rng.random() < 0.5:  # sofa or cupboard
        left = rng.uniform(-0.2, 0.8)
        _fill(picture, np.array([edge - rng.uniform(0.1, 0.4), left]), rng.uniform([0.3, 0.2], [0.5, 0.6]),
              random_cloth_color(rng) * 0.8)  # fmt: skip
    return picture


def _fill(picture_HW3: NDArray, corner: NDArray, size: NDArray, color: NDArray) -> None:
    """Paint a rectangle given in shares of the picture: top and left, height and width."""
    height, width = picture_HW3.shape[:2]
    top, left = corner * (height, width)
    bottom, right = (corner + size) * (height, width)
    picture_HW3[max(int(top), 0) : max(int(bottom), 0), max(int(left), 0) : max(int(right), 0)] = color


def blotches(height: int, width: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Smooth noise of several sizes in about [-1, 1]."""
    total = np.zeros((height, width))
    for share, weight in ((0.12, 0.6), (0.04, 0.3), (0.012, 0.15)):
        noise = ndimage.gaussian_filter(rng.normal(size=(height, width)), share * height, mode="wrap")
        total += weight * noise / max(float(noise.std()), 1e-9)
    return np.tanh(total)
