"""A captured skeleton in the rig's world axes: body parts, their directions, rest pose, floor and scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lca_lightning.errors import ConfigError, DataError
from lca_lightning.motion.bvh import BvhClip
from lca_lightning.motion.names import SIDES, SkeletonMap, map_skeleton

Array = NDArray[np.float64]
# Frames that calibration averages over; more change nothing but the time.
_CALIBRATION_FRAMES = 400
_NEXT_PART = {
    "upper_arm": "lower_arm", "lower_arm": "hand", "upper_leg": "lower_leg", "lower_leg": "foot",
    "foot": "toe", "clavicle": "upper_arm",
}  # fmt: skip
UP_AXES = ("auto", "x", "y", "z")


def unit(vectors: Array) -> Array:
    """Vectors of length one, zero where the input is zero."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12))


def frame_matrix(primary_3: Array, secondary_3: Array) -> Array:
    """Right-handed orthonormal columns: the primary direction, then the secondary made orthogonal to it."""
    first = unit(primary_3)
    second = unit(secondary_3 - (secondary_3 * first).sum(-1, keepdims=True) * first)
    return np.stack([first, second, np.cross(first, second)], axis=-1)


class SourceBody:
    """Body parts of a clip with y up.

    Args:
        clip: The parsed motion.
        up_axis: ``"auto"`` finds the axis the body stands along, else ``"x"``, ``"y"`` or ``"z"``.
    """

    def __init__(self, clip: BvhClip, up_axis: str = "auto") -> None:
        self.clip = clip
        self.parents = clip.parents
        names = [joint.name for joint in clip.joints]
        rotations, positions = clip.forward_kinematics()
        axes = "xyz" if up_axis == "auto" else up_axis
        self.parts: SkeletonMap = _map_with_up(names, self.parents, positions[0], axes)
        to_y_up = _to_y_up(self._up_axis(positions) if up_axis == "auto" else up_axis)
        self.rotations_TN33 = to_y_up @ rotations
        self.positions_TN3 = positions @ to_y_up.T
        step = max(1, len(positions) // _CALIBRATION_FRAMES)
        self.sample = slice(None, None, step)
        self.rest_frame = self._rest_frame()
        if not 1e-6 < self.leg_length() < 1e6:
            raise DataError("The motion's legs have no length: its OFFSET lines are empty; export it again.")

    def joint(self, part: str) -> int | None:
        """Joint of ``"upper_arm.L"`` and the like, None where the skeleton lacks it."""
        return self.parts.limbs.get(part)

    def end_points(self, part: str) -> list[int]:
        """Joints whose mean is the far end of a limb part; empty where the skeleton ends there."""
        name, side = part.split(".")
        if name == "hand":
            bases = [self.parts.fingers[f"{finger}.{side}"][0] for finger in self.palm(side)]
            middle = [joint for joint in bases if self.is_finger(joint, "middle", side)]
            if bases:
                return middle or bases
        following = self.parts.limbs.get(f"{_NEXT_PART.get(name, '')}.{side}")
        return [following] if following is not None else self.children(self.parts.limbs[part])

    def is_finger(self, joint: int, finger: str, side: str) -> bool:
        """Whether a joint is the knuckle of that finger."""
        return self.parts.fingers.get(f"{finger}.{side}", (-1,))[0] == joint

    def palm(self, side: str) -> list[str]:
        """Fingers present on a hand from the index to the little one, the thumb left out."""
        return [
            name for name in ("index", "middle", "ring", "pinky") if f"{name}.{side}" in self.parts.fingers
        ]

    def children(self, joint: int) -> list[int]:
        """The first child of a joint, end sites included, if its offset has a length."""
        found = [
            index
            for index, parent in enumerate(self.parents)
            if parent == joint and np.linalg.norm(self.clip.joints[index].offset_3) > 1e-6
        ]
        return found[:1]

    def vector(self, start: int, ends: Sequence[int]) -> Array:
        """World vectors from a joint to the mean of others, ``(T, 3)``."""
        return np.asarray(self.positions_TN3[:, list(ends)].mean(1) - self.positions_TN3[:, start])

    def local_mean(self, joint: int, vectors_T3: Array) -> Array:
        """Mean over the clip of world vectors as a joint's own frame sees them, ``(3,)``."""
        rotations = self.rotations_TN33[self.sample, joint]
        return np.asarray(np.einsum("tji,tj->i", rotations, vectors_T3[self.sample]) / len(rotations))

    def across(self, left: str) -> Array:
        """World vectors from a right limb joint to the left one, ``(T, 3)``, e.g. ``"upper_leg"``."""
        return np.asarray(
            self.positions_TN3[:, self.parts.limbs[f"{left}.L"]]
            - self.positions_TN3[:, self.parts.limbs[f"{left}.R"]]
        )

    def has_both(self, part: str) -> bool:
        """Whether the skeleton has that limb part on both sides."""
        return all(f"{part}.{side}" in self.parts.limbs for side in SIDES)

    def leg_length(self) -> float:
        """Mean length of thigh plus shin in file units."""
        lengths = []
        for side in SIDES:
            chain = [self.joint(f"{part}.{side}") for part in ("upper_leg", "lower_leg", "foot")]
            found = [joint for joint in chain if joint is not None]
            if len(found) < 3:
                raise DataError(f"The skeleton's leg on side {side} has no knee and ankle joints.")
            steps = np.diff(self.positions_TN3[0, found], axis=0)
            lengths.append(float(np.linalg.norm(steps, axis=1).sum()))
        return float(np.mean(lengths))

    def foot_points(self) -> list[int]:
        """Ankles, toes and toe ends of both feet."""
        points = []
        for side in SIDES:
            for part in ("foot", "toe"):
                joint = self.joint(f"{part}.{side}")
                if joint is not None:
                    points += [joint, *self.end_points(f"{part}.{side}")]
        return sorted(set(points))

    def standing_frames(self, side: str) -> NDArray[np.intp]:
        """Frames in which a foot most likely stands flat: low, slow, shin upright; empty when too few."""
        ankle = self.positions_TN3[:, self.parts.limbs[f"foot.{side}"]]
        knee = self.positions_TN3[:, self.parts.limbs[f"lower_leg.{side}"]]
        upright = unit(knee - ankle)[:, 1] > np.cos(np.radians(25))
        speed = np.linalg.norm(np.gradient(ankle, axis=0), axis=1) if len(ankle) > 1 else np.zeros(1)
        limit = ankle[:, 1].min() + 0.08 * self.leg_length()
        low = np.flatnonzero(upright & (ankle[:, 1] <= limit))
        low = low[speed[low] <= np.quantile(speed[low], 0.5)] if len(low) else low
        return low if len(low) >= min(5, len(ankle)) else low[:0]

    def _up_axis(self, positions: Array) -> str:
        """The world axis nearest to the mean direction from the ankles to the chest or head."""
        feet = [self.parts.limbs[name] for name in ("foot.L", "foot.R") if name in self.parts.limbs]
        if not feet:
            raise DataError("The skeleton has no ankles, so its floor cannot be found.")
        top = self.parts.head if self.parts.head is not None else self.parts.chest
        direction = unit(positions[:, top] - positions[:, feet].mean(1)).mean(0)
        return "xyz"[int(np.abs(direction).argmax())]

    def _rest_frame(self) -> Array | None:
        """Left, up and forward (columns) of the file's zero pose, None where that is no standing body.

        Some exporters write offsets along the bones' own axes, so that zero rotations mean nothing.
        """
        rest, limbs, parts = self.clip.rest_positions(), self.parts.limbs, self.parts
        feet = rest[[limbs["foot.L"], limbs["foot.R"]]].mean(0)
        top = rest[parts.head if parts.head is not None else parts.chest]
        up = np.eye(3)[int(np.abs(top - feet).argmax())]
        up = up * np.sign((top - feet) @ up)
        left = rest[limbs["upper_leg.L"]] - rest[limbs["upper_leg.R"]]
        if np.linalg.norm(np.cross(up, left)) < 0.7 * np.linalg.norm(left) or np.linalg.norm(left) < 1e-9:
            return None
        frame = frame_matrix(up, left)
        frame = np.stack([frame[:, 1], frame[:, 0], np.cross(frame[:, 1], frame[:, 0])], axis=1)
        return frame if self._stands(rest @ frame) else None

    def _stands(self, rest_N3: Array) -> bool:
        """Whether rest positions in (left, up, forward) axes are a standing person with separate sides."""
        limbs, parts = self.parts.limbs, self.parts
        checks = []
        for side, sign in (("L", 1.0), ("R", -1.0)):
            for upper, lower in (("upper_leg", "lower_leg"), ("lower_leg", "foot")):
                bone = unit(rest_N3[limbs[f"{lower}.{side}"]] - rest_N3[limbs[f"{upper}.{side}"]])
                checks.append(bone[1] < -0.7)
            if f"hand.{side}" in limbs:
                reach = rest_N3[limbs[f"hand.{side}"]] - rest_N3[parts.chest]
                checks.append(sign * reach[0] > 0)
            toe = self.end_points(f"foot.{side}")
            if toe:
                foot = unit(rest_N3[toe].mean(0) - rest_N3[limbs[f"foot.{side}"]])
                checks.append(foot[2] > 0.5)
        trunk = rest_N3[parts.head if parts.head is not None else parts.chest] - rest_N3[parts.hips]
        checks.append(np.linalg.norm(trunk) < 1e-9 or unit(trunk)[1] > 0.8)
        return all(bool(check) for check in checks)


def _map_with_up(names: list[str], parents: list[int], positions_N3: Array, axes: str) -> SkeletonMap:
    """Map by names; where they say nothing, by shape with the first up axis that shows two legs."""
    ordered = sorted(axes, key=lambda axis: "yzx".find(axis))
    for axis in ordered[:-1]:
        try:
            return map_skeleton(names, parents, positions_N3 @ _to_y_up(axis).T)
        except DataError:
            continue
    return map_skeleton(names, parents, positions_N3 @ _to_y_up(ordered[-1]).T)


def _to_y_up(axis: str) -> Array:
    """Rotation that turns an up axis into y; z-up keeps x, x-up keeps z."""
    if axis == "y":
        return np.eye(3)
    if axis == "z":
        return np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    if axis == "x":
        return np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    raise ConfigError(f"The up axis must be one of {', '.join(UP_AXES)}, got {axis!r}.")
