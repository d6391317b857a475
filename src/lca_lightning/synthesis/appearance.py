"""The body of a person as a renderer sees it: painted skin and clothes, cloth thickness, eyes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lca_lightning.rig.rig import Rig
from lca_lightning.synthesis.atlas import BodyTemplate
from lca_lightning.synthesis.attachment import Part
from lca_lightning.synthesis.body_atlas import (
    Array,
    BodyFields,
    IntArray,
    Landmarks,
    eye_vertices,
    vertex_normals,
)
from lca_lightning.synthesis.garments import Outfit
from lca_lightning.synthesis.hair import HAIRLESS, scalp_distance
from lca_lightning.synthesis.skin import eye_texture, paint_skin, skin_color
from lca_lightning.synthesis.textures import smooth_noise


def body_texture(
    template: BodyTemplate,
    outfit: Outfit,
    style: str,
    hair: NDArray,
    melanin: float,
    gender: float,
    rng: np.random.Generator,
) -> Array:
    """Paint skin, stubble and clothes on a texture, linear RGB ``(size, size, 3)``."""
    texels, marks = template.texels, template.marks
    skin = skin_color(melanin, rng)
    beard = float(rng.choice([0.0, rng.uniform(0.15, 0.65)])) * float(gender < 0.5)
    colors = paint_skin(texels, marks, skin, hair, rng, beard)
    if style not in HAIRLESS:
        strength = 0.7 if style == "stubble" else 1.0
        amount = np.clip(scalp_distance(texels, marks) / 0.006 + 0.5, 0, 1) * strength * (texels.inner < 0.5)
        colors = colors + (np.minimum(hair, 0.6) - colors) * amount[:, None]
    colors = outfit.paint(colors, texels, marks)
    return template.atlas.image(np.clip(colors, 0.01, 0.9).astype(np.float32))


def clothing_offset(
    canonical: NDArray,
    faces: IntArray,
    fields: BodyFields,
    marks: Landmarks,
    outfit: Outfit,
    rng: np.random.Generator,
) -> NDArray:
    """Displacement of covered vertices: details smoothed, cloth thickness, wrinkles; metres ``(V, 3)``."""
    thickness = outfit.thickness(fields, marks)
    covered = np.clip(thickness / 0.004, 0, 1)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    both = np.concatenate([edges, edges[:, ::-1]])
    graph = sparse.coo_matrix(
        (np.ones(len(both)), (both[:, 0], both[:, 1])), shape=(len(canonical),) * 2
    ).tocsr()
    graph.data[:] = 1.0
    average = sparse.diags(1 / np.maximum(np.asarray(graph.sum(1)).ravel(), 1)) @ graph
    smooth = canonical.copy()
    for _ in range(12):
        smooth += 0.6 * covered[:, None] * (average @ smooth - smooth)
    wrinkles = 0.16 * thickness * smooth_noise(fields.position, rng, 0.11, 24)
    return smooth - canonical + vertex_normals(smooth, faces) * (thickness + wrinkles)[:, None]


def body_part(rig: Rig, texture: Array) -> Part:
    """The skin with clothes painted on, without eyeballs and hidden triangles."""
    faces, uv_faces = rig.faces_F3.numpy(), rig.uv_faces_F3.numpy()
    keep = rig.visible_faces_F.numpy() & ~eye_vertices(rig)[faces].any(1)
    corners, inverse = np.unique(uv_faces[keep], return_inverse=True)
    owner = np.zeros(len(rig.uv_coordinates_U2), dtype=np.int64)
    owner[uv_faces.ravel()] = faces.ravel()
    uv = rig.uv_coordinates_U2.numpy()[corners]
    return Part("body", owner[corners], inverse.reshape(-1, 3), uv, texture)


def eyes_part(template: BodyTemplate, rng: np.random.Generator) -> Part:
    """Eyeballs with an iris by planar projection from the front."""
    rig, marks = template.rig, template.marks
    faces = rig.faces_F3.numpy()
    chosen = faces[eye_vertices(rig)[faces].all(1)]
    vertices, inverse = np.unique(chosen, return_inverse=True)
    position = template.fields.position[vertices]
    uv = np.zeros((len(vertices), 2), np.float32)
    for eye in (marks.eye_left, marks.eye_right):
        near = np.linalg.norm(position - eye, axis=1) < 0.025
        span = position[near, :2]
        middle, radius = 0.5 * (span.max(0) + span.min(0)), 0.5 * float(np.ptp(span[:, 1]))
        uv[near] = np.clip(0.5 + 0.5 * (span - middle) / radius, 0.02, 0.98)
        uv[near & (position[:, 2] < eye[2])] = 0.02
    return Part("eyes", vertices, inverse.reshape(-1, 3), uv, eye_texture(rng))
