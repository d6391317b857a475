"""Fields over the body that clothes, skin and hair are painted with, on vertices and on UV texels.

Paint depends on the position on the *template* body, never on UV coordinates themselves: UV seams stay
invisible and a garment follows every body shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import spatial

from lca_lightning.rig.rig import Rig

Array = NDArray[np.float32]
IntArray = NDArray[np.int64]

_ARM = ("upperarm", "lowerarm", "wrist", "finger", "metacarpal")
_HEAD = ("neck", "head", "eye")


@dataclass(frozen=True)
class BodyFields:
    """Quantities of ``N`` points of the template body, metres where not said otherwise.

    Attributes:
        position: Template positions, ``(N, 3)``.
        normal: Unit normals of the template, ``(N, 3)``.
        arm: Share of the skinning weight that belongs to the arm, ``(N,)``.
        head: Share that belongs to neck and head, ``(N,)``.
        arm_t: Along the arm: 0 at the shoulder, 1 at the elbow, 2 at the wrist, ``(N,)``.
        height_t: Along body and leg: -1 at the neck, 0 at the hip, 1 at the knee, 2 at the ankle, ``(N,)``.
        across: Coordinate across the limb or the torso for patterns, ``(N,)``.
        lip: Distance to the line between the lips, ``(N,)``.
        lid: Distance to the edges of the eyelids, ``(N,)``.
        inner: 1 inside mouth and eye sockets, 0 elsewhere, ``(N,)``.
    """

    position: Array
    normal: Array
    arm: Array
    head: Array
    arm_t: Array
    height_t: Array
    across: Array
    lip: Array
    lid: Array
    inner: Array

    def at_texels(self, faces_F3: IntArray, triangle_N: IntArray, barycentric_N3: Array) -> BodyFields:
        """Interpolate vertex fields to texels."""
        corners = faces_F3[triangle_N]

        def interpolate(values: Array) -> Array:
            weights = barycentric_N3 if values.ndim == 1 else barycentric_N3[..., None]
            return (values[corners] * weights).sum(1).astype(np.float32)

        return BodyFields(*(interpolate(getattr(self, name)) for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Landmarks:
    """Places on the template body, metres: eyes, mouth, joints of the limbs."""

    eye_left: Array
    eye_right: Array
    mouth: Array
    head: Array
    neck: Array
    hip_y: float
    knee_y: float
    ankle_y: float
    sole_y: float
    crown_y: float


def vertex_normals(vertices_V3: NDArray, faces_F3: IntArray) -> Array:
    """Area-weighted unit normals ``(V, 3)`` of a triangle mesh."""
    corners = vertices_V3[faces_F3]
    face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros(vertices_V3.shape, dtype=np.float64)
    for axis in range(3):
        normals[:, axis] = np.bincount(
            faces_F3.ravel(), np.repeat(face_normals[:, axis], 3), minlength=len(vertices_V3)
        )
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return (normals / np.maximum(length, 1e-20)).astype(np.float32)


def joint_weight_share(rig: Rig, prefixes: tuple[str, ...]) -> Array:
    """Sum of the skinning weights of all joints whose name starts with one of the prefixes, ``(V,)``."""
    chosen = [index for index, name in enumerate(rig.joint_names) if name.startswith(prefixes)]
    return rig.weights_VJ[:, chosen].sum(1).cpu().numpy().astype(np.float32)


def eye_vertices(rig: Rig) -> NDArray[np.bool_]:
    """True for vertices of the eyeballs, ``(V,)``."""
    return joint_weight_share(rig, ("eye.",)) > 0.5


def uv_charts(rig: Rig) -> IntArray:
    """Chart label of every triangle of the UV atlas, 0 for the largest, ``(F,)``."""
    from scipy.sparse import coo_matrix, csgraph

    uv_faces = rig.uv_faces_F3.cpu().numpy()
    edges = np.concatenate([uv_faces[:, [0, 1]], uv_faces[:, [1, 2]]])
    count = len(rig.uv_coordinates_U2)
    graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    labels = csgraph.connected_components(graph, directed=False)[1][uv_faces[:, 0]]
    found, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    rank = np.empty(len(found), dtype=np.int64)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(found))
    return rank[inverse]


def body_landmarks(rig: Rig) -> Landmarks:
    """Landmarks of the neutral template."""
    joints = rig.canonical_joints(rig.neutral_identity()[None])[0].cpu().numpy().astype(np.float32)
    at = {name: joints[index] for index, name in enumerate(rig.joint_names)}
    vertices = rig.template_vertices_V3.cpu().numpy()
    seam = _seam_vertices(rig)
    front = vertices[seam["lip"]]
    return Landmarks(
        eye_left=at["eye.L"],
        eye_right=at["eye.R"],
        mouth=front.mean(0).astype(np.float32),
        head=at["head"],
        neck=at["neck01"],
        hip_y=float(at["upperleg01.L"][1]),
        knee_y=float(at["lowerleg01.L"][1]),
        ankle_y=float(at["foot.L"][1]),
        sole_y=float(vertices[:, 1].min()),
        crown_y=float(vertices[:, 1].max()),
    )


def _head_charts(rig: Rig) -> tuple[IntArray, int, list[int]]:
    """Chart of every triangle, the chart of the head's skin, and those of mouth, tongue, sockets and eyes."""
    charts = uv_charts(rig)
    faces = rig.faces_F3.cpu().numpy()
    in_head = (joint_weight_share(rig, _HEAD) > 0.5)[faces].all(1)
    labels, sizes = np.unique(charts[in_head], return_counts=True)
    skin = int(labels[np.argmax(sizes)])
    inner = [int(label) for label in labels if label != skin and in_head[charts == label].all()]
    return charts, skin, inner


