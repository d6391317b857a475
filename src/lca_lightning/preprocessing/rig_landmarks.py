"""Detector landmarks as points of the rig: a blend of vertices or a joint, carried by blended joint
transforms.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lca_lightning.errors import ConfigError
from lca_lightning.preprocessing.landmarks import BODY_COUNT, BODY_INDEX, HAND_COUNT
from lca_lightning.rig.anny import AnnyRig
from lca_lightning.rig.rig import Rig

LANDMARK_COUNT = BODY_COUNT + 2 * HAND_COUNT
_JOINT_OF = {"shoulder": "upperarm01", "elbow": "lowerarm01", "hip": "upperleg01"}
_KEYPOINT_OF = ("knee", "ankle", "heel", "wrist", "ear", "eye")
_KNUCKLE_OF = {"pinky": "finger5-1", "index": "finger2-1", "thumb": "finger1-3"}
# How far, in metres, a landmark may settle from its rig point: annotators place hips and shoulders freely.
_OFFSET_SPREAD = {"shoulder": 0.02, "hip": 0.03, "heel": 0.015, "foot_index": 0.015, "knee": 0.015}
# Where detectors place landmarks relative to the rig's joints (left side, rest pose, metres): half of what
# fits to several cameras settle at, so that a single view, which cannot measure it, starts nearer.
_TYPICAL_OFFSET = {
    "hip": (0.0, -0.016, -0.018),
    "shoulder": (-0.003, 0.008, -0.012),
    "ear": (-0.005, 0.0, 0.007),
}
_LIMBS = ("knee", "ankle", "elbow", "wrist", "hip", "shoulder")


@dataclass(frozen=True)
class RigLandmarks:
    """The 33 body and 2 x 21 hand landmarks on a rig.

    Attributes:
        vertex_weights_LV: Blend of canonical vertices, ``(L, V)``; rows sum to 1 or 0.
        joint_weights_LJ: Blend of canonical joints for the rows that are 0 above, ``(L, J)``.
        skin_weights_LJ: How joints carry each point, rows sum to 1, ``(L, J)``.
        offset_spread_L: Standard deviation of the constant offset a clip may learn, metres, ``(L,)``.
        importance_L: Weight of each landmark in the fit, ``(L,)``.
        typical_offset_L3: Offset from the rig's point, rest pose, metres, ``(L, 3)``.
    """

    vertex_weights_LV: Tensor
    joint_weights_LJ: Tensor
    skin_weights_LJ: Tensor
    offset_spread_L: Tensor
    importance_L: Tensor
    typical_offset_L3: Tensor

    def canonical(self, vertices_BV3: Tensor, joints_BJ3: Tensor) -> Tensor:
        """Rest positions of the landmarks on subjects, metres, ``(B, L, 3)``."""
        return (
            self.vertex_weights_LV @ vertices_BV3
            + self.joint_weights_LJ @ joints_BJ3
            + self.typical_offset_L3
        )


def build_rig_landmarks(rig: Rig) -> RigLandmarks:
    """Define every detector landmark on the Anny rig.

    Args:
        rig: An ``AnnyRig``; its COCO regressors give the points of face, wrists, knees and feet.

    Returns:
        The landmarks.

    Raises:
        ConfigError: Another rig.
    """
    if not isinstance(rig, AnnyRig):
        raise ConfigError(f"Landmarks are defined on the rig 'anny' only, not on {rig.name!r}.")
    vertices, joints = rig.template_vertices_V3.shape[0], len(rig.joint_names)
    on_mesh, on_joint = torch.zeros(LANDMARK_COUNT, vertices), torch.zeros(LANDMARK_COUNT, joints)
    regressors = dict(zip(rig.keypoint_names, rig.keypoint_weights_KV, strict=True))
    on_mesh[BODY_INDEX["nose"]] = regressors["nose"]
    for side, letter in (("left", "L"), ("right", "R")):
        for part in _KEYPOINT_OF:
            on_mesh[BODY_INDEX[f"{side}_{part}"]] = regressors[f"{side}_{part}"]
        for part, joint in {**_JOINT_OF, **_KNUCKLE_OF}.items():
            on_joint[BODY_INDEX[f"{side}_{part}"], rig.joint_names.index(f"{joint}.{letter}")] = 1.0
        toes = 0.7 * regressors[f"{side}_big_toe"] + 0.3 * regressors[f"{side}_small_toe"]
        on_mesh[BODY_INDEX[f"{side}_foot_index"]] = toes
        _place_hand(rig, side, letter, on_mesh, on_joint)
        for corner in (f"{side}_eye_inner", f"{side}_eye_outer"):
            on_mesh[BODY_INDEX[corner]] = regressors[f"{side}_eye"]
        on_mesh[BODY_INDEX[f"mouth_{side}"]] = regressors["nose"]
    skin = on_mesh @ rig.weights_VJ + on_joint
    skin = skin / skin.sum(1, keepdim=True)
    return RigLandmarks(on_mesh, on_joint, skin, _offset_spread(), _importance(), _typical_offset())


def _typical_offset() -> Tensor:
    offset = torch.zeros(LANDMARK_COUNT, 3)
    for part, value in _TYPICAL_OFFSET.items():
        for side, sign in (("left", 1.0), ("right", -1.0)):
            offset[BODY_INDEX[f"{side}_{part}"]] = torch.tensor(value) * torch.tensor([sign, 1.0, 1.0])
    return offset


def _place_hand(rig: AnnyRig, side: str, letter: str, on_mesh: Tensor, on_joint: Tensor) -> None:
    start = BODY_COUNT + (0 if side == "left" else HAND_COUNT)
    on_mesh[start] = on_mesh[BODY_INDEX[f"{side}_wrist"]]
    for finger in range(5):
        for segment in range(3):
            joint = rig.joint_names.index(f"finger{finger + 1}-{segment + 1}.{letter}")
            on_joint[start + 1 + 4 * finger + segment, joint] = 1.0
        last = rig.joint_names.index(f"finger{finger + 1}-3.{letter}")
        on_mesh[start + 4 + 4 * finger, _finger_tip(rig, last)] = 0.25


def _finger_tip(rig: Rig, joint: int) -> Tensor:
    """The four vertices of a fingertip: farthest from the last joint among those it moves."""
    position = rig.canonical_joints(rig.neutral_identity()[None])[0, joint]
    distance = (rig.template_vertices_V3 - position).norm(dim=1)
    moved = rig.weights_VJ[:, joint] > 0.9
    return torch.where(moved, distance, torch.zeros_like(distance)).topk(4).indices


def _offset_spread() -> Tensor:
    spread = torch.full((LANDMARK_COUNT,), 0.01)
    spread[BODY_COUNT:] = 0.004
    for part, value in _OFFSET_SPREAD.items():
        for side in ("left", "right"):
            spread[BODY_INDEX[f"{side}_{part}"]] = value
    return spread


def _importance() -> Tensor:
    """Limbs count fully, small and uncertain points less, corners of eyes and mouth not at all."""
    weight = torch.full((LANDMARK_COUNT,), 0.5)
    weight[:11] = 0.0
    for name in ("nose", "left_eye", "right_eye", "left_ear", "right_ear"):
        weight[BODY_INDEX[name]] = 0.5
    weight[17:23] = 0.3
    weight[BODY_COUNT:] = 0.25
    for part in _LIMBS:
        for side in ("left", "right"):
            weight[BODY_INDEX[f"{side}_{part}"]] = 1.0
    return weight
