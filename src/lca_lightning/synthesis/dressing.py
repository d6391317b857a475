"""From what a person wears to meshes on the body."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from lca_lightning.synthesis.atlas import BodyTemplate
from lca_lightning.synthesis.attachment import Attachment, rigid_weights
from lca_lightning.synthesis.bags import build_bag
from lca_lightning.synthesis.cloth import HangingCloth
from lca_lightning.synthesis.garments import Paint, Skirt
from lca_lightning.synthesis.glasses import build_glasses
from lca_lightning.synthesis.hair import build_hair
from lca_lightning.synthesis.hats import build_hat
from lca_lightning.synthesis.jacket import build_jacket, coat_paint
from lca_lightning.synthesis.shoes import build_shoes
from lca_lightning.synthesis.skirt import COLUMNS, ROWS, build_skirt
from lca_lightning.synthesis.textures import random_cloth_color
from lca_lightning.synthesis.wardrobe import Accessories, Dress

_BAG_ROOM = 0.05  # a bag hangs outside a skirt or coat by this much, metres
_PINNED_ROWS = {"skirt": 3, "coat": 4}


def dress_attachments(
    template: BodyTemplate,
    dress: Dress,
    body_V3: NDArray,
    clothed_V3: NDArray,
    joints_J3: NDArray,
    hair: NDArray,
    rng: np.random.Generator,
) -> list[Attachment]:
    """Meshes of hair, shoes, loose clothes and accessories.

    Args:
        template: Shared fields of the rig.
        dress: What the person wears.
        body_V3: The subject's canonical vertices, metres.
        clothed_V3: The same with the thickness of the clothes.
        joints_J3: The subject's canonical joints, metres.
        hair: Linear colour of the hair.
        rng: Source of the small variations.

    Returns:
        The meshes, hair first.
    """
    rig, outfit = template.rig, dress.outfit
    pieces = _hair(template, dress.hair_style, hair, rng)
    shoes = build_shoes(rig, body_V3, joints_J3, *outfit.shoes_paint.colors[:2])
    pieces.append(
        Attachment("shoes", shoes.points_N3, shoes.faces_F3, shoes.weights_NJ, colors_N3=shoes.colors_N3)
    )
    if outfit.skirt is not None and outfit.skirt_paint is not None:
        pieces.append(_tube(template, "skirt", outfit.skirt, outfit.skirt_paint, clothed_V3, 0.008))
    worn = dress.accessories
    return pieces + _accessories(template, worn, body_V3, clothed_V3, joints_J3, pieces, rng)


def _hair(template: BodyTemplate, style: str, hair: NDArray, rng: np.random.Generator) -> list[Attachment]:
    color = random_cloth_color(rng) if style == "beanie" else hair
    faces = template.rig.faces_F3.numpy()
    shell = build_hair(style, template.fields, faces, template.marks, color, rng)
    if shell is None:
        return []
    weights = rigid_weights(template.rig, {"head": 1.0}, len(shell.vertex_N))
    return [Attachment("hair", shell.offset_N3, shell.faces_F3, weights, shell.vertex_N, shell.colors_N3)]


def _hair_lift(template: BodyTemplate, hair: list[Attachment]) -> NDArray:
    """How far hair stands off each body vertex, metres; pieces of other names count for nothing."""
    normal = template.fields.normal
    lift = np.zeros(len(normal))
    for piece in hair:
        if piece.name == "hair" and piece.anchor_N is not None:
            np.maximum.at(lift, piece.anchor_N, (piece.offset_N3 * normal[piece.anchor_N]).sum(1))
    return np.minimum(lift, 0.05)


def _accessories(
    template: BodyTemplate,
    worn: Accessories,
    body_V3: NDArray,
    clothed_V3: NDArray,
    joints_J3: NDArray,
    before: list[Attachment],
    rng: np.random.Generator,
) -> list[Attachment]:
    pieces: list[Attachment] = []
    over = 0.0
    if worn.jacket is not None:
        over = worn.jacket.thickness
        pieces.append(build_jacket(template, worn.jacket))
        if worn.jacket.skirt is not None:
            room = 0.75 * over + 0.004
            paint = coat_paint(worn.jacket)
            pieces.append(_tube(template, "coat", worn.jacket.skirt, paint, clothed_V3, room))
    if worn.colors is None:
        return pieces
    if worn.glasses is not None:
        pieces += build_glasses(template, worn.glasses, body_V3, joints_J3, worn.colors[0])
    if worn.hat is not None:
        pieces.append(build_hat(template, worn.hat, _hair_lift(template, before), worn.colors[1], rng))
    if worn.bag is not None:
        loose = any(piece.name in _PINNED_ROWS for piece in (*before, *pieces))
        pieces += build_bag(template, worn.bag, clothed_V3, over, worn.colors[2], _BAG_ROOM * loose)
    return pieces


def _tube(
    template: BodyTemplate, name: str, cut: Skirt, paint: Paint, clothed_V3: NDArray, room: float
) -> Attachment:
    mesh = build_skirt(cut, paint, template.rig, template.fields, template.marks, clothed_V3, room)
    return Attachment(
        name,
        mesh.points_N3,
        mesh.faces_F3,
        torch.from_numpy(mesh.weights_NJ),
        render_points=mesh.render_points,
        render_faces_F3=mesh.render_faces_F3,
        uv_N2=mesh.uv_N2,
        texture=mesh.texture,
    )


def hanging_rows(piece: Attachment, start: int) -> HangingCloth | None:
    """How an attachment hangs and swings; None for everything but skirts and coats.

    Args:
        piece: The attachment.
        start: Place of its first point among the person's points.
    """
    if piece.name not in _PINNED_ROWS:
        return None
    rest = np.asarray(piece.offset_N3, np.float64).reshape(ROWS, COLUMNS, 3)
    return HangingCloth(start, ROWS, COLUMNS, _PINNED_ROWS[piece.name], piece.name == "skirt", rest)
