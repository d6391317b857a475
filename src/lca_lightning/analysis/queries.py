"""Geometry tokens chosen by the name of a body part, of a joint, or by their number.

A named point is found on the rig's template, whichever rig it is: of the vertices with certain region labels,
on one side and at a certain height of the body, the one that lies farthest in a direction, or the middle of
them. The token is the anchor of the same regions that lies nearest to that point.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lca_lightning.errors import UsageError
from lca_lightning.model.avatar_model import AvatarModel
from lca_lightning.rig.rig import REGIONS, Rig

_MIDDLE = 0.04  # metres from the plane of symmetry that count as the middle
_BAND = 0.02  # half the height of a level's band, as part of the body's height
_FRONT, _BACK, _UP, _DOWN = (0.0, 0.0, 1.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0), (0.0, -1.0, 0.0)


@dataclass(frozen=True)
class BodyPoint:
    """How a point is found on a template.

    Args:
        regions: Labels of the vertices it may lie on, see ``rig.REGIONS``.
        side: 1 for the body's left (+x), -1 for its right, 0 for the middle, None for any.
        direction: The vertex farthest this way is the point; None takes the middle of the vertices.
        level: Height above the soles over the body's height, or None for any.
    """

    regions: tuple[str, ...]
    side: int | None
    direction: tuple[float, float, float] | None
    level: float | None = None


def _both_sides(name: str, regions: tuple[str, ...], *rest: object) -> dict[str, BodyPoint]:
    """A point of the left and one of the right; a direction's x counts outwards."""
    direction, level = (*rest, None, None)[:2]
    points = {}
    for side, sign in (("left", 1), ("right", -1)):
        turned = None if direction is None else (sign * direction[0], *direction[1:])  # type: ignore[index]
        points[f"{side}_{name}"] = BodyPoint(regions, sign, turned, level)  # type: ignore[arg-type]
    return points


POINTS: dict[str, BodyPoint] = {
    "nose": BodyPoint(("face",), 0, _FRONT),
    "forehead": BodyPoint(("face", "head"), 0, _FRONT, 0.955),
    "chin": BodyPoint(("face", "head"), 0, (0.0, -0.6, 0.8), 0.875),
    "top_of_head": BodyPoint(("head", "face"), 0, _UP),
    "back_of_head": BodyPoint(("head",), 0, _BACK, 0.955),
    **_both_sides("ear", ("head", "face"), (1.0, 0.0, 0.0)),
    "chest": BodyPoint(("upper",), 0, _FRONT, 0.74),
    "belly": BodyPoint(("upper", "lower"), 0, _FRONT, 0.61),
    "back": BodyPoint(("upper",), 0, _BACK, 0.74),
    "bottom": BodyPoint(("upper", "lower"), None, _BACK, 0.53),
    **_both_sides("shoulder", ("upper",), (0.5, 1.0, 0.0), 0.82),
    **_both_sides("hand", ("hand",)),
    **_both_sides("fingertips", ("hand",), (0.6, -1.0, 0.3)),
    **_both_sides("hip", ("upper", "lower"), (1.0, 0.0, 0.0), 0.53),
    **_both_sides("knee", ("lower",), _FRONT, 0.285),
    **_both_sides("calf", ("lower",), _BACK, 0.2),
    **_both_sides("foot", ("foot",)),
    **_both_sides("heel", ("foot",), _BACK),
    **_both_sides("toes", ("foot",), _FRONT),
}  # fmt: skip
EYES = ("left_eye", "right_eye")  # the rig's own joints, an eyeball's radius forwards
_EYE_RADIUS = 0.015
NAMES = (*POINTS, *EYES)
DEFAULT_QUERIES = ("nose", "back_of_head", "chest", "left_hand", "right_hand", "left_knee", "right_foot")
"""A few parts that a reader can check at a glance; the paper shows a hand and the back of the head."""


@dataclass(frozen=True)
class Query:
    """One geometry token whose attention is looked at.

    Args:
        name: As the user gave it.
        anchor: Number of the token.
        region: Label of the anchor.
        position: Of the anchor on the template, metres.
        distance: From the named point to the anchor, metres; 0 for a token chosen by number.
        is_face: Whether it also takes part in the attention on face close-ups.
    """

    name: str
    anchor: int
    region: str
    position: tuple[float, float, float]
    distance: float
    is_face: bool


