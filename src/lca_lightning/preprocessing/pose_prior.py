"""What a body does readily: which joints bend, about which axis, how far, and how stiff the rest is."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lca_lightning.rig.rig import Rig

# (pattern, stiffness about the flexion axis, about the bone, about the third axis), in 1 / rad^2.
_STIFFNESS = (
    (r"root", 0.0, 0.0, 0.0),
    (r"spine0[1-5]", 1.0, 1.0, 1.5),
    (r"neck0[1-3]", 1.5, 1.5, 1.5),
    (r"head", 0.7, 0.7, 0.7),
    (r"clavicle", 3.0, 8.0, 3.0),
    (r"shoulder01", 3.0, 8.0, 3.0),
    (r"upperarm01", 0.03, 0.15, 0.03),
    (r"lowerarm01", 0.02, 1.0, 8.0),
    (r"lowerarm02", 8.0, 0.15, 8.0),
    (r"wrist", 0.5, 3.0, 0.7),
    (r"upperleg01", 0.03, 0.2, 0.06),
    (r"lowerleg01", 0.02, 2.0, 8.0),
    (r"foot", 0.5, 1.5, 1.0),
    (r"finger1-1", 0.7, 1.5, 0.7),
    (r"finger1-[23]", 0.4, 3.0, 3.0),
    (r"finger[2-5]-1", 0.15, 3.0, 1.5),
    (r"finger[2-5]-[23]", 0.15, 6.0, 6.0),
)
LIMIT_STIFFNESS = 20.0
_DEGREE = torch.pi / 180


@dataclass(frozen=True)
class PosePrior:
    """A quadratic prior on joint rotations in anatomical axes, with soft limits of flexion.

    Attributes:
        free_J: Joints that may turn at all, ``(J,)``.
        axes_J33: Rows are flexion axis, bone, third axis, in the rig frame of the reference pose, ``(J, 3,
            3)``.
        stiffness_J3: Penalty per squared radian about each axis, ``(J, 3)``.
        lowest_J: Smallest comfortable flexion, radians, ``(J,)``.
        highest_J: Largest comfortable flexion, radians, ``(J,)``.
    """

    free_J: Tensor
    axes_J33: Tensor
    stiffness_J3: Tensor
    lowest_J: Tensor
    highest_J: Tensor

    def energy(self, rotations_TJ3: Tensor) -> Tensor:
        """Penalty per frame, ``(T,)``; 0 in the reference pose.

        Args:
            rotations_TJ3: Rotation vectors in radians, ``(T, J, 3)``; the root's is ignored.
        """
        angles = torch.einsum("tjc,jac->tja", rotations_TJ3, self.axes_J33)
        bent = (self.stiffness_J3 * angles**2).sum((1, 2))
        flexion = angles[..., 0]
        beyond = functional.relu(flexion - self.highest_J) + functional.relu(self.lowest_J - flexion)
        return bent + LIMIT_STIFFNESS * (beyond**2).sum(1)


def build_pose_prior(rig: Rig) -> PosePrior:
    """Derive flexion axes from the rig's own rest skeleton and attach stiffness and limits by joint name."""
    joints = rig.canonical_joints(rig.neutral_identity()[None])[0]
    names = rig.joint_names
    count = len(names)
    free = torch.zeros(count, dtype=torch.bool)
    stiffness = torch.zeros(count, 3)
    axes = torch.eye(3).repeat(count, 1, 1)
    lowest, highest = torch.full((count,), -torch.inf), torch.full((count,), torch.inf)
    for index, name in enumerate(names):
        values = next((row[1:] for row in _STIFFNESS if re.match(row[0] + r"(\.|$)", name)), None)
        if values is None:
            continue
        free[index] = True
        stiffness[index] = torch.tensor(values)
        axes[index] = _anatomical_axes(names, joints, index)
        limits = _flexion_limits(names, joints, index)
        if limits is not None:
            lowest[index], highest[index] = limits
    return PosePrior(free, axes, stiffness, lowest, highest)


def _bone(names: tuple[str, ...], joints: Tensor, first: str, second: str) -> Tensor:
    return functional.normalize(joints[names.index(second)] - joints[names.index(first)], dim=0)


def _anatomical_axes(names: tuple[str, ...], joints: Tensor, index: int) -> Tensor:
    """Flexion axis, bone direction and the axis across both, as rows, ``(3, 3)``."""
    name, side = names[index], names[index][-2:]
    across = torch.tensor([1.0, 0.0, 0.0])
    if name.startswith("lowerarm"):
        upper = _bone(names, joints, f"upperarm01{side}", f"lowerarm01{side}")
        along = _bone(names, joints, f"lowerarm01{side}", f"wrist{side}")
        flexion = torch.linalg.cross(upper, along)
    elif name.startswith(("finger", "wrist")):
        finger = name[6] if name.startswith("finger") else "3"
        segment = int(name[8]) if name.startswith("finger") else 1
        first, second = (segment, segment + 1) if segment < 3 else (2, 3)
        along = _bone(names, joints, f"finger{finger}-{first}{side}", f"finger{finger}-{second}{side}")
        flexion = torch.linalg.cross(along, _palm_normal(names, joints, side))
        if finger == "1":
            flexion = torch.linalg.cross(along, _bone(names, joints, f"finger1-1{side}", f"finger4-1{side}"))
    elif name.startswith("upperarm"):
        along = _bone(names, joints, f"upperarm01{side}", f"lowerarm01{side}")
        flexion = torch.linalg.cross(along, torch.tensor([0.0, 0.0, 1.0]))
    elif name.startswith(("upperleg", "lowerleg")):
        along = _bone(
            names, joints, f"{name[:8]}01{side}", "foot" + side if name[0] == "l" else "lowerleg01" + side
        )
        flexion = across
    elif name.startswith("foot"):
        along, flexion = torch.tensor([0.0, 0.0, 1.0]), across
    else:
        along, flexion = torch.tensor([0.0, 1.0, 0.0]), across
    flexion = functional.normalize(flexion - (flexion @ along) * along, dim=0)
    return torch.stack([flexion, along, torch.linalg.cross(flexion, along)])


def _palm_normal(names: tuple[str, ...], joints: Tensor, side: str) -> Tensor:
    """Out of the palm: fingers curl towards it."""
    wrist = joints[names.index(f"wrist{side}")]
    index, pinky = (joints[names.index(f"finger{finger}-1{side}")] - wrist for finger in (2, 5))
    normal = torch.linalg.cross(index, pinky) if side == ".R" else torch.linalg.cross(pinky, index)
    return functional.normalize(normal, dim=0)


def _flexion_limits(names: tuple[str, ...], joints: Tensor, index: int) -> tuple[float, float] | None:
    name, side = names[index], names[index][-2:]
    if name.startswith("lowerarm01"):
        upper = _bone(names, joints, f"upperarm01{side}", f"lowerarm01{side}")
        lower = _bone(names, joints, f"lowerarm01{side}", f"wrist{side}")
        bent = float(torch.arccos((upper @ lower).clamp(-1, 1)))
        return -bent - 5 * _DEGREE, 150 * _DEGREE - bent
    if name.startswith("lowerleg01"):
        return -5 * _DEGREE, 150 * _DEGREE
    if re.match(r"finger[2-5]-[123]", name):
        return -15 * _DEGREE, 95 * _DEGREE
    if name.startswith("finger1"):
        return -30 * _DEGREE, 60 * _DEGREE
    return None
