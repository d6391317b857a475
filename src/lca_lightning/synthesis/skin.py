"""Skin, face paint and eyes, as functions of points on the body. All colours are linear RGB."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lca_lightning.datasets.linear_light import srgb_to_linear
from lca_lightning.synthesis.body_atlas import BodyFields, Landmarks
from lca_lightning.synthesis.textures import smooth_noise

# sRGB stops from little to much melanin
_SKIN_RAMP = np.array(
    [
        (0.93, 0.79, 0.70),
        (0.90, 0.71, 0.59),
        (0.84, 0.62, 0.48),
        (0.66, 0.45, 0.32),
        (0.46, 0.30, 0.20),
        (0.30, 0.19, 0.13),
    ]
)
_IRIS_COLORS = np.array(
    [(0.28, 0.16, 0.08), (0.40, 0.25, 0.11), (0.36, 0.40, 0.24), (0.30, 0.46, 0.62), (0.42, 0.48, 0.52)]
)


def skin_color(melanin: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Linear skin albedo for a melanin value in [0, 1], with a little random undertone."""
    stops = np.linspace(0, 1, len(_SKIN_RAMP))
    color = np.array([np.interp(melanin, stops, _SKIN_RAMP[:, channel]) for channel in range(3)])
    return srgb_to_linear(np.clip(color + rng.normal(0, 0.015, 3), 0.05, 1.0))


def paint_skin(
    points: BodyFields, marks: Landmarks, skin: NDArray, hair: NDArray, rng: np.random.Generator, beard: float
) -> NDArray[np.float64]:
    """Skin with blush, lips, lid line, eyebrows, beard and the inside of the mouth.

    Args:
        points: ``N`` points of the body.
        marks: Places of the features on the template.
        skin: Linear skin albedo.
        hair: Linear colour of eyebrows and beard.
        rng: For the small variations.
        beard: Strength in [0, 1].

    Returns:
        Linear RGB ``(N, 3)``.
    """
    position = points.position
    mottled = 1 + 0.035 * smooth_noise(position, rng, 0.12, 16) + 0.02 * smooth_noise(position, rng, 0.03, 16)
    colors = skin * mottled[:, None]
    blood = np.array([1.0, 0.62, 0.6])
    colors = _tint(colors, colors * blood, rng.uniform(0.15, 0.4) * _blush(points, marks))
    lips = (
        srgb_to_linear(np.array([0.75, 0.33, 0.33]))
        if rng.random() < 0.25
        else skin * np.array([0.82, 0.42, 0.42])
    )
    colors = _tint(
        colors, lips, rng.uniform(0.6, 0.95) * _fade(points.lip, 0.0085, 0.002) * (points.inner < 0.5)
    )
    colors = _tint(colors, np.minimum(hair, 0.05), beard * _beard(points, marks))
    colors = _tint(colors, skin * 0.12, 0.85 * _fade(points.lid, 0.0014, 0.0008))
    colors = _tint(colors, np.minimum(hair * 0.7, 0.25), 0.9 * _eyebrows(points, marks, rng))
    mouth = srgb_to_linear(np.array([0.42, 0.16, 0.16]))
    return _tint(colors, mouth, points.inner)


def _tint(colors_N3: NDArray, color: NDArray, amount_N: NDArray) -> NDArray:
    return colors_N3 + (color - colors_N3) * np.clip(amount_N, 0, 1)[:, None]


def _fade(distance: NDArray, radius: float, softness: float) -> NDArray:
    """1 inside a radius, 0 outside, with a soft edge; metres."""
    return np.clip((radius - distance) / softness + 0.5, 0, 1)


def _blush(points: BodyFields, marks: Landmarks) -> NDArray:
    amount = np.zeros(len(points.position))
    nose = 0.5 * (0.5 * (marks.eye_left + marks.eye_right) + marks.mouth) + np.array([0, 0, 0.02])
    for center, size in (
        (marks.eye_left + [0.012, -0.038, 0], 0.022),
        (marks.eye_right + [-0.012, -0.038, 0], 0.022),
        (nose, 0.016),
    ):
        amount += np.exp(-0.5 * ((points.position - center) ** 2).sum(1) / size**2)
    fingertips = 0.5 * np.clip(points.arm_t - 2.3, 0, 0.4) * points.arm
    return amount + fingertips


def _beard(points: BodyFields, marks: Landmarks) -> NDArray:
    offset = points.position - marks.mouth
    moustache = _fade(np.hypot(offset[:, 0] / 4, offset[:, 1] - 0.012), 0.006, 0.006)
    below = _fade(offset[:, 1], -0.002, 0.025) + 0.8 * moustache
    front = _fade(-offset[:, 2], 0.075, 0.04) * _fade(-offset[:, 1], 0.05, 0.02)
    return np.clip(below, 0, 1) * front * (points.lip > 0.008) * (points.head > 0.5)


def _eyebrows(points: BodyFields, marks: Landmarks, rng: np.random.Generator) -> NDArray:
    height, thickness = rng.uniform(0.019, 0.024), rng.uniform(0.0022, 0.0042)
    x = np.abs(points.position[:, 0]) - marks.eye_left[0]
    arch = marks.eye_left[1] + height - 8.0 * (x - 0.004) ** 2
    vertical = np.abs(points.position[:, 1] - arch)
    taper = np.clip(1.2 - np.clip(x, 0, 1) / 0.035, 0.3, 1)
    inside = _fade(np.abs(x - 0.002), 0.020, 0.003) * (points.position[:, 2] > marks.eye_left[2] - 0.02)
    return _fade(vertical, thickness, 0.0018) * taper * inside


def eye_texture(rng: np.random.Generator, size: int = 96) -> NDArray[np.float32]:
    """Eye picture for a frontal planar projection that spans the eyeball, linear RGB ``(size, size, 3)``."""
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    radius = np.hypot(*np.meshgrid(axis, axis))
    iris = _IRIS_COLORS[rng.integers(len(_IRIS_COLORS))] * rng.uniform(0.8, 1.2)
    white = np.array([0.90, 0.88, 0.86])
    colors = np.broadcast_to(white, (size, size, 3)).copy()
    ring = np.clip((0.50 - radius) * 14 + 0.5, 0, 1)[..., None]
    colors = colors + (iris * np.clip(0.45 + radius[..., None] * 1.1, 0, 1) - colors) * ring
    pupil = np.clip((0.21 - radius) * 14 + 0.5, 0, 1)[..., None]
    return srgb_to_linear(np.clip(colors * (1 - pupil) + 0.02 * pupil, 0, 1)).astype(np.float32)
