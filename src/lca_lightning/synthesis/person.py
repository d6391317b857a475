"""A synthetic person: identity, appearance and the meshes a renderer needs for each frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from lca_lightning.geometry.skinning import skin_points
from lca_lightning.rig.rig import Rig, RigPose
from lca_lightning.synthesis.body_atlas import (
    Array,
    Atlas,
    BodyFields,
    IntArray,
    Landmarks,
    body_landmarks,
    eye_vertices,
    rasterise_atlas,
    vertex_fields,
    vertex_normals,
)
from lca_lightning.synthesis.garments import Outfit, random_outfit
from lca_lightning.synthesis.hair import build_hair, random_style, scalp_distance
from lca_lightning.synthesis.shoes import build_shoes
from lca_lightning.synthesis.skirt import SkirtMesh, build_skirt
from lca_lightning.synthesis.textures import (
    eye_texture,
    hair_color,
    paint_skin,
    random_cloth_color,
    skin_color,
    smooth_noise,
)

_FRAMES_AT_ONCE = 8
_PHENOTYPE_RANGES = {
    "gender": (0.0, 1.0),
    "age": (0.6, 0.95),
    "muscle": (0.2, 0.85),
    "weight": (0.2, 0.85),
    "height": (0.3, 0.75),
    "proportions": (0.3, 0.9),
    "cupsize": (0.2, 0.7),
    "firmness": (0.3, 0.8),
    "african": (0.0, 1.0),
    "asian": (0.0, 1.0),
    "caucasian": (0.0, 1.0),
}
_LOCAL_CHANGE_DEVIATION = 0.25


@dataclass(frozen=True)
class BodyTemplate:
    """What all synthetic people of one rig share."""

    rig: Rig
    fields: BodyFields
    marks: Landmarks
    atlas: Atlas
    texels: BodyFields


@dataclass(frozen=True)
class Part:
    """One mesh of a person.

    Attributes:
        name: "body", "eyes", "hair", "shoes" or "skirt".
        points: Index of each render vertex among the person's welded points, ``(N,)``.
        faces_F3: Triangles over the render vertices.
        uv_N2: Texture coordinates (v upwards), or None for vertex colours.
        texture: Linear RGB ``(H, W, 3)``, or None.
        colors_N3: Linear RGB per render vertex, or None.
    """

    name: str
    points: IntArray
    faces_F3: IntArray
    uv_N2: Array | None = None
    texture: Array | None = None
    colors_N3: Array | None = None


@dataclass(frozen=True)
class Person:
    """A person ready to be posed.

    Attributes:
        rig: The rig.
        identity_I: Identity values of the rig.
        parts: Meshes to render.
        outfit: What the person wears.
        hair_style: One of ``hair.STYLES``.
    """

    rig: Rig
    identity_I: Tensor
    parts: tuple[Part, ...]
    outfit: Outfit
    hair_style: str
    _body_offset_V3: Tensor
    _shell_vertex: Tensor
    _shell_offset: Tensor
    _extra_points: Tensor
    _weights: Tensor
    _welded_faces: IntArray

    def posed_points(self, pose: RigPose, expression_TE: Tensor) -> Array:
        """Welded points of all parts in world axes.

        Args:
            pose: Pose of ``T`` frames.
            expression_TE: Expression coefficients.

        Returns:
            Metres, ``(T, N, 3)``.
        """
        frames = []
        with torch.no_grad():
            transforms = self.rig.joint_transforms(self.identity_I[None], pose)
            for start in range(0, len(expression_TE), _FRAMES_AT_ONCE):
                part = slice(start, start + _FRAMES_AT_ONCE)
                expression = expression_TE[part]
                identity = self.identity_I.expand(len(expression), -1)
                body = self.rig.canonical_vertices(identity, expression) + self._body_offset_V3
                shell = body[:, self._shell_vertex] + self._shell_offset
                extra = self._extra_points.expand(len(expression), -1, -1)
                points = torch.cat([body, shell, extra], 1)
                frames.append(skin_points(points, self._weights, transforms[part]))
        return torch.cat(frames).numpy()

    def normals(self, points_N3: NDArray) -> Array:
        """Unit normals of one frame's welded points, ``(N, 3)``."""
        return vertex_normals(points_N3, self._welded_faces)


@lru_cache(maxsize=2)
def load_template(rig: Rig, texture_size: int) -> BodyTemplate:
    """Fields and atlas of a rig, computed once per process."""
    fields = vertex_fields(rig)
    atlas = rasterise_atlas(rig, texture_size)
    texels = fields.at_texels(rig.faces_F3.numpy(), atlas.triangle_N, atlas.barycentric_N3)
    return BodyTemplate(rig, fields, body_landmarks(rig), atlas, texels)


def random_identity(rig: Rig, rng: np.random.Generator) -> Tensor:
    """Identity values of a random adult, inside the rig's bounds, ``(I,)``."""
    bounds = rig.identity_bounds().double().numpy()
    neutral = rig.neutral_identity().double().numpy()
    values = np.empty(len(neutral))
    for index, name in enumerate(rig.identity_names):
        if name in _PHENOTYPE_RANGES:
            values[index] = rng.uniform(*_PHENOTYPE_RANGES[name])
        else:
            spread = _LOCAL_CHANGE_DEVIATION * (bounds[index, 1] - bounds[index, 0]) / 2
            values[index] = neutral[index] + rng.normal(0, spread)
    _keep_sides_equal(rig.identity_names, values)
    return torch.from_numpy(np.clip(values, bounds[:, 0], bounds[:, 1])).float()


def _keep_sides_equal(names: tuple[str, ...], values: NDArray) -> None:
    for index, name in enumerate(names):
        other = "l-" + name[2:]
        if name.startswith("r-") and other in names:
            values[index] = values[names.index(other)]


