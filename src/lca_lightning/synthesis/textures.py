"""Colour patterns and printed text as functions of points on the body. All colours are linear RGB."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lca_lightning.datasets.linear_light import linear_to_srgb, srgb_to_linear
from lca_lightning.synthesis.body_atlas import BodyFields

PATTERNS = ("plain", "stripes", "checks", "dots", "gradient", "camouflage", "colour blocks")
_WORDS = (
    "AVATAR",
    "HELLO",
    "SUN",
    "LAB",
    "MOON",
    "ROCK",
    "JAZZ",
    "KITE",
    "NORTH",
    "WAVE",
    "OPEN",
    "PLAY",
    "TEAM",
    "ZEBRA",
)
_HAIR_COLORS = np.array(
    [
        (0.06, 0.05, 0.05),
        (0.13, 0.09, 0.07),
        (0.26, 0.17, 0.11),
        (0.42, 0.28, 0.16),
        (0.68, 0.52, 0.30),
        (0.85, 0.74, 0.52),
        (0.50, 0.20, 0.10),
        (0.62, 0.61, 0.60),
        (0.86, 0.85, 0.84),
        (0.20, 0.30, 0.62),
        (0.66, 0.20, 0.42),
    ]
)
_HAIR_ODDS = np.array([6, 6, 5, 4, 3, 2, 2, 2, 1, 0.4, 0.4])


def smooth_noise(
    positions_N3: NDArray, rng: np.random.Generator, wavelength: float, waves: int = 12
) -> NDArray[np.float64]:
    """Smooth random values of points, about zero with deviation one: a sum of plane waves.

    Args:
        positions_N3: Points in metres, ``(N, 3)``.
        rng: Source of the wave directions and phases.
        wavelength: Typical wavelength in metres.
        waves: Number of waves.

    Returns:
        ``(N,)``.
    """
    directions = rng.normal(size=(waves, 3)) * (2 * np.pi / wavelength / np.sqrt(3))
    phases = rng.uniform(0, 2 * np.pi, waves)
    return np.sin(positions_N3 @ directions.T + phases).sum(1) * np.sqrt(2 / waves)


def random_cloth_color(rng: np.random.Generator) -> NDArray[np.float64]:
    """A clothing colour in linear RGB: mostly saturated, sometimes dark, grey or white."""
    kind = rng.random()
    if kind < 0.12:
        value = (rng.uniform(0.86, 0.95),) * 3
    elif kind < 0.24:
        value = (rng.uniform(0.06, 0.3),) * 3
    else:
        value = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.35, 0.95), rng.uniform(0.3, 0.95))
    return srgb_to_linear(np.array(value))


def contrasting_color(rng: np.random.Generator, color: NDArray) -> NDArray[np.float64]:
    """A clothing colour that differs clearly from the given one."""
    candidates = np.stack([random_cloth_color(rng) for _ in range(6)])
    return candidates[np.argmax(np.abs(linear_to_srgb(candidates) - linear_to_srgb(color)).sum(1))]


def hair_color(rng: np.random.Generator) -> NDArray[np.float64]:
    """Linear hair albedo: mostly natural tones, sometimes dyed."""
    color = _HAIR_COLORS[rng.choice(len(_HAIR_COLORS), p=_HAIR_ODDS / _HAIR_ODDS.sum())]
    return srgb_to_linear(np.clip(color * rng.uniform(0.8, 1.2), 0.02, 0.95))


def paint_pattern(
    name: str, points: BodyFields, colors: Sequence[NDArray], scale: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Colours of a cloth pattern at body points.

    Args:
        name: One of ``PATTERNS``.
        points: Where, ``N`` points.
        colors: At least two linear RGB colours.
        scale: Size of one repeat in metres.
        rng: For phases and blotches.

    Returns:
        Linear RGB ``(N, 3)``.
    """
    first, second = np.asarray(colors[0]), np.asarray(colors[1])
    along = np.where(points.arm > 0.5, points.arm_t * 0.26, points.position[:, 1])
    across = points.across + (rng.random() - 0.5) * scale
    blend = _PATTERN_BLENDS[name](along / scale, across / scale, points, rng)
    return first + (second - first) * blend[:, None]


def _wave_step(phase: NDArray, share: float = 0.5) -> NDArray:
    """Antialiased square wave of period one that is 1 on a share of each period."""
    return np.clip((share / 2 - np.abs(phase - np.floor(phase) - 0.5)) * 12 + 0.5, 0, 1)


