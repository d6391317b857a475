"""A skirt or the skirt of a coat: a tube around hips and legs with a texture and weights of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lca_lightning.rig.rig import Rig
from lca_lightning.synthesis.body_atlas import Array, BodyFields, IntArray, Landmarks
from lca_lightning.synthesis.garments import Paint, Skirt

ROWS, COLUMNS = 22, 64
_TEXTURE_ROWS, _TEXTURE_COLUMNS = 192, 384


@dataclass(frozen=True)
class SkirtMesh:
    """Canonical skirt of one subject.

    Attributes:
        points_N3: Welded grid points, metres, rows from the waist down.
        weights_NJ: Skinning weights.
        faces_F3: Triangles over the welded points.
        render_points: Welded point of each render vertex (one more column, so that the texture closes).
        render_faces_F3: Triangles over the render vertices.
        uv_N2: Texture coordinates of the render vertices, v upwards.
        texture: Linear RGB ``(H, W, 3)``.
    """

    points_N3: Array
    weights_NJ: Array
    faces_F3: IntArray
    render_points: IntArray
    render_faces_F3: IntArray
    uv_N2: Array
    texture: Array


def build_skirt(
    skirt: Skirt,
    paint: Paint,
    rig: Rig,
    points: BodyFields,
    marks: Landmarks,
    body_V3: NDArray,
    room: float = 0.008,
) -> SkirtMesh:
    """Fit a skirt around a subject's canonical body.

    Args:
        skirt: Cut.
        paint: Pattern and colours.
        rig: For joint names.
        points: Fields at the vertices of the template.
        marks: Places on the template.
        body_V3: The subject's canonical vertices, metres.
        room: Distance from the body at the waist, metres.

    Returns:
        The mesh with its texture; a skirt with a slit is open in front, columns 0 and -1 being its edges.
    """
    levels = np.linspace(skirt.waist, skirt.hem, ROWS)
    angles = column_angles(skirt.slit)
    directions = np.stack([np.sin(angles), np.cos(angles)], -1)
    trunk = (points.arm < 0.3) & (points.height_t > -0.6)
    heights, radii = _support(levels, directions, points.height_t[trunk], body_V3[trunk])
    share = np.linspace(0, 1, ROWS)[:, None]
    radii = np.maximum.accumulate(radii, axis=0) + room + skirt.flare * share**1.2
    folds = 1 + 0.05 * share * np.sin(angles * 11 + paint.seed % 7)
    center = body_V3[trunk & (np.abs(points.height_t - skirt.waist) < 0.08)][:, [0, 2]].mean(0)
    x = center[0] + radii * folds * np.sin(angles)
    z = center[1] + radii * folds * np.cos(angles)
    grid = np.stack(np.broadcast_arrays(x, heights[:, None], z), -1).reshape(-1, 3)
    uv, render_points, render_faces = _texture_grid(skirt.slit > 0)
    welded_faces = render_points[render_faces]
    return SkirtMesh(
        grid.astype(np.float32),
        _weights(rig, levels, x),
        welded_faces,
        render_points,
        render_faces,
        uv,
        _texture(skirt, paint, marks),
    )


def _support(
    levels: NDArray, directions: NDArray, height_t: NDArray, body: NDArray
) -> tuple[NDArray, NDArray]:
    """Height and outermost extent of the body per level and direction, about the waist's centre."""
    waist = np.abs(height_t - levels[0]) < 0.08
    center = body[waist][:, [0, 2]].mean(0)
    heights, radii = [], []
    for level in levels:
        band = np.abs(height_t - level) < 0.09
        heights.append(np.interp(level, *_height_curve(height_t, body)))
        radii.append(((body[band][:, [0, 2]] - center) @ directions.T).max(0))
    return np.array(heights), np.array(radii)


def _height_curve(height_t: NDArray, body: NDArray) -> tuple[NDArray, NDArray]:
    knots = np.linspace(-0.5, 2.0, 26)
    return knots, np.array([body[np.abs(height_t - knot) < 0.08, 1].mean() for knot in knots])


def _weights(rig: Rig, levels: NDArray, x: NDArray) -> Array:
    """Waist follows the root, the lower part the thighs, blended smoothly from left to right."""
    leg = np.clip((levels + 0.05) / 0.5, 0, 1)[:, None] * 0.9
    left = 1 / (1 + np.exp(-x / 0.05))
    weights = np.zeros((ROWS, COLUMNS, len(rig.joint_names)), dtype=np.float32)
    weights[..., rig.joint_names.index("root")] = 1 - leg
    weights[..., rig.joint_names.index("upperleg02.L")] = leg * left
    weights[..., rig.joint_names.index("upperleg02.R")] = leg * (1 - left)
    return weights.reshape(ROWS * COLUMNS, -1)


def column_angles(slit: float) -> NDArray[np.float64]:
    """Azimuths of the columns from the front, radians; a slit keeps its own angle free in front."""
    if slit > 0:
        return np.linspace(0.5 * slit, 2 * np.pi - 0.5 * slit, COLUMNS)
    return np.arange(COLUMNS) * 2 * np.pi / COLUMNS


def _texture_grid(opened: bool) -> tuple[Array, IntArray, IntArray]:
    """Texture coordinates, welded point of each render vertex, triangles; outward normals."""
    width = COLUMNS if opened else COLUMNS + 1
    rows, columns = np.meshgrid(np.arange(ROWS), np.arange(width), indexing="ij")
    uv = np.stack([columns / COLUMNS, 1 - rows / (ROWS - 1)], -1).reshape(-1, 2)
    welded = rows * COLUMNS + columns % COLUMNS
    index = np.arange(ROWS * width).reshape(ROWS, width)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    faces = np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)])
    return uv.astype(np.float32), welded.ravel(), faces


def _texture(skirt: Skirt, paint: Paint, marks: Landmarks) -> Array:
    level = np.linspace(skirt.waist, skirt.hem, _TEXTURE_ROWS)[:, None]
    angle = (np.arange(_TEXTURE_COLUMNS) + 0.5) * 2 * np.pi / _TEXTURE_COLUMNS
    level, angle = (part.ravel() for part in np.broadcast_arrays(level, angle[None]))
    y = np.interp(level, [-1, 0, 1, 2], [marks.neck[1], marks.hip_y, marks.knee_y, marks.ankle_y])
    normal = np.stack([np.sin(angle), np.zeros_like(angle), np.cos(angle)], -1)
    position = normal * 0.18 + np.stack([np.zeros_like(y), y, np.zeros_like(y)], -1)
    zero = np.zeros(len(y), dtype=np.float32)
    far = np.ones(len(y), dtype=np.float32)
    # One whole repeat more or less closes the pattern around the waist.
    repeats = max(1, round(2 * np.pi * 0.18 / paint.scale))
    across = angle / (2 * np.pi) * repeats * paint.scale
    fields = BodyFields(position, normal, zero, zero, zero, level, across, far, far, zero)
    colors = paint.colors_at(fields, marks)
    return colors.reshape(_TEXTURE_ROWS, _TEXTURE_COLUMNS, 3).astype(np.float32)
