"""A synthetic person: identity, appearance and the meshes a renderer needs for each frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lca_lightning.geometry.skinning import skin_points
from lca_lightning.rig.rig import Rig, RigPose
from lca_lightning.synthesis.appearance import body_part, body_texture, clothing_offset, eyes_part
from lca_lightning.synthesis.atlas import BodyTemplate
from lca_lightning.synthesis.attachment import Attachment, Part
from lca_lightning.synthesis.body_atlas import Array, IntArray, vertex_normals
from lca_lightning.synthesis.cloth import HangingCloth, drape
from lca_lightning.synthesis.dressing import dress_attachments, hanging_rows
from lca_lightning.synthesis.garments import Outfit
from lca_lightning.synthesis.precision import Doubles, double_pose, double_rig
from lca_lightning.synthesis.proportions import Proportions, exaggeration, eye_weights
from lca_lightning.synthesis.traits import draw_traits
from lca_lightning.synthesis.wardrobe import Accessories

_FRAMES_AT_ONCE = 8


@dataclass(frozen=True)
class Person:
    """A person ready to be posed.

    Attributes:
        rig: The rig.
        identity_I: Identity values of the rig.
        parts: Meshes to render.
        outfit: What the person wears.
        accessories: What the person wears over it.
        hair_style: One of ``hair.STYLES``.
        cloths: Pieces that hang and swing.
    """

    rig: Rig
    identity_I: Tensor
    parts: tuple[Part, ...]
    outfit: Outfit
    accessories: Accessories
    hair_style: str
    cloths: tuple[HangingCloth, ...]
    _body_offset_V3: Tensor
    _anchor: Tensor
    _offset: Tensor
    _weights: Tensor
    _welded_faces: IntArray
    _obstacle: IntArray

    def posed_points(self, pose: RigPose, expression_TE: Tensor) -> Doubles:
        """Welded points of all parts in world axes by plain skinning.

        Args:
            pose: Pose of ``T`` frames.
            expression_TE: Expression coefficients.

        Returns:
            Metres, ``(T, N, 3)``; the body's vertices come first.
        """
        rig, pose = double_rig(self.rig), double_pose(pose)
        identity, body_offset = self.identity_I.double()[None], self._body_offset_V3.double()
        offset, weights = self._offset.double(), self._weights.double()
        frames = []
        with torch.no_grad():
            transforms = rig.joint_transforms(identity, pose)
            for start in range(0, len(expression_TE), _FRAMES_AT_ONCE):
                part = slice(start, start + _FRAMES_AT_ONCE)
                expression = expression_TE[part].double()
                body = rig.canonical_vertices(identity.expand(len(expression), -1), expression) + body_offset
                # Points without an anchor hang on one more vertex at the origin.
                anchors = torch.cat([body, body.new_zeros(len(body), 1, 3)], 1)
                points = torch.cat([body, anchors[:, self._anchor] + offset], 1)
                frames.append(skin_points(points, weights, transforms[part]))
        return torch.cat(frames).numpy()

    def swing(self, skinned_TN3: NDArray, fps: float) -> Doubles:
        """Let skirts and coats hang and swing.

        Args:
            skinned_TN3: The person by plain skinning, see `posed_points`; metres.
            fps: Frames per second.

        Returns:
            A copy with the points of the cloth where they hang, ``(T, N, 3)``.
        """
        points = skinned_TN3.copy()
        for cloth in self.cloths:
            points[:, cloth.points] = drape(cloth, points, self._obstacle, self.rig.faces_F3.numpy(), fps)
        return points

    def normals(self, points_N3: NDArray) -> Array:
        """Unit normals of one frame's welded points, ``(N, 3)``."""
        return vertex_normals(points_N3, self._welded_faces)


def create_person(
    template: BodyTemplate,
    rng: np.random.Generator,
    wardrobe: str = "everyday",
    proportions: Proportions | None = None,
) -> Person:
    """Draw a person: body, skin, hair, clothes.

    Args:
        template: Shared fields of the rig.
        rng: Source of every choice; the same state gives the same person.
        wardrobe: One of ``wardrobe.WARDROBES``.
        proportions: Exaggerated proportions, or None for a natural body.

    Returns:
        The person.
    """
    rig, fields = template.rig, template.fields
    traits = draw_traits(rig, rng, wardrobe, proportions)
    identity, dress, hair = traits.identity_I, traits.dress, traits.hair
    texture = body_texture(template, dress.outfit, dress.hair_style, hair, traits.melanin, traits.gender, rng)
    exact = double_rig(rig)
    canonical = exact.canonical_vertices(identity.double()[None])[0].numpy()
    joints = exact.canonical_joints(identity.double()[None])[0].numpy()
    grown = np.zeros_like(canonical)
    if proportions is not None:
        grown = exaggeration(template, proportions, canonical, joints)
    cloth = clothing_offset(canonical, rig.faces_F3.numpy(), fields, template.marks, dress.outfit, rng)
    offset = (grown + cloth).astype(np.float32)
    pieces = dress_attachments(template, dress, canonical + grown, canonical + offset, joints, hair, rng)
    assembly = _Assembly(rig, [body_part(rig, texture), eyes_part(template, rng)], proportions is not None)
    for piece in pieces:
        assembly.add(piece)
    return Person(
        rig,
        identity,
        tuple(assembly.parts),
        dress.outfit,
        dress.accessories,
        dress.hair_style,
        tuple(assembly.cloths),
        torch.from_numpy(offset),
        torch.from_numpy(np.concatenate(assembly.anchors)),
        torch.from_numpy(np.concatenate(assembly.offsets).astype(np.float32)),
        torch.cat(assembly.weights),
        np.concatenate(assembly.faces),
        np.flatnonzero((fields.arm < 0.3) & (fields.head < 0.3)),
    )


class _Assembly:
    """Collects the welded points and the parts of a person, in the order of `Person.posed_points`."""

    def __init__(self, rig: Rig, parts: list[Part], still_eyes: bool) -> None:
        self.parts = parts
        self.cloths: list[HangingCloth] = []
        self.faces = [rig.faces_F3.numpy()]
        self.weights = [eye_weights(rig, still_eyes)]
        self.anchors: list[IntArray] = []
        self.offsets: list[NDArray] = []
        self._body = len(rig.weights_VJ)

    def add(self, piece: Attachment) -> None:
        """Add a mesh after those before it."""
        start = sum(len(weights) for weights in self.weights)
        count = len(piece.offset_N3)
        self.faces.append(piece.faces_F3 + start)
        self.weights.append(piece.weights_NJ)
        self.anchors.append(np.full(count, self._body) if piece.anchor_N is None else piece.anchor_N)
        self.offsets.append(piece.offset_N3)
        self.parts.append(piece.part(start))
        cloth = hanging_rows(piece, start)
        if cloth is not None:
            self.cloths.append(cloth)
