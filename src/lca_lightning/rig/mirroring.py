"""What a rig's numbers become when the world is mirrored in the plane x = 0.

Left and right change places by their names: ``finger2-1.L``, ``l-hand-scale``, ``l_eye``, ``eyeBlinkLeft``.
Coefficients without names, such as MHR's numbered shapes, are mirrored by what they do to the template.
Region labels (`REGIONS`) and the places of anchors on the template know no left and right, so they stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from lca_lightning.errors import ConfigError, check_shape
from lca_lightning.geometry.constants import device_constant
from lca_lightning.rig.rig import Rig, RigPose

LARGEST_RESIDUAL = 0.25  # share of a coefficient's motion that its mirror image may miss (ours)
_SIDES = {"l": "r", "left": "right", "L": "R", "Left": "Right", "LEFT": "RIGHT"}
_SIDES |= {right: left for left, right in _SIDES.items()}
_SIDE = re.compile(
    r"Left|Right|(?<![a-zA-Z])(?:left|right|LEFT|RIGHT)(?![a-zA-Z])"
    r"|(?<![a-zA-Z0-9])[lrLR](?=[-_.])|(?<=[-_.])[lrLR]$"
)
_REFLECTION = (-1.0, 1.0, 1.0)
_AXIAL = (1.0, -1.0, -1.0)  # rotation vectors are axial


def mirrored_name(name: str) -> str:
    """The name of the same thing on the other side; the name itself where it names no side."""
    return _SIDE.sub(lambda match: _SIDES[match.group()], name)


def mirrored_positions(names: Sequence[str], what: str) -> tuple[int, ...]:
    """Where the mirror image of each name stands.

    Args:
        names: Joints or coefficients.
        what: What they are, for the message.

    Returns:
        One position per name; applied twice it is the identity.

    Raises:
        ConfigError: A left name has no right one, or the other way round.
    """
    places = {name: place for place, name in enumerate(names)}
    missing = [name for name in names if mirrored_name(name) not in places]
    if missing:
        raise ConfigError(
            f"The {what} {missing[0]!r} has no counterpart {mirrored_name(missing[0])!r} on the other side; "
            "set model.augmentation.flip_probability=0 for this rig."
        )
    return tuple(places[mirrored_name(name)] for name in names)


def reflect_points(points_3: Tensor) -> Tensor:
    """Points or directions ``(..., 3)`` with x negated."""
    return points_3 * device_constant(_REFLECTION, points_3.dtype, points_3.device)


def reflect_rotation_vectors(vectors_3: Tensor) -> Tensor:
    """Rotation vectors ``(..., 3)`` of the mirrored turns: y and z negated."""
    return vectors_3 * device_constant(_AXIAL, vectors_3.dtype, vectors_3.device)


def reflect_cameras(w2c_44: Tensor) -> Tensor:
    """World-to-camera maps ``(..., 4, 4)`` of the mirrored world; pictures come out with x reversed."""
    signs = device_constant((-1.0, 1.0, 1.0, 1.0), w2c_44.dtype, w2c_44.device)
    return w2c_44 * signs * signs[:, None]


def reflect_intrinsics(K_33: Tensor, width: int) -> Tensor:
    """Intrinsics ``(..., 3, 3)`` in pixels of pictures ``width`` pixels wide that were flipped sideways."""
    offset = device_constant(((0.0, 0.0, width), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)), K_33.dtype, K_33.device)
    signs = ((1.0, -1.0, -1.0), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0))
    return offset + K_33 * device_constant(signs, K_33.dtype, K_33.device)


def mirror_gaze(gaze_8: Tensor) -> Tensor:
    """Gaze ``(..., 8)``: the eyes change places and look to the other side."""
    signs = device_constant((-1.0, 1.0, 1.0, 1.0) * 2, gaze_8.dtype, gaze_8.device)
    return gaze_8.roll(4, -1) * signs


class RigMirror:
    """Mirrors identity, pose and expression of a rig; twice is the identity.

    Args:
        rig: Its template must be nearly symmetric about x = 0.

    Attributes:
        joints: Mirror image of each joint.
        vertex_V: Vertex nearest to the mirror image of each template vertex.
        asymmetry: Largest distance between a mirrored template vertex and that vertex, metres.
        residuals: For ``identity`` and ``expression``, share of the motion of the worst coefficient that
            its mirror image misses.

    Raises:
        ConfigError: A side is missing, or a coefficient has no mirror image.
    """

    def __init__(self, rig: Rig) -> None:
        self.rig_name = rig.name
        self.joints = mirrored_positions(rig.joint_names, "joint")
        vertices = rig.template_vertices_V3.detach().cpu().double().numpy()
        distances, self.vertex_V = cKDTree(vertices).query(vertices * np.array(_REFLECTION))
        self.asymmetry = float(distances.max())
        self.residuals: dict[str, float] = {}
        device = rig.template_vertices_V3.device
        neutral = rig.neutral_identity()[None]

        def with_identity(values_NI: Tensor) -> Tensor:
            return rig.canonical_vertices(neutral + 0.2 * values_NI)

        def with_expression(values_NE: Tensor) -> Tensor:
            return rig.canonical_vertices(neutral.expand(len(values_NE), -1), values_NE)

        self._identity = self._coefficients("identity", rig.identity_names, with_identity, device)
        self._expression = self._coefficients("expression", rig.expression_names, with_expression, device)

    def rotations(self, rotations_J3: Tensor) -> Tensor:
        """Rotation vectors ``(..., J, 3)`` of the mirrored pose."""
        joints = device_constant(self.joints, torch.long, rotations_J3.device)
        return reflect_rotation_vectors(rotations_J3[..., joints, :])

    def pose(self, pose: RigPose) -> RigPose:
        """The mirrored pose, its root on the other side of x = 0."""
        return RigPose(self.rotations(pose.rotations_BJ3), reflect_points(pose.translation_B3))

    def identity(self, identity_I: Tensor) -> Tensor:
        """Identity values ``(..., I)`` of the mirrored person."""
        return _apply(identity_I, self._identity)

    def expression(self, expression_E: Tensor) -> Tensor:
        """Expression coefficients ``(..., E)`` of the mirrored face."""
        return _apply(expression_E, self._expression)

    def _coefficients(
        self, what: str, names: Sequence[str], deform: Callable[[Tensor], Tensor], device: torch.device
    ) -> tuple[int, ...] | Tensor:
        """Positions by name where these mirror what the coefficients do, else a fitted matrix."""
        places = mirrored_positions(names, what)
        with torch.no_grad():
            shapes = deform(torch.cat([torch.zeros(1, len(names)), torch.eye(len(names))]).to(device))
        moved = (shapes[1:] - shapes[:1]).cpu()  # (N, V, 3)
        mirrored = reflect_points(moved[:, torch.from_numpy(self.vertex_V)]).flatten(1)
        moved = moved.flatten(1)
        self.residuals[what] = _worst(moved[list(places)] - mirrored, moved)
        if self.residuals[what] <= LARGEST_RESIDUAL:
            return places
        matrix = _fitted(places, moved.double(), mirrored.double()).float()
        self.residuals[what] = _worst(matrix.T @ moved - mirrored, moved)
        if self.residuals[what] <= LARGEST_RESIDUAL:
            return matrix
        raise ConfigError(
            f"The {what} values of the rig {self.rig_name!r} cannot be mirrored: "
            f"{self.residuals[what]:.0%} of what one of them moves has no counterpart on the other side; "
            "set model.augmentation.flip_probability=0 for this rig."
        )


def _apply(values_N: Tensor, change: tuple[int, ...] | Tensor) -> Tensor:
    if isinstance(change, Tensor):
        check_shape("coefficients", values_N, (*values_N.shape[:-1], change.shape[0]))
        matrix = change.to(values_N)
        return (values_N[..., None, :] * matrix).sum(-1)  # a product of matrices may be rounded to TF32
    check_shape("coefficients", values_N, (*values_N.shape[:-1], len(change)))
    return values_N[..., device_constant(change, torch.long, values_N.device)]


def _worst(missed_NC: Tensor, moved_NC: Tensor) -> float:
    """Largest norm of what is missed relative to what moves, 0 where nothing moves."""
    if not len(moved_NC):
        return 0.0
    return float((missed_NC.norm(dim=1) / moved_NC.norm(dim=1).clamp(min=1e-6)).max())


def _fitted(places: tuple[int, ...], moved_NC: Tensor, mirrored_NC: Tensor) -> Tensor:
    """Matrix ``(N, N)`` from values to mirrored values; what moves no vertex changes places by name.

    Newton's iteration for the matrix sign makes it its own inverse.
    """
    matrix = torch.eye(len(places), dtype=torch.float64)[list(places)]
    moving = (moved_NC.norm(dim=1) > 1e-6).nonzero()[:, 0]
    rows = moved_NC[moving]
    fitted = torch.linalg.lstsq(rows.T, mirrored_NC[moving].T).solution
    for _ in range(30):
        fitted = 0.5 * (fitted + torch.linalg.pinv(fitted))
    matrix[moving[:, None], moving] = fitted
    return matrix
