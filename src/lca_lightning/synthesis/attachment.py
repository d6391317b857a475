"""Meshes that ride on the body: hair, hats, jackets, glasses, bags, shoes, skirts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lca_lightning.rig.rig import Rig
from lca_lightning.synthesis.body_atlas import Array, IntArray


@dataclass(frozen=True)
class Part:
    """One mesh of a person.

    Attributes:
        name: "body", "eyes", "hair", "shoes", "skirt", "jacket", "coat", "hat", "glasses", "lenses",
            "strap" or "bag".
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
class Attachment:
    """Canonical points of a mesh with their skinning.

    Attributes:
        name: See `Part`.
        offset_N3: From the anchor vertex, or from the origin without one; canonical axes, metres.
        faces_F3: Triangles over the points, outward.
        weights_NJ: Skinning weights.
        anchor_N: Body vertex that carries each point, so that it follows the subject's shape and face; None
            for points that are given as they are.
        colors_N3: Linear RGB per point, or None when the texture says it.
        render_points: Welded point of each render vertex, with ``render_faces_F3``, ``uv_N2`` and
            ``texture``: for textured meshes with a seam.
        render_faces_F3: Triangles over the render vertices.
        uv_N2: Texture coordinates of the render vertices.
        texture: Linear RGB ``(H, W, 3)``.
    """

    name: str
    offset_N3: NDArray
    faces_F3: IntArray
    weights_NJ: Tensor
    anchor_N: IntArray | None = None
    colors_N3: NDArray | None = None
    render_points: IntArray | None = None
    render_faces_F3: IntArray | None = None
    uv_N2: Array | None = None
    texture: Array | None = None

    def part(self, start: int) -> Part:
        """What a renderer needs; ``start`` is the place of the first point among the person's points."""
        if self.render_points is not None and self.render_faces_F3 is not None:
            points = self.render_points + start
            return Part(self.name, points, self.render_faces_F3, self.uv_N2, self.texture)
        assert self.colors_N3 is not None
        colors = np.clip(self.colors_N3, 0.01, 0.9).astype(np.float32)
        points = np.arange(len(self.offset_N3)) + start
        return Part(self.name, points, self.faces_F3, colors_N3=colors)


def rigid_weights(rig: Rig, joints: dict[str, float], count: int) -> Tensor:
    """The same skinning weights for all points of a stiff thing, ``(count, J)``."""
    weights = torch.zeros(count, len(rig.joint_names))
    for name, share in joints.items():
        weights[:, rig.joint_names.index(name)] = share
    return weights


def join(name: str, pieces: list[Attachment]) -> Attachment:
    """One attachment with vertex colours made of several."""
    starts = np.cumsum([0] + [len(piece.offset_N3) for piece in pieces])
    anchors = [piece.anchor_N for piece in pieces if piece.anchor_N is not None]
    colors = [piece.colors_N3 for piece in pieces if piece.colors_N3 is not None]
    return Attachment(
        name,
        np.concatenate([piece.offset_N3 for piece in pieces]),
        np.concatenate([piece.faces_F3 + start for piece, start in zip(pieces, starts, strict=False)]),
        torch.cat([piece.weights_NJ for piece in pieces]),
        np.concatenate(anchors) if anchors else None,
        np.concatenate(colors),
    )
