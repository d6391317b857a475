"""A small shaded body that shows where on the template an anchor sits."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from lca_lightning.analysis.queries import Query
from lca_lightning.model.avatar_model import AvatarModel
from lca_lightning.rendering.mesh import rasterise_mesh

_PAPER = 255
_DOT = (230, 40, 40)
_MARGIN = 0.04


def body_picture(model: AvatarModel, query: Query, height: int) -> Image.Image:
    """Draw the template from the front, or from behind where the anchor looks that way, and the anchor.

    Args:
        model: With its rig and anchors.
        query: The token.
        height: Of the picture in pixels.

    Returns:
        The picture; its width follows the body's.
    """
    normal_3 = model.anchors.normals_G3[query.anchor * model.config.gaussians_per_anchor]
    turn = -1.0 if float(normal_3[2]) < -0.3 else 1.0
    vertices_V3 = model.rig.template_vertices_V3.double().cpu().numpy() * np.array([turn, 1.0, turn])
    faces_F3 = model.rig.faces_F3.cpu().numpy()
    low_3, high_3 = vertices_V3.min(0), vertices_V3.max(0)
    scale = height * (1 - 2 * _MARGIN) / (high_3[1] - low_3[1])
    width = round(scale * (high_3[0] - low_3[0]) + 2 * _MARGIN * height)

    def to_pixels(points_N3: np.ndarray) -> np.ndarray:
        right = (points_N3[:, 0] - low_3[0]) * scale + _MARGIN * height
        down = (high_3[1] - points_N3[:, 1]) * scale + _MARGIN * height
        return np.stack([right, down], 1)

    depth_V = 10.0 - vertices_V3[:, 2]
    hit_HW = rasterise_mesh(to_pixels(vertices_V3), depth_V, faces_F3, height, width)
    grey_HW = np.where(hit_HW >= 0, _shading(vertices_V3, faces_F3)[hit_HW], _PAPER)
    picture = Image.fromarray(grey_HW.astype(np.uint8)).convert("RGB")
    anchor_13 = np.array(query.position)[None] * np.array([turn, 1.0, turn])
    x, y = to_pixels(anchor_13)[0]
    radius = max(3, height // 45)
    draw = ImageDraw.Draw(picture)
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_DOT, outline=(255, 255, 255))
    if turn < 0:
        draw.text((2, 2), "from behind", (110, 110, 110))
    return picture


def _shading(vertices_V3: np.ndarray, faces_F3: np.ndarray) -> np.ndarray:
    """Grey of each triangle by how much it faces the viewer, ``(F,)``."""
    a, b, c = (vertices_V3[faces_F3[:, corner]] for corner in range(3))
    normal_F3 = np.cross(b - a, c - a)
    facing_F = np.abs(normal_F3[:, 2]) / np.maximum(np.linalg.norm(normal_F3, axis=1), 1e-12)
    return 110 + 110 * facing_F
