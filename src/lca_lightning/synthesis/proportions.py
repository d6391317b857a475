"""Exaggerated proportions of drawn figures: big head, eyes and hands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lca_lightning.rig.rig import Rig
from lca_lightning.synthesis.atlas import BodyTemplate
from lca_lightning.synthesis.body_atlas import eye_vertices, joint_weight_share

_EYE_RADIUS = 0.022


@dataclass(frozen=True)
class Proportions:
    """How far a figure departs from a natural body.

    What the rig can say is said in its identity values, pushed to their bounds; the factors below come on top
    of them as an edit of the mesh that no rig value describes.

    Attributes:
        head: Factor on the head.
        eyes: Factor on the eyes within the head.
        hands: Factor on the hands.
        values: Identity values to set, by name, as a share of the way from neutral to the upper bound.
    """

    head: float
    eyes: float
    hands: float
    values: dict[str, float]

    def push(self, rig: Rig, identity_I: Tensor) -> Tensor:
        """The identity with the named values set; names the rig lacks are passed over."""
        pushed, bounds, neutral = identity_I.clone(), rig.identity_bounds(), rig.neutral_identity()
        for name, share in self.values.items():
            if name in rig.identity_names:
                index = rig.identity_names.index(name)
                end = bounds[index, 1] if share > 0 else bounds[index, 0]
                pushed[index] = neutral[index] + abs(share) * (end - neutral[index])
        return pushed


def random_proportions(rng: np.random.Generator) -> Proportions:
    """Draw the proportions of a drawn figure."""
    head = float(rng.uniform(0.6, 1.0))
    values = {name: head for name in ("head-scale-vert", "head-scale-horiz", "head-scale-depth")}
    values.update({name: float(rng.uniform(0.5, 1.0)) for name in ("l-hand-scale", "l-foot-scale")})
    values["r-hand-scale"], values["r-foot-scale"] = values["l-hand-scale"], values["l-foot-scale"]
    values["measure-neck-circ"] = float(rng.uniform(-0.8, 0.0))
    values["torso-scale-horiz"] = float(rng.uniform(-0.6, 0.4))
    return Proportions(
        head=float(rng.uniform(1.3, 1.75)),
        eyes=float(rng.uniform(1.25, 1.6)),
        hands=float(rng.uniform(1.15, 1.45)),
        values=values,
    )


def exaggeration(
    template: BodyTemplate, proportions: Proportions, canonical_V3: NDArray, joints_J3: NDArray
) -> NDArray:
    """Displacement of the canonical vertices of a subject.

    Args:
        template: Shared fields of the rig.
        proportions: The factors.
        canonical_V3: The subject's canonical vertices, metres.
        joints_J3: The subject's canonical joints, metres.

    Returns:
        Metres, ``(V, 3)``.
    """
    rig = template.rig
    at = {name: joints_J3[index] for index, name in enumerate(rig.joint_names)}
    points = canonical_V3.copy()
    for eye in (at["eye.L"], at["eye.R"]):
        distance = np.linalg.norm(points - eye, axis=1)
        share = np.exp(-0.5 * (np.maximum(distance - 0.013, 0) / (0.45 * _EYE_RADIUS)) ** 2)
        points += (proportions.eyes - 1) * (share * (template.fields.head > 0.5))[:, None] * (points - eye)
    head = np.clip(joint_weight_share(rig, ("head", "eye")), 0, 1)[:, None]
    points += (proportions.head - 1) * head * (points - at["head"])
    for side in (".L", ".R"):
        names = tuple(
            name
            for name in rig.joint_names
            if name.endswith(side) and name.startswith(("wrist", "finger", "metacarpal"))
        )
        hand = joint_weight_share(rig, names)[:, None]
        points += (proportions.hands - 1) * hand * (points - at[f"wrist{side}"])
    return points - canonical_V3


def eye_weights(rig: Rig, still_eyes: bool) -> Tensor:
    """Skinning weights of the body; still eyes ride on the head, since they no longer sit on their joints."""
    if not still_eyes:
        return rig.weights_VJ
    weights = rig.weights_VJ.clone()
    weights[eye_vertices(rig)] = 0.0
    weights[eye_vertices(rig), rig.joint_names.index("head")] = 1.0
    return weights
