"""Procedural motion: smooth, on the floor, mirrored, turning round."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from lca_lightning.rig.anny import AnnyRig
from lca_lightning.rig.rig import RigPose
from lca_lightning.synthesis.motion import ACTIVITIES, _Pose, procedural_motion


@pytest.mark.parametrize("activity", ACTIVITIES)
def test_motions_are_smooth_stand_on_the_floor_and_stay_in_range(rig: AnnyRig, activity: str) -> None:
    identity = rig.neutral_identity()
    motion = procedural_motion(rig, identity, 40, 20.0, np.random.default_rng(5), activity=activity)
    rotations = torch.from_numpy(motion.rotations_TJ3)
    pose = RigPose(rotations, torch.from_numpy(motion.translation_T3))
    assert rotations[:, 1:].norm(dim=-1).max() < 2.6
    with torch.no_grad():
        joints = rig.posed_joints(identity[None], pose)
        standing = rig.posed_joints(identity[None], rig.reference_pose())
    feet = [index for index, name in enumerate(rig.joint_names) if name.startswith(("foot", "toe"))]
    lowest = joints[:, feet, 1].amin(1)
    assert torch.allclose(lowest, standing[0, feet, 1].min().expand(40), atol=1e-4)
    eyes = [index for index, name in enumerate(rig.joint_names) if name.startswith("eye")]
    body = [index for index in range(len(rig.joint_names)) if index not in eyes]
    assert (joints[1:, body] - joints[:-1, body]).norm(dim=-1).max() < 0.35  # metres in a twentieth second
    head = rig.joint_names.index("head")
    assert (joints[:, head, 1] > joints[:, feet, 1].amax(1) + 0.5).all()
    assert motion.expression_TE is not None and motion.gaze_T8 is not None
    assert motion.expression_TE.min() >= 0 and motion.expression_TE.max() <= 1
    assert np.linalg.norm(motion.gaze_T8[:, :3], axis=1) == pytest.approx(1, abs=1e-5)


def test_a_full_turn_shows_all_sides(rig: AnnyRig) -> None:
    motion = procedural_motion(rig, rig.neutral_identity(), 24, 10.0, np.random.default_rng(0), turns=1.0)
    forward = Rotation.from_rotvec(motion.rotations_TJ3[:, 0]).apply([0, 0, 1])
    azimuth = np.degrees(np.arctan2(forward[:, 0], forward[:, 2])) % 360
    assert len(np.unique(azimuth // 45)) == 8


def test_same_seed_same_motion(rig: AnnyRig) -> None:
    first, second = (
        procedural_motion(rig, rig.neutral_identity(), 5, 10.0, np.random.default_rng(3)) for _ in range(2)
    )
    assert np.array_equal(first.rotations_TJ3, second.rotations_TJ3)


def test_equal_angles_on_both_sides_give_a_mirrored_body(rig: AnnyRig) -> None:
    identity = rig.neutral_identity()
    pose = _Pose(rig, identity, 1)
    angle = np.array([0.4])
    turns = [("upperarm01", "z"), ("upperarm01", "x"), ("upperarm01", "bone"), ("lowerarm01", "hinge")]
    turns += [("lowerarm02", "bone"), ("upperleg01", "y"), ("lowerleg01", "x")]
    for joint, axis in turns:
        pose.both_sides(joint, axis, angle, angle)
    reference = rig.reference_pose()
    with torch.no_grad():
        joints = rig.posed_joints(
            identity[None], RigPose(torch.from_numpy(pose.rotations()), reference.translation_B3)
        )[0]
    for index, name in enumerate(rig.joint_names):
        if name.endswith(".L"):
            other = joints[rig.joint_names.index(name[:-2] + ".R")]
            assert torch.allclose(joints[index] * torch.tensor([-1.0, 1, 1]), other, atol=5e-3), name


@pytest.mark.parametrize("side", [".L", ".R"])
def test_angles_have_their_meaning(rig: AnnyRig, side: str) -> None:
    identity = rig.neutral_identity()
    reference = rig.reference_pose()
    at = {name: index for index, name in enumerate(rig.joint_names)}

    def posed(joint: str, axis: str, angle: float) -> torch.Tensor:
        pose = _Pose(rig, identity, 1)
        pose.turn(joint + side, axis, np.array([angle]), mirrored=side == ".R")
        turned = RigPose(torch.from_numpy(pose.rotations()), reference.translation_B3)
        with torch.no_grad():
            return rig.posed_joints(identity[None], turned)[0]

    with torch.no_grad():
        rest = rig.posed_joints(identity[None], reference)[0]
    wrist, ankle, elbow, shoulder = (
        at[name + side] for name in ("wrist", "foot", "lowerarm01", "upperarm01")
    )
    tip, knuckle = at[f"finger3-3{side}"], at[f"finger3-1{side}"]
    assert posed("upperarm01", "z", 0.5)[wrist, 1] > rest[wrist, 1] + 0.1  # lifts the arm
    assert posed("upperarm01", "x", -0.5)[wrist, 2] > rest[wrist, 2] + 0.1  # swings it forwards
    assert posed("lowerleg01", "x", 0.5)[ankle, 2] < rest[ankle, 2] - 0.1  # bends the knee
    bent = posed("lowerarm01", "hinge", 0.5)
    assert (bent[wrist] - bent[shoulder]).norm() < (rest[wrist] - rest[shoulder]).norm() - 0.03
    assert (bent[elbow] - rest[elbow]).norm() < 1e-5
    curled = posed("finger3-1", "fist", 0.8)
    assert (curled[tip] - curled[wrist]).norm() < (rest[tip] - rest[wrist]).norm() - 0.003
    assert (curled[knuckle] - rest[knuckle]).norm() < 1e-5
