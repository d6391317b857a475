"""Hats: a crown over hair and scalp, cut by a tilted plane, with a peak or a brim."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lca_lightning.synthesis.atlas import BodyTemplate
from lca_lightning.synthesis.attachment import Attachment, join, rigid_weights
from lca_lightning.synthesis.hair import head_span
from lca_lightning.synthesis.textures import smooth_noise

_LIFT = {"cap": 0.016, "sun hat": 0.020, "bucket hat": 0.022}
_ABOVE_HAIR = 0.006
# The rim above the eyes at the forehead and at the back of the head, metres.
_RIM_FRONT, _RIM_BACK = 0.058, 0.006
_BRIM = {"cap": (1.15, 0.075, 0.25), "sun hat": (np.pi, 0.09, 0.15), "bucket hat": (np.pi, 0.045, 0.9)}
_AZIMUTHS, _BRIM_ROWS = 48, 5


def build_hat(
    template: BodyTemplate, style: str, hair_lift_V: NDArray, color: NDArray, rng: np.random.Generator
) -> Attachment:
    """A hat over the hair.

    Args:
        template: Shared fields of the rig.
        style: One of ``wardrobe.HATS``.
        hair_lift_V: How far the hair stands off each body vertex, metres.
        color: Linear colour.
        rng: For the cloth and the width of the brim.

    Returns:
        Points anchored on the scalp.
    """
    fields, rig = template.fields, template.rig
    rim = _rim_height(template, fields.position[:, 2])
    above = np.where((fields.head > 0.5) & (fields.inner < 0.5), fields.position[:, 1] - rim, -1.0)
    faces = rig.faces_F3.numpy()
    chosen = faces[(above > 0)[faces].any(1) & (above > -0.03)[faces].all(1)]
    vertices = np.unique(chosen)
    lookup = np.full(len(above), -1)
    lookup[vertices] = np.arange(len(vertices))
    crown = 0.0 if style == "cap" else 0.012
    lift = np.maximum(_LIFT[style], hair_lift_V[vertices] + _ABOVE_HAIR)
    lift = lift + crown * np.clip(above[vertices] / 0.05, 0, 1)
    points = fields.position[vertices] + fields.normal[vertices] * lift[:, None]
    points[:, 1] = np.maximum(points[:, 1], _rim_height(template, points[:, 2]))
    shade = 1 + 0.05 * smooth_noise(fields.position[vertices], rng, 0.06, 16)
    weights = rigid_weights(rig, {"head": 1.0}, len(vertices))
    offset = points - fields.position[vertices]
    top = Attachment("hat", offset, lookup[chosen], weights, vertices, color * shade[:, None])
    return join("hat", [top, _brim(template, style, top, points, color, rng)])


def _rim_height(template: BodyTemplate, z: NDArray) -> NDArray:
    """Height of the cutting plane, metres: it falls towards the back of the head."""
    front, back = head_span(template.fields, template.marks)
    share = (front - z) / (front - back)
    return float(template.marks.eye_left[1]) + _RIM_FRONT + (_RIM_BACK - _RIM_FRONT) * share


def _brim(
    template: BodyTemplate,
    style: str,
    crown: Attachment,
    points: NDArray,
    color: NDArray,
    rng: np.random.Generator,
) -> Attachment:
    """Peak of a cap or brim of a hat: rings outward from the crown's lower edge."""
    assert crown.anchor_N is not None
    reach, width, slope = _BRIM[style]
    low = np.flatnonzero(points[:, 1] < _rim_height(template, points[:, 2]) + 0.02)
    center = 0.5 * (points[low].min(0) + points[low].max(0))
    azimuth_of = np.arctan2(points[low, 0] - center[0], points[low, 2] - center[2])
    round_ = style != "cap"
    azimuths = np.linspace(-reach, reach, _AZIMUTHS, endpoint=not round_)
    apart = np.abs(np.angle(np.exp(1j * (azimuth_of[None] - azimuths[:, None]))))
    radius_of = np.hypot(points[low, 0] - center[0], points[low, 2] - center[2])
    nearby = np.exp(-0.5 * (apart / 0.12) ** 2)
    radius = (nearby * radius_of).sum(1) / nearby.sum(1) - 0.004
    share = np.linspace(0, 1, _BRIM_ROWS)[:, None]
    taper = np.ones(_AZIMUTHS) if round_ else np.sqrt(np.clip(np.cos(0.5 * np.pi * azimuths / reach), 0, 1))
    out = share * width * rng.uniform(0.85, 1.2) * taper
    x = center[0] + (radius + out * np.cos(0.7 * slope)) * np.sin(azimuths)
    z = center[2] + (radius + out * np.cos(0.7 * slope)) * np.cos(azimuths)
    inner_z = center[2] + radius * np.cos(azimuths)
    y = _rim_height(template, inner_z)[None] + 0.003 - slope * out
    grid = np.stack([x, y, z], -1).reshape(-1, 3)
    anchors = np.tile(crown.anchor_N[low[np.argmin(apart, 1)]], _BRIM_ROWS)
    index = np.arange(_BRIM_ROWS * _AZIMUTHS).reshape(_BRIM_ROWS, _AZIMUTHS)
    left, right = (index, np.roll(index, -1, 1)) if round_ else (index[:, :-1], index[:, 1:])
    a, b, c, d = left[:-1], right[:-1], left[1:], right[1:]
    faces = np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)])
    weights = rigid_weights(template.rig, {"head": 1.0}, len(grid))
    offset = grid - template.fields.position[anchors]
    return Attachment("hat", offset, faces, weights, anchors, np.tile(color * 0.85, (len(grid), 1)))
