"""Where the texels of a texture lie on the body, and all that people of one rig share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lca_lightning.rig.rig import Rig
from lca_lightning.synthesis.body_atlas import (
    Array,
    BodyFields,
    IntArray,
    Landmarks,
    body_landmarks,
    vertex_fields,
)

_DILATION_PIXELS = 6.0


@dataclass(frozen=True)
class Atlas:
    """Where the texels of a square texture lie on the body.

    Attributes:
        size: Texture side in pixels.
        texel_N: Flat index of each painted texel, row-major, row 0 at v = 1, ``(N,)``.
        triangle_N: Its triangle, ``(N,)``.
        barycentric_N3: Its barycentric coordinates there, ``(N, 3)``.
    """

    size: int
    texel_N: IntArray
    triangle_N: IntArray
    barycentric_N3: Array

    def image(self, colors_N3: Array) -> Array:
        """Texture ``(size, size, 3)`` from texel colours; texels off the atlas are grey."""
        picture = np.full((self.size * self.size, 3), 0.5, dtype=np.float32)
        picture[self.texel_N] = colors_N3
        return picture.reshape(self.size, self.size, 3)


def rasterise_atlas(rig: Rig, size: int) -> Atlas:
    """Map the texels of a ``size x size`` texture to triangles, with a margin round each chart.

    Args:
        rig: Gives UV coordinates (v upwards) and UV triangles.
        size: Texture side in pixels.

    Returns:
        The atlas; texels centres are at +0.5.
    """
    uv = rig.uv_coordinates_U2.cpu().numpy().astype(np.float64)
    pixels = np.stack([uv[:, 0], 1.0 - uv[:, 1]], -1) * size
    corners = pixels[rig.uv_faces_F3.cpu().numpy()]
    low = np.clip(np.floor(corners.min(1) - 0.5), 0, size - 1).astype(np.int64)
    high = np.clip(np.ceil(corners.max(1) - 0.5), 0, size - 1).astype(np.int64)
    span = high - low + 1
    count = span[:, 0] * span[:, 1]
    triangle = np.repeat(np.arange(len(corners)), count)
    local = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    x = low[triangle, 0] + local % span[triangle, 0]
    y = low[triangle, 1] + local // span[triangle, 0]
    weights = _barycentric(corners[triangle], np.stack([x + 0.5, y + 0.5], -1))
    inside = (weights > -1e-6).all(1)
    owner = np.full(size * size, -1, dtype=np.int64)
    flat = (y * size + x)[inside]
    owner[flat] = np.flatnonzero(inside)
    covered = (owner >= 0).reshape(size, size)
    distance, nearest = ndimage.distance_transform_edt(~covered, return_indices=True)
    texel = np.flatnonzero(distance.ravel() <= _DILATION_PIXELS)
    source = owner[(nearest[0] * size + nearest[1]).ravel()[texel]]
    return Atlas(size, texel, triangle[source], np.clip(weights[source], 0, 1).astype(np.float32))


def _barycentric(corners_N32: NDArray, points_N2: NDArray) -> NDArray:
    first, second, third = corners_N32[:, 0], corners_N32[:, 1], corners_N32[:, 2]

    def cross(a: NDArray, b: NDArray) -> NDArray:
        return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]

    area = cross(second - first, third - first)
    area = np.where(np.abs(area) < 1e-12, 1e-12, area)
    b = cross(points_N2 - first, third - first) / area
    c = cross(second - first, points_N2 - first) / area
    return np.stack([1 - b - c, b, c], -1)


@dataclass(frozen=True)
class BodyTemplate:
    """What all synthetic people of one rig share."""

    rig: Rig
    fields: BodyFields
    marks: Landmarks
    atlas: Atlas
    texels: BodyFields


@lru_cache(maxsize=2)
def load_template(rig: Rig, texture_size: int) -> BodyTemplate:
    """Fields and atlas of a rig, computed once per process."""
    fields = vertex_fields(rig)
    atlas = rasterise_atlas(rig, texture_size)
    texels = fields.at_texels(rig.faces_F3.numpy(), atlas.triangle_N, atlas.barycentric_N3)
    return BodyTemplate(rig, fields, body_landmarks(rig), atlas, texels)
