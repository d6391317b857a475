"""The constant turn between each captured joint and the rig's, from the rest pose or from the bones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from lca_lightning.motion.source import SourceBody, frame_matrix, unit
from lca_lightning.motion.target import TargetBody

Array = NDArray[np.float64]
_LEFT, _UP, _FORWARD = np.eye(3)
# A hinge counts when the joint bends this much on average (sine) about one axis (share of the bending).
_LEAST_BEND, _LEAST_AGREEMENT = 0.15, 0.6
# Mean cosine between the head's bone and the chest's up direction below which the bone is not the crown's.
_LEAST_CROWN = 0.7


def minimal_rotation(start_3: Array, end_3: Array) -> Array:
    """Smallest rotation that turns one direction into another, ``(3, 3)``."""
    start, end = unit(start_3), unit(end_3)
    axis = np.cross(start, end)
    sine, cosine = float(np.linalg.norm(axis)), float(start @ end)
    if sine < 1e-9:
        if cosine > 0:
            return np.eye(3)
        axis = np.cross(start, np.eye(3)[int(np.abs(start).argmin())])
        return np.asarray(Rotation.from_rotvec(np.pi * unit(axis)).as_matrix())
    return np.asarray(Rotation.from_rotvec(axis / sine * np.arctan2(sine, cosine)).as_matrix())


def mean_rotation(rotations_T33: Array) -> Array:
    """Rotation nearest to the mean of rotations, ``(3, 3)``."""
    left, _, right = np.linalg.svd(rotations_T33.mean(0))
    return np.asarray(left @ np.diag([1.0, 1.0, np.linalg.det(left @ right)]) @ right)


class Calibration:
    """World rotations of the rig's joints (from its reference pose) that follow a capture.

    Args:
        source: The capture.
        target: The rig.
    """

    def __init__(self, source: SourceBody, target: TargetBody) -> None:
        self.source, self.target = source, target
        self._rest = source.rest_frame
        # Turn from the rig's reference pose to the capture's rest pose, per part, in rig axes.
        self._to_rest: dict[str, Array] = {}

    def _follow(self, joint: int, constant_33: Array) -> Array:
        return np.asarray(self.source.rotations_TN33[:, joint] @ constant_33)

    def _neutral(self, joint: int, reference_T33: Array, frames: NDArray[np.intp] | None = None) -> Array:
        """Follow a joint so that on average over frames it does not turn against a reference."""
        everything = np.arange(len(reference_T33))[self.source.sample]
        chosen = everything if frames is None or len(frames) == 0 else frames
        relative = np.swapaxes(self.source.rotations_TN33[chosen, joint], -1, -2) @ reference_T33[chosen]
        return self._follow(joint, mean_rotation(relative))

    def hips(self) -> Array:
        """Rotations of the pelvis, ``(T, 3, 3)``: hip line to the left, first spine bone up."""
        source, joint = self.source, self.source.parts.hips
        if self._rest is not None:
            return self._follow(joint, self._rest)
        above = source.parts.spine[:1] or source.children(joint)
        up = source.local_mean(joint, source.vector(joint, above))
        left = source.local_mean(joint, source.across("upper_leg"))
        return self._follow(joint, frame_matrix(left, up) @ frame_matrix(_LEFT, _UP).T)

    def chest(self) -> Array:
        """Rotations of the chest, ``(T, 3, 3)``: shoulder line to the left, neck up."""
        source, joint = self.source, self.source.parts.chest
        if self._rest is not None:
            return self._follow(joint, self._rest)
        above = [*source.parts.neck, source.parts.head]
        part = "clavicle" if source.has_both("clavicle") else "upper_arm"
        if above[0] is None or not source.has_both(part):
            return self.hips()
        up = source.local_mean(joint, source.vector(joint, [above[0]]))
        left = source.local_mean(joint, source.across(part))
        return self._follow(joint, frame_matrix(left, up) @ frame_matrix(_LEFT, _UP).T)

    def head(self, chest_T33: Array) -> Array:
        """Rotations of the head, ``(T, 3, 3)``: its bone up, on average over the clip not turned aside."""
        source, joint = self.source, self.source.parts.head
        if joint is None:
            return chest_T33
        if self._rest is not None:
            return self._follow(joint, self._rest)
        crown = source.children(joint)
        if not crown:
            return self._neutral(joint, chest_T33)
        bone = unit(source.vector(joint, crown))
        if float((bone * chest_T33[:, :, 1]).sum(-1).mean()) < _LEAST_CROWN:
            return self._neutral(joint, chest_T33)  # the end site points sideways in some exports
        up = source.local_mean(joint, bone)
        left = source.local_mean(joint, chest_T33[:, :, 0])
        return self._follow(joint, frame_matrix(up, left) @ frame_matrix(_UP, _LEFT).T)

    def neck(self, chest_T33: Array, head_T33: Array) -> Array:
        """Rotations of the neck, ``(T, 3, 3)``; halfway between chest and head where the capture has none."""
        if not self.source.parts.neck:
            step = Rotation.from_matrix(np.swapaxes(chest_T33, -1, -2) @ head_T33).as_rotvec()
            return np.asarray(chest_T33 @ Rotation.from_rotvec(0.5 * step).as_matrix())
        joint = self.source.parts.neck[0]
        return self._follow(joint, self._rest) if self._rest is not None else self._neutral(joint, chest_T33)

    def limb(self, part: str, parent_T33: Array, trunk_T33: Array) -> Array | None:
        """Rotations of a limb part, ``(T, 3, 3)``, or None where the capture lacks it.

        Args:
            part: ``"upper_arm.L"`` and the like, called from the trunk outwards.
            parent_T33: Rotations of the part before it.
            trunk_T33: Rotations of the chest (arms) or pelvis (legs).
        """
        joint = self.source.joint(part)
        if joint is None:
            return None
        if self._rest is not None:
            return self._follow(joint, self._rest @ self._rest_turn(part, self._rest))
        name, side = part.split(".")
        if name == "clavicle":
            return self._neutral(joint, parent_T33)
        if name == "foot":
            return self._foot(joint, side, parent_T33)
        ends = self.source.end_points(part)
        if not ends:
            return self._neutral(joint, parent_T33)
        primary = self.source.local_mean(joint, self.source.vector(joint, ends))
        secondary, reference = self._second_axis(name, side, joint, trunk_T33)
        return self._follow(
            joint, frame_matrix(primary, secondary) @ frame_matrix(self.target.direction(part), reference).T
        )

    def _rest_turn(self, part: str, rest_33: Array) -> Array:
        """Turn from the rig's reference pose to the capture's rest pose for one part, in rig axes."""
        name, side = part.split(".")
        previous = {"lower_arm": "upper_arm", "hand": "lower_arm", "lower_leg": "upper_leg"}.get(name)
        before = self._to_rest.get(f"{previous}.{side}", np.eye(3))
        turn = before if name not in ("clavicle", "foot") else np.eye(3)
        ends = self.source.end_points(part)
        if ends and name not in ("clavicle", "foot"):
            bone = rest_33.T @ self._rest_vector(self.source.parts.limbs[part], ends)
            palm = self._source_palm(side) if name == "hand" else None
            if palm is not None:
                across = rest_33.T @ self._rest_vector(palm[1], [palm[0]])
                reference = frame_matrix(self.target.direction(part), self.target.across_palm(side))
                turn = frame_matrix(bone, across) @ reference.T
            else:
                turn = minimal_rotation(before @ self.target.direction(part), bone) @ before
        self._to_rest[part] = turn
        return turn

    def _rest_vector(self, start: int, ends: list[int]) -> Array:
        rest = self.source.clip.rest_positions()
        return np.asarray(rest[ends].mean(0) - rest[start])

    def _source_palm(self, side: str) -> tuple[int, int] | None:
        """Knuckles at the index's and at the little finger's edge of the palm, None without two fingers."""
        fingers = [self.source.parts.fingers[f"{name}.{side}"][0] for name in self.source.palm(side)]
        return (fingers[0], fingers[-1]) if len(fingers) > 1 else None

    def _second_axis(self, name: str, side: str, joint: int, trunk_T33: Array) -> tuple[Array, Array]:
        """A direction in the captured joint's frame and the rig direction that corresponds to it."""
        source, target = self.source, self.target
        palm = self._source_palm(side) if name == "hand" else None
        if palm is not None:
            return source.local_mean(joint, source.vector(palm[1], [palm[0]])), target.across_palm(side)
        is_leg = name.endswith("leg")
        upper, lower = ("upper_leg", "lower_leg") if is_leg else ("upper_arm", "lower_arm")
        reference = _LEFT if is_leg else target.elbow_axis(side)
        hinge = self._hinge(f"{upper}.{side}", f"{lower}.{side}")
        if hinge is None:  # hardly ever bent: take the side the trunk faces instead
            bone = source.vector(joint, source.end_points(f"{name}.{side}"))
            hinge = trunk_T33[:, :, 0] if is_leg else np.cross(bone, trunk_T33[:, :, 2])
        return source.local_mean(joint, hinge), reference

    def _hinge(self, upper: str, lower: str) -> Array | None:
        """World axes of elbow or knee, ``(T, 3)``, weighted by the bend; None where straight."""
        source = self.source
        first, second = source.joint(upper), source.joint(lower)
        if first is None or second is None or not source.end_points(lower):
            return None
        bones = [unit(source.vector(j, source.end_points(p))) for j, p in ((first, upper), (second, lower))]
        axes = np.cross(bones[0], bones[1])
        mean = float(np.linalg.norm(axes[source.sample], axis=1).mean())
        agreement = float(np.linalg.norm(source.local_mean(first, axes))) / max(mean, 1e-9)
        return axes if mean > _LEAST_BEND and agreement > _LEAST_AGREEMENT else None

    def _foot(self, joint: int, side: str, shin_T33: Array) -> Array:
        """Rotations of a foot whose sole is level while it stands and whose toe points forward."""
        source = self.source
        toe = source.end_points(f"foot.{side}")
        standing = source.standing_frames(side)
        if not toe or len(standing) == 0:
            return self._neutral(joint, shin_T33)
        rotations = source.rotations_TN33[standing, joint]
        sole = np.median(rotations[:, 1, :], axis=0)  # world up as the foot sees it
        forward = source.local_mean(joint, source.vector(joint, toe))
        reference = self.target.direction(f"foot.{side}")
        return self._follow(joint, frame_matrix(sole, forward) @ frame_matrix(_UP, reference).T)

    def toes(self, side: str, foot_T33: Array) -> Array | None:
        """Rotations of the toes, ``(T, 3, 3)``; straight while the foot stands."""
        joint = self.source.joint(f"toe.{side}")
        if joint is None:
            return None
        if self._rest is not None:
            return self._follow(joint, self._rest)
        return self._neutral(joint, foot_T33, self.source.standing_frames(side))

    def finger(self, part: str, hand_T33: Array) -> list[tuple[int, Array]]:
        """Rig joints and rotations of one finger's phalanges; empty where the capture lacks the finger."""
        side = part.split(".")[1]
        chain = self.source.parts.fingers.get(part, ())
        across = self.target.across_palm(side)
        turn = self._to_rest.get(f"hand.{side}", np.eye(3))
        result: list[tuple[int, Array]] = []
        for order, joint in enumerate(chain):
            ends = [chain[order + 1]] if order + 1 < len(chain) else self.source.children(joint)
            rig_joint, direction = self.target.finger(part)[order], self.target.finger_directions(part)[order]
            if not ends:
                result.append((rig_joint, self._neutral(joint, result[-1][1] if result else hand_T33)))
                continue
            if self._rest is not None:
                bone = self._rest.T @ self._rest_vector(joint, ends)
                turn = minimal_rotation(turn @ direction, bone) @ turn
                constant = self._rest @ turn
            else:
                primary = self.source.local_mean(joint, self.source.vector(joint, ends))
                secondary = self.source.local_mean(joint, hand_T33 @ across)
                constant = frame_matrix(primary, secondary) @ frame_matrix(direction, across).T
            result.append((rig_joint, self._follow(joint, constant)))
        return result