def create_person(template: BodyTemplate, rng: np.random.Generator) -> Person:
    """Draw a person: body, skin, hair, clothes.

    Args:
        template: Shared fields of the rig.
        rng: Source of every choice; the same state gives the same person.

    Returns:
        The person.
    """
    rig, fields, marks = template.rig, template.fields, template.marks
    identity = random_identity(rig, rng)
    outfit = random_outfit(rng)
    gender = float(identity[rig.identity_names.index("gender")]) if "gender" in rig.identity_names else 0.5
    style = random_style(rng, gender)
    hair = hair_color(rng)
    texture = _body_texture(template, outfit, style, hair, gender, rng)
    canonical = rig.canonical_vertices(identity[None])[0].numpy().astype(np.float64)
    offset = _clothing_offset(canonical, rig.faces_F3.numpy(), fields, marks, outfit, rng)
    assembly = _Assembly(rig, [_body_part(rig, texture), _eyes_part(template, rng)])
    shell_color = random_cloth_color(rng) if style == "beanie" else hair
    shell = build_hair(style, fields, rig.faces_F3.numpy(), marks, shell_color, rng)
    shell_vertex, shell_offset = np.zeros(0, np.int64), np.zeros((0, 3), np.float32)
    if shell is not None:
        shell_vertex, shell_offset = shell.vertex_N, shell.offset_N3
        assembly.add("hair", shell.faces_F3, _head_weights(rig, len(shell_vertex)), colors_N3=shell.colors_N3)
    joints = rig.canonical_joints(identity[None])[0].numpy().astype(np.float64)
    shoes = build_shoes(rig, canonical, joints, *outfit.shoes_paint.colors[:2])
    assembly.add("shoes", shoes.faces_F3, shoes.weights_NJ, colors_N3=shoes.colors_N3)
    extra = [shoes.points_N3]
    if outfit.skirt is not None and outfit.skirt_paint is not None:
        skirt = build_skirt(outfit.skirt, outfit.skirt_paint, rig, fields, marks, canonical + offset)
        assembly.add_skirt(skirt)
        extra.append(skirt.points_N3)
    return Person(
        rig,
        identity,
        tuple(assembly.parts),
        outfit,
        style,
        torch.from_numpy(offset.astype(np.float32)),
        torch.from_numpy(shell_vertex),
        torch.from_numpy(shell_offset),
        torch.from_numpy(np.concatenate(extra)),
        torch.cat(assembly.weights),
        np.concatenate(assembly.faces),
    )


class _Assembly:
    """Collects the welded points and the parts of a person, in the order of `Person.posed_points`."""

    def __init__(self, rig: Rig, parts: list[Part]) -> None:
        self.parts = parts
        self.faces = [rig.faces_F3.numpy()]
        self.weights = [rig.weights_VJ]

    def _weld(self, faces_F3: IntArray, weights_NJ: Tensor) -> int:
        start = sum(len(weights) for weights in self.weights)
        self.faces.append(faces_F3 + start)
        self.weights.append(weights_NJ)
        return start

    def add(self, name: str, faces_F3: IntArray, weights_NJ: Tensor, colors_N3: Array) -> None:
        """A part with vertex colours whose render vertices are its welded points."""
        start = self._weld(faces_F3, weights_NJ)
        self.parts.append(Part(name, np.arange(len(weights_NJ)) + start, faces_F3, colors_N3=colors_N3))

    def add_skirt(self, skirt: SkirtMesh) -> None:
        """The skirt, whose texture seam doubles one column of points."""
        start = self._weld(skirt.faces_F3, torch.from_numpy(skirt.weights_NJ))
        points = skirt.render_points + start
        self.parts.append(Part("skirt", points, skirt.render_faces_F3, skirt.uv_N2, skirt.texture))


def _head_weights(rig: Rig, count: int) -> Tensor:
    weights = torch.zeros(count, len(rig.joint_names))
    weights[:, rig.joint_names.index("head")] = 1.0
    return weights


def _body_texture(
    template: BodyTemplate, outfit: Outfit, style: str, hair: NDArray, gender: float, rng: np.random.Generator
) -> Array:
    texels, marks = template.texels, template.marks
    skin = skin_color(float(rng.random()), rng)
    beard = float(rng.choice([0.0, rng.uniform(0.15, 0.65)])) * float(gender < 0.5)
    colors = paint_skin(texels, marks, skin, hair, rng, beard)
    if style not in ("bald", "beanie"):
        strength = 0.7 if style == "stubble" else 1.0
        amount = np.clip(scalp_distance(texels, marks) / 0.006 + 0.5, 0, 1) * strength * (texels.inner < 0.5)
        colors = colors + (np.minimum(hair, 0.6) - colors) * amount[:, None]
    colors = outfit.paint(colors, texels, marks)
    return template.atlas.image(np.clip(colors, 0.01, 0.9).astype(np.float32))


def _clothing_offset(
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


def _body_part(rig: Rig, texture: Array) -> Part:
    """The skin with clothes painted on, without eyeballs and hidden triangles."""
    faces, uv_faces = rig.faces_F3.numpy(), rig.uv_faces_F3.numpy()
    keep = rig.visible_faces_F.numpy() & ~eye_vertices(rig)[faces].any(1)
    corners, inverse = np.unique(uv_faces[keep], return_inverse=True)
    owner = np.zeros(len(rig.uv_coordinates_U2), dtype=np.int64)
    owner[uv_faces.ravel()] = faces.ravel()
    uv = rig.uv_coordinates_U2.numpy()[corners]
    return Part("body", owner[corners], inverse.reshape(-1, 3), uv, texture)


def _eyes_part(template: BodyTemplate, rng: np.random.Generator) -> Part:
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
