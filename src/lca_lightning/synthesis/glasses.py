"""Glasses, which ride on the head."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lca_lightning.synthesis.atlas import BodyTemplate
from lca_lightning.synthesis.attachment import Attachment, join, rigid_weights
from lca_lightning.synthesis.body_atlas import IntArray
from lca_lightning.synthesis.hair import grid_faces

_TUBE_SIDES = 6


def build_glasses(
    template: BodyTemplate, style: str, body_V3: NDArray, joints_J3: NDArray, color: NDArray
) -> list[Attachment]:
    """Glasses in front of a subject's eyes.

    Args:
        template: Shared fields of the rig.
        style: One of ``wardrobe.GLASSES``.
        body_V3: The subject's canonical vertices, metres.
        joints_J3: The subject's canonical joints, metres.
        color: Linear colour of the frame.

    Returns:
        Frame, and dark lenses for sunglasses.
    """
    rig, fields = template.rig, template.fields
    eyes = np.stack([joints_J3[rig.joint_names.index(name)] for name in ("eye.L", "eye.R")])
    head = (fields.head > 0.6) & (fields.inner < 0.5)
    near = head & (np.abs(body_V3[:, 1] - eyes[:, 1].mean()) < 0.03) & (np.abs(body_V3[:, 0]) < 0.055)
    front = float(body_V3[near & (np.abs(body_V3[:, 0]) > 0.018), 2].max()) + 0.005
    radii = np.array([0.026, 0.0235 if style == "round" else 0.019])
    power = 1.0 if style == "round" else 0.55
    tube = 0.0016 if style == "round" else 0.0026
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    circle = np.stack([_power(np.cos(angle), power), _power(np.sin(angle), power)], -1) * radii
    pieces, lenses = [], []
    for eye, side in zip(eyes, (1.0, -1.0), strict=True):
        ring = np.column_stack([eye[0] + circle[:, 0], eye[1] - 0.002 + circle[:, 1], np.full(24, front)])
        ring[:, 2] -= 0.12 * np.clip(side * ring[:, 0] - 0.03, 0, 1)  # the frame bends round the face
        pieces.append(_tube(ring, tube, True))
        lenses.append(_disc(ring))
        outer = ring[np.argmax(side * ring[:, 0])]
        pieces.append(_tube(_temple(outer, side, body_V3[head], eye), tube, False))
    inner = np.stack([[eyes[0, 0] - radii[0], eyes[0, 1] + 0.004, front],
                      [0.0, eyes[0, 1] + 0.007, front + 0.003],
                      [eyes[1, 0] + radii[0], eyes[1, 1] + 0.004, front]])  # fmt: skip
    pieces.append(_tube(inner, tube, False))
    result = [join("glasses", [_on_head(template, *piece, "glasses", color) for piece in pieces])]
    if style == "sunglasses":
        dark = np.full(3, 0.02)
        result.append(join("lenses", [_on_head(template, *lens, "lenses", dark) for lens in lenses]))
    return result


def _temple(outer: NDArray, side: float, head_N3: NDArray, eye: NDArray) -> NDArray:
    """Path of an arm of the glasses from the frame along the temple to behind the ear."""
    back = eye[2] - 0.11
    path = [outer]
    for z in np.linspace(outer[2] - 0.02, back, 5):
        near = head_N3[(np.abs(head_N3[:, 2] - z) < 0.012) & (np.abs(head_N3[:, 1] - eye[1] - 0.01) < 0.008)]
        width = (side * near[:, 0]).max() if len(near) else abs(float(path[-1][0]))
        x = max(width + 0.003, abs(float(outer[0])) - 0.004)
        path.append(np.array([side * x, eye[1] + 0.006, z]))
    return np.stack(path)


def _power(values: NDArray, power: float) -> NDArray:
    return np.sign(values) * np.abs(values) ** power


def _on_head(
    template: BodyTemplate, points: NDArray, faces: IntArray, name: str, color: NDArray
) -> Attachment:
    weights = rigid_weights(template.rig, {"head": 1.0}, len(points))
    return Attachment(name, points, faces, weights, colors_N3=np.tile(color, (len(points), 1)))


def _disc(ring_N3: NDArray) -> tuple[NDArray, IntArray]:
    """A fan that fills a ring, facing +z."""
    points = np.concatenate([ring_N3, ring_N3.mean(0, keepdims=True)])
    index = np.arange(len(ring_N3))
    faces = np.stack([index, np.roll(index, -1), np.full_like(index, len(ring_N3))], -1)
    return points, faces


def _tube(path_N3: NDArray, radius: float, closed: bool) -> tuple[NDArray, IntArray]:
    """A round wire along a path."""
    following = np.roll(path_N3, -1, 0) if closed else np.vstack([path_N3[1:], path_N3[-1:]])
    leading = np.roll(path_N3, 1, 0) if closed else np.vstack([path_N3[:1], path_N3[:-1]])
    tangent = following - leading
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    helper = np.where(np.abs(tangent[:, 1:2]) > 0.9, [[1.0, 0, 0]], [[0, 1.0, 0]])
    first = np.cross(helper, tangent)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(tangent, first)
    angle = np.arange(_TUBE_SIDES) * 2 * np.pi / _TUBE_SIDES
    around = np.cos(angle)[None, :, None] * first[:, None] + np.sin(angle)[None, :, None] * second[:, None]
    points = (path_N3[:, None] + radius * around).reshape(-1, 3)
    faces = grid_faces(len(path_N3), _TUBE_SIDES)
    if closed:
        last = grid_faces(2, _TUBE_SIDES)
        jump = (len(path_N3) - 1) * _TUBE_SIDES
        faces = np.concatenate([faces, np.where(last < _TUBE_SIDES, last + jump, last - _TUBE_SIDES)])
    return points, faces
