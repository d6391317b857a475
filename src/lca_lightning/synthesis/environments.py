"""Light from all around: procedural environment maps of several places, and captured ones from a folder.

Directions follow Mitsuba: row 0 looks up (+y), columns turn from -z over +x.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lca_lightning.datasets.linear_light import srgb_to_linear
from lca_lightning.errors import DataError
from lca_lightning.synthesis.body_atlas import Array
from lca_lightning.synthesis.sensor import load_mitsuba

PLACES = ("overcast", "sun", "sunset", "windows", "lamps", "night street", "forest")
ENVIRONMENT_SUFFIXES = (".hdr", ".exr")
_ROWS, _COLUMNS = 32, 64
_SEEN_ROWS, _SEEN_COLUMNS = 256, 512


def directions(rows: int = _ROWS, columns: int = _COLUMNS) -> NDArray[np.float64]:
    """Unit directions of the texels of an environment map, ``(rows, columns, 3)``."""
    polar = (np.arange(rows) + 0.5) * np.pi / rows
    azimuth = (np.arange(columns) + 0.5) * 2 * np.pi / columns
    sine, cosine = np.sin(polar)[:, None], np.cos(polar)[:, None]
    x, y, z = np.broadcast_arrays(sine * np.sin(azimuth), cosine, -sine * np.cos(azimuth))
    return np.stack([x, y, z], -1)


def normalised(radiance_HW3: NDArray) -> Array:
    """Scale a map so that its mean over the sphere is one."""
    rows = len(radiance_HW3)
    weight = np.sin((np.arange(rows) + 0.5) * np.pi / rows)[:, None]
    mean = (radiance_HW3.mean(-1) * weight).sum() / (weight.sum() * radiance_HW3.shape[1])
    return (radiance_HW3 / mean).astype(np.float32)


def procedural_environment(rng: np.random.Generator, place: str | None = None) -> Array:
    """Draw the light of a place.

    Args:
        rng: Source of every choice.
        place: One of ``PLACES``, or None to draw one.

    Returns:
        Linear radiance with mean one over the sphere, ``(32, 64, 3)``.
    """
    chosen = str(rng.choice(PLACES)) if place is None else place
    towards = directions()
    radiance = _sky_and_ground(towards, chosen, rng) + _lamps(towards, chosen, rng)
    return normalised(np.maximum(radiance, 1e-3))


_SKIES: dict[str, tuple[NDArray, NDArray]] = {  # sRGB of sky and ground
    "overcast": (np.array([0.82, 0.84, 0.87]), np.array([0.45, 0.44, 0.42])),
    "sun": (np.array([0.45, 0.62, 0.88]), np.array([0.5, 0.47, 0.4])),
    "sunset": (np.array([0.5, 0.42, 0.55]), np.array([0.35, 0.28, 0.25])),
    "windows": (np.array([0.4, 0.38, 0.36]), np.array([0.38, 0.33, 0.28])),
    "lamps": (np.array([0.34, 0.33, 0.32]), np.array([0.3, 0.29, 0.28])),
    "night street": (np.array([0.08, 0.09, 0.14]), np.array([0.14, 0.13, 0.12])),
    "forest": (np.array([0.42, 0.55, 0.35]), np.array([0.25, 0.24, 0.14])),
}


def _sky_and_ground(towards: NDArray, place: str, rng: np.random.Generator) -> NDArray:
    sky, ground = (
        srgb_to_linear(np.clip(color + rng.normal(0, 0.05, 3), 0.03, 1)) for color in _SKIES[place]
    )
    share = np.clip(towards[..., 1:2] * 4 + 0.5, 0, 1)
    radiance = ground + (sky - ground) * share
    if place == "forest":  # sky between leaves
        noise = ndimage.gaussian_filter(rng.normal(size=towards.shape[:2]), 1.0, mode="wrap")
        holes = np.clip(noise / noise.std() - 0.9, 0, 1)[..., None] * (towards[..., 1:2] > 0.2)
        radiance = radiance + 8.0 * holes * np.array([0.9, 1.0, 1.05])
    return radiance


def _lamps(towards: NDArray, place: str, rng: np.random.Generator) -> NDArray:
    """What shines: sun, low sun, windows, or lamps."""
    if place == "overcast":
        return np.zeros_like(towards)
    if place in ("sun", "sunset"):
        low, high = (0.5, 1.2) if place == "sun" else (0.05, 0.25)
        color = np.array([1.0, 0.95, 0.85]) if place == "sun" else np.array([1.0, 0.55, 0.25])
        power = rng.uniform(30, 70) if place == "sun" else rng.uniform(12, 30)
        glow = 0.15 * _lobe(towards, rng, low, high, 0.5, keep := rng.uniform(0, 2 * np.pi))
        return color * (power * _lobe(towards, rng, low, high, 0.11, keep) + power * 0.1 * glow)
    if place == "windows":
        return _windows(towards, rng)
    total = np.zeros_like(towards)
    for _ in range(rng.integers(1, 4) if place != "night street" else rng.integers(2, 6)):
        warmth = rng.uniform(-0.2, 0.35) if place != "night street" else rng.uniform(-0.4, 0.6)
        color = np.array([1 + warmth, 1.0, 1 - warmth])
        size = rng.uniform(0.15, 0.6)
        total = total + color * _lobe(towards, rng, 0.1, 1.2, size) * rng.uniform(0.6, 2.0) / size
    return total


def _lobe(
    towards: NDArray,
    rng: np.random.Generator,
    low: float,
    high: float,
    width: float,
    azimuth: float | None = None,
) -> NDArray:
    """A soft round light of an angular width at a random elevation between two angles, radians."""
    turn = rng.uniform(0, 2 * np.pi) if azimuth is None else azimuth
    elevation = rng.uniform(low, high)
    center = np.array([np.cos(elevation) * np.sin(turn), np.sin(elevation), np.cos(elevation) * np.cos(turn)])
    return np.exp(-(1 - towards @ center) / (0.5 * width**2))[..., None]


def _windows(towards: NDArray, rng: np.random.Generator) -> NDArray:
    """One to three bright upright rectangles in the walls of a room."""
    azimuth = np.arctan2(towards[..., 0], towards[..., 2])
    elevation = np.arcsin(np.clip(towards[..., 1], -1, 1))
    total = np.zeros(towards.shape[:2])
    for _ in range(rng.integers(1, 4)):
        off = np.abs(np.angle(np.exp(1j * (azimuth - rng.uniform(0, 2 * np.pi)))))
        wide, low, high = rng.uniform(0.2, 0.5), rng.uniform(-0.2, 0.1), rng.uniform(0.5, 0.8)
        total += ((off < wide) & (elevation > low) & (elevation < high)) * rng.uniform(4, 14)
    return ndimage.gaussian_filter(total, 0.6, mode=("nearest", "wrap"))[..., None] * [0.95, 1.0, 1.08]


def environment_files(folder: str | Path) -> list[Path]:
    """Captured environment maps in a folder, by name.

    Raises:
        DataError: The folder is missing or holds none.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"There is no folder {root} of environment maps; give one with .hdr or .exr files.")
    files = sorted(path for path in root.iterdir() if path.suffix.lower() in ENVIRONMENT_SUFFIXES)
    if not files:
        raise DataError(f"{root} holds no environment map; put .hdr or .exr files in it.")
    return files