def find_queries(model: AvatarModel, names: Sequence[str]) -> list[Query]:
    """Find the tokens that names stand for.

    Args:
        model: With its rig and anchors.
        names: Names of ``POINTS``, names of the rig's joints, or anchor numbers.

    Returns:
        One query per name, in order.

    Raises:
        UsageError: A name is unknown (says the nearest known ones), or a number out of range.
    """
    if not names:
        raise UsageError("At least one query is needed, for example left_hand.")
    return [_find(model, str(name)) for name in dict.fromkeys(names)]


def template_point(rig: Rig, point: BodyPoint) -> Tensor:
    """Where a named point lies on a rig's template, metres, ``(3,)``.

    Raises:
        UsageError: The rig labels no vertex so.
    """
    vertices_V3 = rig.template_vertices_V3
    allowed_V = torch.isin(rig.regions_V, _labels(point.regions).to(rig.regions_V.device))
    if point.side is not None:
        across_V = vertices_V3[:, 0]
        allowed_V &= across_V.abs() < _MIDDLE if point.side == 0 else across_V * point.side > 0
    if point.level is not None:
        height_V = vertices_V3[:, 1] - vertices_V3[:, 1].amin()
        allowed_V &= (height_V / height_V.amax() - point.level).abs() < _BAND
    chosen_N3 = vertices_V3[allowed_V]
    if not len(chosen_N3):
        raise UsageError(f"The rig {rig.name!r} has no vertex there; choose another query, or an anchor.")
    if point.direction is None:
        return chosen_N3.mean(0)
    return chosen_N3[(chosen_N3 @ chosen_N3.new_tensor(point.direction)).argmax()]


def anchor_regions(model: AvatarModel) -> Tensor:
    """Region label of each anchor, which is the first of its Gaussians, ``(A,)``."""
    return model.anchors.regions_G[:: model.config.gaussians_per_anchor]


def _find(model: AvatarModel, name: str) -> Query:
    anchors, regions_A = model.anchors, anchor_regions(model)
    allowed_A = torch.ones_like(regions_A, dtype=torch.bool)
    if name.isdecimal():
        if int(name) >= anchors.count:
            raise UsageError(f"The model has anchors 0 to {anchors.count - 1}, got {name}.")
        target_3 = anchors.positions_A3[int(name)]
    elif name in POINTS:
        target_3 = template_point(model.rig, POINTS[name])
        same_A = torch.isin(regions_A, _labels(POINTS[name].regions).to(regions_A.device))
        allowed_A = same_A if same_A.any() else allowed_A
    else:
        target_3 = _joint_point(model.rig, name)
    distance_A = (anchors.positions_A3 - target_3).norm(dim=1)
    anchor = int(torch.where(allowed_A, distance_A, torch.inf).argmin())
    x, y, z = (float(value) for value in anchors.positions_A3[anchor])
    return Query(
        name,
        anchor,
        REGIONS[int(regions_A[anchor])],
        (x, y, z),
        float(distance_A[anchor]),
        bool(anchors.is_face_A[anchor]),
    )


def _joint_point(rig: Rig, name: str) -> Tensor:
    """An eye or any other joint of the template."""
    if name not in EYES and name not in rig.joint_names:
        raise UsageError(_unknown(name, rig))
    joint = rig.eye_joints[EYES.index(name)] if name in EYES else rig.joint_names.index(name)
    point_3 = rig.canonical_joints(rig.neutral_identity()[None])[0, joint]
    return point_3 + point_3.new_tensor([0.0, 0.0, _EYE_RADIUS * (name in EYES)])


def _unknown(name: str, rig: Rig) -> str:
    near = difflib.get_close_matches(name, [*NAMES, *rig.joint_names], n=3, cutoff=0.5)
    meant = f", did you mean {' or '.join(near)}?" if near else "."
    return (
        f"There is no query {name!r}{meant} Known are {', '.join(NAMES)}, the rig's joints "
        f"(such as {rig.joint_names[-1]}) and anchor numbers."
    )


def _labels(regions: tuple[str, ...]) -> Tensor:
    return torch.tensor([REGIONS.index(region) for region in regions])