def _seam_vertices(rig: Rig) -> dict[str, IntArray]:
    """Vertices where the head's chart meets those of the mouth ("lip") and of the eye sockets ("lid")."""
    charts, skin, inner = _head_charts(rig)
    faces = rig.faces_F3.cpu().numpy()
    vertices = rig.template_vertices_V3.cpu().numpy()
    skin_vertices = np.unique(faces[charts == skin])
    eye_height = vertices[eye_vertices(rig), 1].min() - 0.02
    seams: dict[str, list[IntArray]] = {"lip": [], "lid": []}
    for label in inner:
        members = np.unique(faces[charts == label])
        part = "lid" if vertices[members, 1].mean() > eye_height else "lip"
        seams[part].append(np.intersect1d(members, skin_vertices))
    return {name: np.concatenate(parts) for name, parts in seams.items()}


def _distance(points: Array, targets: Array) -> Array:
    return spatial.cKDTree(targets).query(points)[0].astype(np.float32)


def _inner_vertices(rig: Rig) -> Array:
    """1 on vertices that belong only to charts of mouth, tongue and eye sockets."""
    charts, skin, labels = _head_charts(rig)
    faces = rig.faces_F3.cpu().numpy()
    inner = np.zeros(len(rig.template_vertices_V3), dtype=np.float32)
    inner[np.unique(faces[np.isin(charts, labels)])] = 1.0
    inner[np.unique(faces[charts == skin])] = 0.0
    return inner


def vertex_fields(rig: Rig) -> BodyFields:
    """Fields at the vertices of the neutral template of a rig."""
    vertices = rig.template_vertices_V3.cpu().numpy().astype(np.float32)
    marks = body_landmarks(rig)
    joints = rig.canonical_joints(rig.neutral_identity()[None])[0].cpu().numpy()
    at = {name: joints[index] for index, name in enumerate(rig.joint_names)}
    mirrored = np.abs(vertices) * [1, 0, 0] + vertices * [0, 1, 1]
    arm_t, arm_across = _along_chain(mirrored, [at["upperarm01.L"], at["lowerarm01.L"], at["wrist.L"]])
    arm = joint_weight_share(rig, _ARM)
    leg_x = 0.5 * (at["lowerleg01.L"][0] + at["upperleg01.L"][0])
    height_t = np.interp(
        -vertices[:, 1],
        [-marks.crown_y, -marks.neck[1], -marks.hip_y, -marks.knee_y, -marks.ankle_y, -marks.sole_y],
        [-1.6, -1.0, 0.0, 1.0, 2.0, 2.2],
    )
    torso_across = np.where(height_t > 0.25, mirrored[:, 0] - leg_x, vertices[:, 0])
    seams = _seam_vertices(rig)
    return BodyFields(
        position=vertices,
        normal=vertex_normals(vertices, rig.faces_F3.cpu().numpy()),
        arm=arm,
        head=joint_weight_share(rig, _HEAD),
        arm_t=arm_t,
        height_t=height_t.astype(np.float32),
        across=np.where(arm > 0.5, arm_across, torso_across).astype(np.float32),
        lip=_distance(vertices, vertices[seams["lip"]]),
        lid=_distance(vertices, vertices[seams["lid"]]),
        inner=_inner_vertices(rig),
    )


def _along_chain(points: NDArray, chain: list[NDArray]) -> tuple[Array, Array]:
    """Coordinate along a two-bone chain (0, 1, 2 at its joints) and across it in metres."""
    start, middle, end = (np.asarray(joint, dtype=np.float64) for joint in chain)
    coordinates, offsets = [], []
    for origin, target in ((start, middle), (middle, end)):
        bone = target - origin
        t = (points - origin) @ bone / (bone @ bone)
        coordinates.append(t)
        offsets.append(points - origin - np.clip(t, 0, 1)[:, None] * bone)
    first_is_nearer = np.linalg.norm(offsets[0], axis=1) <= np.linalg.norm(offsets[1], axis=1)
    t = np.where(first_is_nearer, np.minimum(coordinates[0], 1.0), 1.0 + np.maximum(coordinates[1], 0.0))
    side = np.where(first_is_nearer[:, None], offsets[0], offsets[1])
    angle = np.arctan2(side[:, 2], side[:, 1])
    return t.astype(np.float32), (angle * 0.045).astype(np.float32)
