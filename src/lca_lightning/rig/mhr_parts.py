"""Parts of the body by the names of MHR's joints, and what its asset may leave to us."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from lca_lightning.rig.mhr_asset import MHRAsset
from lca_lightning.rig.rig import REGIONS

FACE_MOTION = 1e-3  # metres that an expression moves a vertex of the face (ours)
_FINGER = re.compile(r"([lr]_(?:thumb|index|middle|ring|pinky))(?!0)|([lr]_thumb)0")
_REGIONS = {  # the first match counts
    "hand": r"[lr]_(wrist$|thumb|index|middle|ring|pinky)",
    "foot": r"[lr]_(foot|talocrural|subtalar|transversetarsal|ball)",
    "lower": r"body_world|root|[lr]_(upleg|lowleg)",
    "head": r"c_(head|jaw|teeth|tongue)|[lr]_eye",
}
_INSIDE = re.compile(r"c_(teeth|tongue)")


def finger_of(name: str) -> str | None:
    """Digit and side of a joint; the metacarpal of the little finger belongs to the palm."""
    match = _FINGER.match(name)
    return next(filter(None, match.groups())) if match else None


def region_of(name: str) -> str:
    """Region of what a joint moves most; the face is told from the head by its expressions."""
    return next((region for region, pattern in _REGIONS.items() if re.match(pattern, name)), "upper")


def label_regions(asset: MHRAsset) -> Tensor:
    """Region of each vertex from its dominant joint; the face is what moves with the expression."""
    by_joint = torch.tensor([REGIONS.index(region_of(name)) for name in asset.joint_names])
    regions = by_joint[asset.weights_VJ.argmax(1)]
    moved = asset.expressions_EV3.norm(dim=-1).amax(0) > FACE_MOTION
    regions[moved & (regions == REGIONS.index("head"))] = REGIONS.index("face")
    return regions


def visible_faces(asset: MHRAsset) -> Tensor:
    """False for triangles that belong to teeth or tongue."""
    inside = torch.tensor([bool(_INSIDE.match(name)) for name in asset.joint_names])
    return ~inside[asset.weights_VJ.argmax(1)][asset.faces_F3].all(1)


def triangle_grid(count: int) -> tuple[Tensor, Tensor]:
    """Texture coordinates for a mesh that has none: each triangle in its own cell of a grid."""
    side = int(count**0.5) + 1
    cell = torch.arange(count)
    corner = torch.stack([cell % side, cell // side], 1)[:, None] / side
    local = torch.tensor([[0.1, 0.1], [0.9, 0.1], [0.1, 0.9]]) / side
    return (corner + local).reshape(-1, 2), torch.arange(3 * count).reshape(-1, 3)
