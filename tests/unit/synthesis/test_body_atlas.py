"""The UV atlas covers the body and gives every texel its place."""

from __future__ import annotations

import numpy as np
import pytest

from lca_lightning.rig.anny import AnnyRig
from lca_lightning.synthesis.atlas import rasterise_atlas
from lca_lightning.synthesis.body_atlas import (
    BodyFields,
    Landmarks,
    body_landmarks,
    vertex_fields,
    vertex_normals,
)
from lca_lightning.synthesis.hair import grid_faces, unit_sphere


@pytest.fixture(scope="module")
def fields(rig: AnnyRig) -> BodyFields:
    return vertex_fields(rig)


@pytest.fixture(scope="module")
def marks(rig: AnnyRig) -> Landmarks:
    return body_landmarks(rig)


def test_texels_lie_at_their_uv_coordinates(rig: AnnyRig) -> None:
    atlas = rasterise_atlas(rig, 256)
    assert len(np.unique(atlas.texel_N)) == len(atlas.texel_N)
    corners = rig.uv_coordinates_U2.numpy()[rig.uv_faces_F3.numpy()[atlas.triangle_N]]
    uv = (corners * atlas.barycentric_N3[..., None]).sum(1)
    pixel = np.stack([uv[:, 0] * 256, (1 - uv[:, 1]) * 256], -1)
    center = np.stack([atlas.texel_N % 256, atlas.texel_N // 256], -1) + 0.5
    distance = np.linalg.norm(pixel - center, axis=1)
    assert np.median(distance) < 1e-3
    assert distance.max() < 7.5  # the margin round the charts
    assert np.abs(atlas.barycentric_N3.sum(1) - 1).max() < 1e-3


def test_landmarks_are_where_a_person_has_them(marks: Landmarks) -> None:
    assert marks.eye_left[0] == pytest.approx(-marks.eye_right[0], abs=1e-4)
    assert 0.04 < marks.eye_left[1] - marks.mouth[1] < 0.1
    assert abs(marks.mouth[0]) < 2e-3 and marks.mouth[2] > marks.eye_left[2]
    heights = [marks.crown_y, marks.neck[1], marks.hip_y, marks.knee_y, marks.ankle_y, marks.sole_y]
    assert heights == sorted(heights, reverse=True)


def test_fields_grow_along_limbs_and_are_symmetric(rig: AnnyRig, fields: BodyFields) -> None:
    position = fields.position
    hands = fields.arm_t[(fields.arm > 0.9) & (np.abs(position[:, 0]) > 0.55)]
    assert hands.min() > 1.9
    soles = fields.height_t[position[:, 1] < position[:, 1].min() + 0.02]
    assert soles.min() > 2.1
    left, right = (fields.arm_t[(fields.arm > 0.9) & (sign * position[:, 0] > 0)] for sign in (1, -1))
    assert np.sort(left) == pytest.approx(np.sort(right), abs=0.02)
    assert 0 < fields.inner.sum() < 0.15 * len(position)


def test_normals_point_outwards_with_length_one() -> None:
    sphere, faces = unit_sphere(10, 14)
    normals = vertex_normals(sphere, faces)
    inner = slice(14, -14)  # rows of the poles consist of coinciding vertices
    assert (normals * sphere).sum(1)[inner].min() > 0.97


def test_grid_faces_close_around() -> None:
    faces = grid_faces(3, 5)
    assert len(faces) == 2 * 2 * 5
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    _, counts = np.unique(edges, axis=0, return_counts=True)
    assert (counts == 1).sum() == 2 * 5  # only the two open rims
