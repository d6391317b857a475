"""Open jackets: a shell around trunk and arms, with a loose part below the waist that can swing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lca_lightning.synthesis.atlas import BodyTemplate
from lca_lightning.synthesis.attachment import Attachment
from lca_lightning.synthesis.garments import Paint, Top
from lca_lightning.synthesis.wardrobe import Jacket

_NECK_RADIUS, _NECK_DEPTH = 0.085, 0.05
_LAPEL = 2.4  # the opening is this much wider at the neck


def build_jacket(template: BodyTemplate, jacket: Jacket) -> Attachment:
    """Shell of a jacket over the clothed body.

    Args:
        template: Shared fields of the rig.
        jacket: Cut and colours.

    Returns:
        Points anchored on body vertices; they bend with the same weights.
    """
    fields, marks, rig = template.fields, template.marks, template.rig
    faces = rig.faces_F3.numpy()
    # The fitted part reaches under the loose one.
    cut = Top(jacket.sleeve, jacket.hem + 0.1, _NECK_RADIUS, _NECK_DEPTH, jacket.thickness)
    worn = (cut.coverage(fields, marks) > 0.5) & (fields.head < 0.4)
    kept = faces[worn[faces].all(1) & ~_opening(template, jacket)[faces].all(1)]
    vertices = np.unique(kept)
    lookup = np.full(len(worn), -1)
    lookup[vertices] = np.arange(len(vertices))
    edge = _edge_distance(fields.arm_t[vertices], fields.arm[vertices], jacket.sleeve)
    offset = fields.normal[vertices] * (jacket.thickness * np.clip(0.45 + edge, 0, 1))[:, None]
    colors = jacket.paint.colors_at(fields, marks)[vertices]
    return Attachment("jacket", offset, lookup[kept], rig.weights_VJ[vertices], vertices, colors)


def coat_paint(jacket: Jacket) -> Paint:
    """Paint of the loose part: prints stay on the chest."""
    return Paint(jacket.paint.pattern, jacket.paint.colors, jacket.paint.scale, jacket.paint.seed)


def _opening(template: BodyTemplate, jacket: Jacket) -> NDArray[np.bool_]:
    """Vertices in the open front, wider towards the neck."""
    fields = template.fields
    up = np.clip(-fields.height_t, 0, 1)
    half = jacket.gap * (1 + (_LAPEL - 1) * up**2)
    front = (fields.normal[:, 2] > 0) & (fields.arm < 0.4)
    return front & (np.abs(fields.position[:, 0]) < half)


def _edge_distance(arm_t: NDArray, arm: NDArray, sleeve: float) -> NDArray:
    """0 at the cuff, growing up the sleeve; 1 on the trunk."""
    return np.where(arm > 0.5, np.clip((sleeve - arm_t) * 4, 0, 1), 1.0)
