"""The rig as retargeting sees it: joints of each body part and their directions in the reference pose."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lca_lightning.errors import ConfigError
from lca_lightning.motion.names import SIDES
from lca_lightning.motion.source import unit
from lca_lightning.rig.rig import REGIONS, Rig, RigPose

Array = NDArray[np.float64]
_ANNY_PARTS = {
    "clavicle": "clavicle", "upper_arm": "upperarm01", "lower_arm": "lowerarm01", "hand": "wrist",
    "upper_leg": "upperleg01", "lower_leg": "lowerleg01", "foot": "foot",
}  # fmt: skip
_ANNY_ENDS = {
    "clavicle": "upperarm01", "upper_arm": "lowerarm01", "lower_arm": "wrist", "hand": "finger3-1",
    "upper_leg": "lowerleg01", "lower_leg": "foot", "foot": "toe2-1",
}  # fmt: skip
_ANNY_FINGERS = {"thumb": 1, "index": 2, "middle": 3, "ring": 4, "pinky": 5}
# Sole vertices are those within this height above the lowest, metres.
_SOLE_HEIGHT = 0.015


class TargetBody:
    """Body parts of a rig for one subject.

    Args:
        rig: The rig; only ``anny`` has a table of parts.
        identity_I: Identity values, ``(I,)``; the template when None.
    """

    def __init__(self, rig: Rig, identity_I: Tensor | None = None) -> None:
        if rig.name != "anny":
            raise ConfigError(f"Retargeting knows the parts of the rig 'anny' only, not {rig.name!r}.")
        self.names, self.parents = rig.joint_names, rig.joint_parents
        identity = rig.neutral_identity()[None] if identity_I is None else identity_I.reshape(1, -1)
        zeros = torch.zeros(1, len(self.names), 3).to(identity)
        pose = RigPose(zeros, torch.zeros(1, 3).to(identity))
        with torch.no_grad():
            self.joints_J3: Array = rig.posed_joints(identity, pose)[0].double().cpu().numpy()
            self._vertices: Array = rig.posed_vertices(identity, pose)[0].double().cpu().numpy()
        self._dominant = rig.weights_VJ.argmax(1).cpu().numpy()
        self._regions = rig.regions_V.cpu().numpy()
        self.hips = self._index("root")
        self.spine = [self._index(f"spine0{number}") for number in (5, 4, 3, 2, 1)]
        self.neck = [self._index(f"neck0{number}") for number in (1, 2, 3)]
        self.head = self._index("head")

    def _index(self, name: str) -> int:
        return self.names.index(name)

    def joint(self, part: str) -> int:
        """Joint that carries ``"upper_arm.L"`` and the like."""
        name, side = part.split(".")
        return self._index(f"{_ANNY_PARTS[name]}.{side}")

    def direction(self, part: str) -> Array:
        """Unit vector from a part's joint to its far end in the reference pose, ``(3,)``."""
        name, side = part.split(".")
        end = self._index(f"{_ANNY_ENDS[name]}.{side}")
        return unit(self.joints_J3[end] - self.joints_J3[self.joint(part)])

    def forearm_twist(self, side: str) -> int:
        """Joint in the middle of the forearm."""
        return self._index(f"lowerarm02.{side}")

    def toes(self, side: str) -> list[int]:
        """First joints of the five toes."""
        return [self._index(f"toe{number}-1.{side}") for number in range(1, 6)]

    def finger(self, part: str) -> list[int]:
        """Three joints of ``"index.L"`` and the like from the knuckle outwards."""
        name, side = part.split(".")
        return [self._index(f"finger{_ANNY_FINGERS[name]}-{number}.{side}") for number in (1, 2, 3)]

    def finger_directions(self, part: str) -> list[Array]:
        """Unit vectors along the three phalanges in the reference pose; the last points to the finger tip."""
        joints = self.finger(part)
        skin = self._vertices[self._dominant == joints[-1]]
        reach = np.linalg.norm(skin - self.joints_J3[joints[-1]], axis=1)
        tip = skin[reach >= np.quantile(reach, 0.9)].mean(0)
        points = np.concatenate([self.joints_J3[joints], tip[None]])
        return [unit(vector) for vector in np.diff(points, axis=0)]

    def across_palm(self, side: str) -> Array:
        """Unit vector from the little finger's knuckle to the index finger's, ``(3,)``."""
        index, pinky = self.finger(f"index.{side}")[0], self.finger(f"pinky.{side}")[0]
        return unit(self.joints_J3[index] - self.joints_J3[pinky])

    def elbow_axis(self, side: str) -> Array:
        """Axis about which the elbow closes: the reference pose holds the arms slightly bent."""
        upper, lower = self.direction(f"upper_arm.{side}"), self.direction(f"lower_arm.{side}")
        bend = np.cross(upper, lower)
        return unit(bend if np.linalg.norm(bend) > 0.1 else np.cross(upper, [0.0, 0.0, 1.0]))

    def leg_length(self) -> float:
        """Mean length of thigh plus shin, metres."""
        lengths = []
        for side in SIDES:
            chain = [self.joint(f"{part}.{side}") for part in ("upper_leg", "lower_leg", "foot")]
            lengths.append(float(np.linalg.norm(np.diff(self.joints_J3[chain], axis=0), axis=1).sum()))
        return float(np.mean(lengths))

    def hip_joints(self) -> list[int]:
        """Both hip joints."""
        return [self.joint(f"upper_leg.{side}") for side in SIDES]

    def sole_points(self) -> tuple[Array, NDArray[np.intp]]:
        """Points under both feet in the reference pose ``(P, 3)`` and the joint each moves with."""
        feet = self._regions == REGIONS.index("foot")
        lowest = self._vertices[feet, 1].min()
        chosen = np.flatnonzero(feet & (self._vertices[:, 1] < lowest + _SOLE_HEIGHT))
        return self._vertices[chosen], self._dominant[chosen]