@lru_cache(maxsize=4)
def read_environment(path: Path) -> Array:
    """Read a captured map, averaged to 256 x 512 texels and scaled to mean radiance one.

    Args:
        path: A Radiance HDR or OpenEXR file, equirectangular.

    Returns:
        Linear radiance ``(256, 512, 3)``.

    Raises:
        DataError: The file cannot be read or is no equirectangular map.
    """
    mitsuba = load_mitsuba()
    try:
        bitmap = mitsuba.Bitmap(str(path)).convert(
            mitsuba.Bitmap.PixelFormat.RGB, mitsuba.Struct.Type.Float32, srgb_gamma=False
        )
    except RuntimeError as error:
        raise DataError(
            f"{path} cannot be read as an environment map; give Radiance HDR or OpenEXR."
        ) from error
    radiance = np.nan_to_num(np.array(bitmap, np.float64), posinf=1e4, neginf=0.0).clip(0.0, 1e5)
    rows, columns = radiance.shape[:2]
    if columns != 2 * rows or rows < 16 or not radiance.any():
        raise DataError(f"{path} has {rows}x{columns} pixels; an environment map is twice as wide as high.")
    return normalised(resampled(radiance, _SEEN_ROWS, _SEEN_COLUMNS))


def captured_environment(path: Path, rng: np.random.Generator) -> tuple[Array, Array]:
    """A captured map turned about the vertical: one to light with, one to look at.

    Args:
        path: See `read_environment`.
        rng: For the turn.

    Returns:
        Radiance ``(32, 64, 3)`` and ``(256, 512, 3)`` of the same place.
    """
    seen = np.roll(read_environment(path), int(rng.integers(_SEEN_COLUMNS)), axis=1)
    return normalised(resampled(seen, _ROWS, _COLUMNS)), seen


def resampled(values_HW3: NDArray, rows: int, columns: int) -> NDArray:
    """Means over the cells of a new grid; cells smaller than a texel repeat it."""
    result = values_HW3
    for axis, size in ((0, rows), (1, columns)):
        length = result.shape[axis]
        if size >= length:
            result = np.take(result, np.arange(size) * length // size, axis=axis)
        else:
            starts = np.arange(size) * length // size
            counts = np.diff(np.append(starts, length))
            shape = [-1 if place == axis else 1 for place in range(result.ndim)]
            result = np.add.reduceat(result, starts, axis=axis) / counts.reshape(shape)
    return result


def look_around(environment_HW3: NDArray, rays_HW3: NDArray, blur: float) -> Array:
    """The part of a map that a camera sees.

    Args:
        environment_HW3: Linear radiance.
        rays_HW3: Unit world directions of the pixels.
        blur: Standard deviation in texels of the map.

    Returns:
        Linear RGB of the pixels.
    """
    soft = ndimage.gaussian_filter(environment_HW3, (blur, blur, 0), mode=("nearest", "wrap", "nearest"))
    rows, columns = soft.shape[:2]
    row = np.arccos(np.clip(rays_HW3[..., 1], -1, 1)) / np.pi * rows - 0.5
    column = np.arctan2(rays_HW3[..., 0], -rays_HW3[..., 2]) / (2 * np.pi) * columns - 0.5
    top, left = np.floor(row).astype(int), np.floor(column).astype(int)
    down, right = (row - top)[..., None], (column - left)[..., None]
    first, second = np.clip(top, 0, rows - 1), np.clip(top + 1, 0, rows - 1)
    above = soft[first, left % columns] * (1 - right) + soft[first, (left + 1) % columns] * right
    below = soft[second, left % columns] * (1 - right) + soft[second, (left + 1) % columns] * right
    return (above * (1 - down) + below * down).astype(np.float32)
