"""Hair and headgear: a displaced copy of the scalp, let down for long styles, with a bun or tail."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lca_lightning.synthesis.body_atlas import Array, BodyFields, IntArray, Landmarks
from lca_lightning.synthesis.textures import smooth_noise

STYLES = ("bald", "stubble", "short", "full", "bob", "long", "bun", "tail", "beanie")
_ODDS = np.array([0.05, 0.10, 0.24, 0.16, 0.11, 0.14, 0.07, 0.07, 0.06])
_THICKNESS = {
    "short": 0.012,
    "full": 0.028,
    "bob": 0.020,
    "long": 0.020,
    "bun": 0.010,
    "tail": 0.010,
    "beanie": 0.014,
}
HAIRLESS = ("bald", "beanie")
_DROP = {"bob": 0.10, "long": 0.26}


@dataclass(frozen=True)
class HairShell:
    """Geometry that rides on the head.

    Attributes:
        vertex_N: Body vertex each shell vertex starts from, ``(N,)``.
        offset_N3: Displacement from that vertex in canonical axes, metres, ``(N, 3)``.
        faces_F3: Triangles over the shell's vertices.
        colors_N3: Linear albedo per vertex.
    """

    vertex_N: IntArray
    offset_N3: Array
    faces_F3: IntArray
    colors_N3: Array


def random_style(rng: np.random.Generator, gender: float) -> str:
    """Draw a hair style; ``gender`` is the rig's value of femininity."""
    odds = _ODDS.copy()
    long_styles = np.isin(STYLES, ["bob", "long", "bun", "tail"])
    odds[long_styles] *= 0.35 if gender < 0.5 else 1.8
    return str(rng.choice(STYLES, p=odds / odds.sum()))


def scalp_distance(points: BodyFields, marks: Landmarks, low: float = 0.0) -> NDArray[np.float64]:
    """Signed distance in metres above the hairline, negative on face, ears' front and neck.

    Args:
        points: ``N`` points of the body.
        marks: Places of eyes and head.
        low: Moves the hairline down by this many metres.

    Returns:
        ``(N,)``; the hairline runs from the forehead over the temples behind the ears to the nape.
    """
    front, back = head_span(points, marks)
    share = np.clip((points.position[:, 2] - back) / (front - back), 0, 1)
    eye_y = float(marks.eye_left[1])
    hairline = np.interp(
        share, [0.0, 0.3, 0.42, 0.5, 0.62, 0.75, 1.0], [-0.075, -0.06, -0.03, 0.015, 0.028, 0.055, 0.072]
    )
    above = points.position[:, 1] - (eye_y + hairline - low)
    return np.where((points.head > 0.5) & ~_ears(points, marks), above, -1.0)


def _ears(points: BodyFields, marks: Landmarks) -> NDArray[np.bool_]:
    """Points that stick out sideways further than the skull does above them."""
    above_eyes = points.position[:, 1] - marks.eye_left[1]
    skull = (points.head > 0.5) & (np.abs(above_eyes - 0.06) < 0.015)
    half_width = np.abs(points.position[skull, 0]).max()
    sideways = np.abs(points.position[:, 0]) > half_width + np.interp(
        above_eyes, [-0.04, 0.03], [-0.004, 0.003]
    )
    return sideways & (above_eyes < 0.03) & (points.head > 0.5)


def head_span(points: BodyFields, marks: Landmarks) -> tuple[float, float]:
    """Front and back of the skull along z, metres."""
    skull = (points.head > 0.5) & (points.position[:, 1] > marks.eye_left[1] + 0.02) & (points.inner < 0.5)
    depth = points.position[skull, 2]
    return float(depth.max()), float(depth.min())


def build_hair(
    style: str,
    points: BodyFields,
    faces_F3: IntArray,
    marks: Landmarks,
    color: NDArray,
    rng: np.random.Generator,
) -> HairShell | None:
    """Shell of a hair style on the template.

    Args:
        style: One of ``STYLES``.
        points: Fields at the vertices of the template.
        faces_F3: Triangles of the body.
        marks: Places on the template.
        color: Linear hair or cloth colour.
        rng: For tousle and streaks.

    Returns:
        The shell, or None for styles that are only painted on the skin.
    """
    if style in ("bald", "stubble"):
        return None
    above = scalp_distance(points, marks, 0.012 if style == "beanie" else 0.0)
    # Triangles across the hairline stay; outer corners dive under the skin for a smooth edge.
    usable = (points.inner < 0.5) & (above > -0.5)
    faces = faces_F3[(above > 0)[faces_F3].any(1) & usable[faces_F3].all(1)]
    vertices = np.unique(faces)
    lookup = np.full(len(above), -1)
    lookup[vertices] = np.arange(len(vertices))
    position = points.position[vertices].astype(np.float64)
    rise = np.clip(above[vertices] / 0.02, 0.0, 1.0)
    tousle = smooth_noise(position, rng, 0.05, 24) * (0.003 if style != "beanie" else 0.0004)
    thickness = _THICKNESS[style] * rng.uniform(0.8, 1.3) * rise + np.clip(above[vertices], -0.006, 0.002)
    offset = points.normal[vertices] * (thickness + tousle * rise)[:, None]
    if style in _DROP:
        offset += _let_down(position, marks, points, _DROP[style] * rng.uniform(0.75, 1.3))
    colors = color * _streaks(position, marks, rng, 0.06 if style == "beanie" else 0.25)[:, None]
    shell = HairShell(vertices, offset.astype(np.float32), lookup[faces], colors.astype(np.float32))
    return _with_knot(style, shell, points, marks, color, rng)