def _checks(along: NDArray, across: NDArray, points: BodyFields, rng: np.random.Generator) -> NDArray:
    if rng.random() < 0.5:
        return 0.5 * _wave_step(along) + 0.5 * _wave_step(across)
    a, b = _wave_step(along), _wave_step(across)
    return a * b + (1 - a) * (1 - b)


def _dots(along: NDArray, across: NDArray, points: BodyFields, rng: np.random.Generator) -> NDArray:
    shifted = across + 0.5 * (np.floor(along) % 2)
    radius = np.hypot(along % 1 - 0.5, shifted % 1 - 0.5)
    return np.clip((rng.uniform(0.2, 0.36) - radius) * 12 + 0.5, 0, 1)


def _camouflage(along: NDArray, across: NDArray, points: BodyFields, rng: np.random.Generator) -> NDArray:
    value = smooth_noise(points.position, rng, 0.16, 24) + 0.5 * smooth_noise(points.position, rng, 0.07, 24)
    return np.clip(np.floor(value * 1.2 + 1.5), 0, 3) / 3


def _blocks(along: NDArray, across: NDArray, points: BodyFields, rng: np.random.Generator) -> NDArray:
    normal = np.array([rng.normal(), rng.normal(), 0.0])
    normal /= np.linalg.norm(normal)
    offset = (points.position - [0, rng.uniform(0.15, 0.4) if rng.random() < 0.7 else -0.3, 0]) @ normal
    return np.clip(offset * 300 + 0.5, 0, 1)


_PATTERN_BLENDS = {
    "plain": lambda along, across, points, rng: np.zeros(len(along)),
    "stripes": lambda along, across, points, rng: _wave_step(
        along if rng.random() < 0.65 else across, rng.uniform(0.2, 0.6)
    ),
    "checks": _checks,
    "dots": _dots,
    "gradient": lambda along, across, points, rng: np.clip((points.height_t + 0.9) / 2.4, 0, 1),
    "camouflage": _camouflage,
    "colour blocks": _blocks,
}


def text_mask(text: str, width: int = 256, height: int = 128) -> NDArray[np.float32]:
    """Picture of a printed word in [0, 1], ``(height, width)``, with the font inside Pillow."""
    picture = Image.new("L", (width, height), 0)
    draw = ImageDraw.Draw(picture)
    for size in range(height, 8, -4):
        font = ImageFont.load_default(size=size)
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
        if right - left <= width * 0.96 and bottom - top <= height * 0.96:
            break
    position = ((width - right - left) / 2, (height - bottom - top) / 2)
    draw.text(position, text, fill=255, font=font, stroke_width=2, stroke_fill=255)
    return np.asarray(picture, dtype=np.float32) / 255.0


def random_print(rng: np.random.Generator) -> str:
    """A word or a number to print on cloth."""
    return str(rng.integers(1, 100)) if rng.random() < 0.5 else str(rng.choice(_WORDS))


def paint_print(
    colors_N3: NDArray,
    points: BodyFields,
    mask_HW: NDArray,
    color: NDArray,
    center: NDArray,
    width: float,
    back: bool,
) -> NDArray:
    """Print a picture on the chest or the back by a planar projection.

    Args:
        colors_N3: Linear colours to print over, ``(N, 3)``.
        points: Where those colours are.
        mask_HW: Ink coverage in [0, 1].
        color: Ink, linear RGB.
        center: Middle of the print on the template, metres; only x and y are used.
        width: Width of the print, metres.
        back: Print on the back instead of the front.

    Returns:
        New colours ``(N, 3)``.
    """
    rows, columns = mask_HW.shape
    side = -1.0 if back else 1.0
    u = (side * (points.position[:, 0] - center[0]) / width + 0.5) * columns
    v = ((center[1] - points.position[:, 1]) / (width * rows / columns) + 0.5) * rows
    x, y = np.floor(u).astype(np.int64), np.floor(v).astype(np.int64)
    hit = (x >= 0) & (x < columns) & (y >= 0) & (y < rows) & (side * points.normal[:, 2] > 0.1)
    hit &= points.arm < 0.4
    ink = np.zeros(len(u))
    ink[hit] = mask_HW[y[hit], x[hit]]
    return colors_N3 + (color - colors_N3) * ink[:, None]
