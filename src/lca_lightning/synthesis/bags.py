"""Bags: a backpack or a shoulder bag, with straps that lie on the clothes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lca_lightning.synthesis.atlas import BodyTemplate
from lca_lightning.synthesis.attachment import Attachment, join, rigid_weights
from lca_lightning.synthesis.body_atlas import IntArray, vertex_normals
from lca_lightning.synthesis.hair import unit_sphere

_STRAP_WIDTH = 0.034
_STRAP_LIFT = 0.005


def build_bag(
    template: BodyTemplate, style: str, clothed_V3: NDArray, jacket: float, color: NDArray, room: float = 0.0
) -> list[Attachment]:
    """A bag on a subject.

    Args:
        template: Shared fields of the rig.
        style: One of ``wardrobe.BAGS``.
        clothed_V3: The subject's canonical vertices with clothes, metres.
        jacket: Thickness of a jacket over them, metres.
        color: Linear colour.
        room: How much further from the hip a shoulder bag hangs, metres.

    Returns:
        Straps and bag.
    """
    trunk = np.flatnonzero((template.fields.arm < 0.35) & (template.fields.head < 0.3)
                           & (template.fields.height_t < 0.35))  # fmt: skip
    if style == "backpack":
        return _backpack(template, trunk, clothed_V3, jacket, color)
    return _shoulder_bag(template, trunk, clothed_V3, jacket, color, room)


def _backpack(
    template: BodyTemplate, trunk: IntArray, body: NDArray, jacket: float, color: NDArray
) -> list[Attachment]:
    marks = template.marks
    shoulder = _trunk_top(template, body, trunk)
    high, low = shoulder - 0.03, marks.hip_y + 0.10
    center = np.array([0.0, 0.5 * (high + low), 0.0])
    near = trunk[(np.abs(body[trunk, 0]) < 0.1) & (body[trunk, 1] > low) & (body[trunk, 1] < high)]
    depth = 0.075
    center[2] = body[near, 2].min() - jacket - 0.8 * depth
    box = _box(center, np.array([0.145, 0.5 * (high - low), depth]), 0.45)
    weights = {"spine03": 0.4, "spine02": 0.6}
    straps = []
    for side in (1.0, -1.0):
        # From behind the shoulder over its top and down in front to under the arm.
        loop = _belt(body, trunk, np.array([side * 0.095, center[1] + 0.02, 0.0]), np.array([1.0, 0, 0]),
                     np.linspace(np.pi + 0.2, -0.85, 36))  # fmt: skip
        straps.append(_ribbon(template, body, loop, jacket, color * 0.6))
    return [join("strap", straps), _rigid(template, "bag", *box, weights, color)]


def _shoulder_bag(
    template: BodyTemplate, trunk: IntArray, body: NDArray, jacket: float, color: NDArray, room: float
) -> list[Attachment]:
    """A strap from the right shoulder to the left hip, and the bag there."""
    shoulder = _trunk_top(template, body, trunk)
    top = np.array([-0.085, shoulder, 0.0])
    bottom = np.array([0.15, template.marks.hip_y + 0.02, 0.0])
    along = (bottom - top) / np.linalg.norm(bottom - top)
    normal = np.cross(along, [0.0, 0.0, 1.0])
    center = 0.5 * (top + bottom)
    loop = _belt(body, trunk, center, normal, np.linspace(0, 2 * np.pi, 64, endpoint=False), -along)
    strap = _ribbon(template, body, loop, jacket, color * 0.6, closed=True)
    hip = trunk[np.abs(body[trunk, 1] - template.marks.hip_y) < 0.06]
    side = body[hip, 0].max() + jacket + room
    size = np.array([0.055, 0.11, 0.15])
    box = _box(np.array([side + 0.8 * size[0], template.marks.hip_y - 0.03, body[hip, 2].mean()]), size, 0.35)
    return [strap, _rigid(template, "bag", *box, {"root": 1.0}, color)]


def _trunk_top(template: BodyTemplate, body: NDArray, trunk: IntArray) -> float:
    """Height of the shoulders beside the neck, metres."""
    return float(body[trunk[np.abs(np.abs(body[trunk, 0]) - 0.1) < 0.02], 1].max())


def _rigid(
    template: BodyTemplate,
    name: str,
    points: NDArray,
    faces: IntArray,
    joints: dict[str, float],
    color: NDArray,
) -> Attachment:
    normals = vertex_normals(points, faces)
    # A darker pocket on the outer side tells the bag's orientation.
    pocket = (np.abs(normals).max(1) > 0.9) & (points[:, 1] < points[:, 1].mean())
    colors = np.where(pocket[:, None], color * 0.55, color)
    return Attachment(name, points, faces, rigid_weights(template.rig, joints, len(points)), colors_N3=colors)


def _box(center: NDArray, half: NDArray, roundness: float) -> tuple[NDArray, IntArray]:
    """A box with round edges: a sphere in a higher norm."""
    sphere, faces = unit_sphere(16, 24)
    points = np.sign(sphere) * np.abs(sphere) ** roundness
    return center + points / np.abs(points).max(0) * half, faces


def _belt(
    body: NDArray,
    trunk: IntArray,
    center: NDArray,
    normal: NDArray,
    angles: NDArray,
    zenith: NDArray | None = None,
) -> IntArray:
    """Outermost trunk vertices around a point in a plane, one for each angle from +z towards the zenith."""
    up = np.array([0.0, 1.0, 0.0]) if zenith is None else zenith
    offset = body[trunk] - center
    slab = np.abs(offset @ (normal / np.linalg.norm(normal))) < 0.022
    candidates, offset = trunk[slab], offset[slab]
    angle_of = np.arctan2(offset @ up, offset[:, 2])
    radius = np.hypot(offset @ up, offset[:, 2])
    loop = []
    for angle in angles:
        off = np.abs(np.angle(np.exp(1j * (angle_of - angle))))
        loop.append(candidates[np.argmax(radius - 1.5 * off)])
    return np.array(loop)


def _ribbon(
    template: BodyTemplate, body: NDArray, loop: IntArray, jacket: float, color: NDArray, closed: bool = False
) -> Attachment:
    """A strap over body vertices; its points follow those vertices."""
    path = body[loop] + vertex_normals(body, template.rig.faces_F3.numpy())[loop] * (jacket + _STRAP_LIFT)
    path = _smooth(path, closed)
    following = np.roll(path, -1, 0) if closed else np.vstack([path[1:], path[-1:]])
    leading = np.roll(path, 1, 0) if closed else np.vstack([path[:1], path[:-1]])
    normals = _smooth(template.fields.normal[loop].astype(np.float64), closed)
    side = np.cross(following - leading, normals)
    side /= np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-9)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    across = np.array([-0.5, 0.0, 0.5]) * _STRAP_WIDTH
    bulge = np.array([-0.002, 0.003, -0.002])
    points = path[:, None] + across[None, :, None] * side[:, None] + bulge[None, :, None] * normals[:, None]
    index = np.arange(len(loop) * 3).reshape(-1, 3)
    after = np.roll(index, -1, 0) if closed else index[1:]
    before = index if closed else index[:-1]
    a, b, c, d = before[:, :-1], before[:, 1:], after[:, :-1], after[:, 1:]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([b, d, c], -1).reshape(-1, 3)])
    anchors = np.repeat(loop, 3)
    weights = template.rig.weights_VJ[anchors]
    colors = np.tile(color + 0.01, (len(anchors), 1))
    return Attachment("strap", points.reshape(-1, 3) - body[anchors], faces, weights, anchors, colors)


def _smooth(values: NDArray, closed: bool) -> NDArray:
    for _ in range(3):
        following = np.roll(values, -1, 0) if closed else np.vstack([values[1:], values[-1:]])
        leading = np.roll(values, 1, 0) if closed else np.vstack([values[:1], values[:-1]])
        values = 0.5 * values + 0.25 * (following + leading)
    return values