def _let_down(position: NDArray, marks: Landmarks, points: BodyFields, length: float) -> NDArray:
    """Displacement that pulls the lower back and sides of the scalp down into a curtain."""
    front, back = head_span(points, marks)
    share = (position[:, 2] - back) / (front - back)
    top = marks.eye_left[1] + 0.05
    lowest = position[:, 1].min()
    amount = np.clip((top - position[:, 1]) / (top - lowest), 0, 1) * np.clip((0.62 - share) / 0.12, 0, 1)
    center = np.array([0.0, 0.5 * (front + back) - 0.01])
    radial = position[:, [0, 2]] - center
    radius = np.linalg.norm(radial, axis=1, keepdims=True)
    wanted = np.array([0.086, 0.115])
    ellipse = radial / np.maximum(np.linalg.norm(radial / wanted, axis=1, keepdims=True), 1e-6)
    outward = (ellipse - radial) * (np.linalg.norm(ellipse, axis=1, keepdims=True) > radius)
    offset = np.zeros_like(position)
    offset[:, [0, 2]] = outward * np.clip(amount * 3, 0, 1)[:, None]
    offset[:, 1] = -length * amount**1.5
    offset[:, 2] -= 0.06 * np.clip(length - 0.1, 0, 1) / 0.2 * amount**2
    return offset


def _streaks(position: NDArray, marks: Landmarks, rng: np.random.Generator, strength: float) -> NDArray:
    offset = position - marks.head
    azimuth = np.arctan2(offset[:, 0], offset[:, 2])
    around = np.stack([np.cos(azimuth), np.sin(azimuth), 0.1 * offset[:, 1] / 0.1], -1)
    return np.clip(1 + strength * smooth_noise(around, rng, 0.25, 20), 0.4, 1.8)


def _with_knot(
    style: str,
    shell: HairShell,
    points: BodyFields,
    marks: Landmarks,
    color: NDArray,
    rng: np.random.Generator,
) -> HairShell:
    """Add a bun or a tail: an ellipsoid behind the head, carried by the nearest scalp vertex."""
    if style not in ("bun", "tail"):
        return shell
    _, back = head_span(points, marks)
    crown_share = rng.uniform(0.2, 0.8)
    height = marks.eye_left[1] + 0.02 + crown_share * 0.09
    size = rng.uniform(0.032, 0.05)
    radii = (
        np.array([size, size, size]) if style == "bun" else np.array([0.03, rng.uniform(0.09, 0.15), 0.03])
    )
    center = np.array([0.0, height, back - 0.3 * size + 0.05 * crown_share])
    if style == "tail":
        center += [0, -0.7 * radii[1], -0.015]
    sphere, faces = unit_sphere(12, 16)
    anchor = shell.vertex_N[np.argmin(((points.position[shell.vertex_N] - [0, height, back]) ** 2).sum(1))]
    position = center + sphere * radii
    colors = color * _streaks(position, marks, rng, 0.25)[:, None]
    return HairShell(
        np.concatenate([shell.vertex_N, np.full(len(sphere), anchor)]),
        np.concatenate([shell.offset_N3, position - points.position[anchor]]).astype(np.float32),
        np.concatenate([shell.faces_F3, faces + len(shell.vertex_N)]),
        np.concatenate([shell.colors_N3, colors]).astype(np.float32),
    )


def unit_sphere(rows: int, columns: int) -> tuple[NDArray[np.float64], IntArray]:
    """Vertices and outward triangles of a sphere of radius one, poles along y."""
    latitude = np.linspace(0, np.pi, rows + 1)[:, None]
    longitude = np.linspace(0, 2 * np.pi, columns, endpoint=False)[None]
    x, y, z = np.broadcast_arrays(
        np.sin(latitude) * np.sin(longitude), np.cos(latitude), np.sin(latitude) * np.cos(longitude)
    )
    vertices = np.stack([x, y, z], -1).reshape(-1, 3)
    return vertices, grid_faces(rows + 1, columns)


def grid_faces(rows: int, columns: int) -> IntArray:
    """Triangles of a grid closed around its columns; outward if rows go down and columns turn about +y."""
    index = np.arange(rows * columns).reshape(rows, columns)
    right = np.roll(index, -1, axis=1)
    a, b, c, d = index[:-1], right[:-1], index[1:], right[1:]
    return np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)])
