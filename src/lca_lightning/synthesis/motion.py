"""Procedural motion within joint limits: smooth sums of sines, walking, waving, squatting, turning."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from lca_lightning.motion.clip import Motion
from lca_lightning.rig.rig import Rig, RigPose
from lca_lightning.synthesis.clock import Clock
from lca_lightning.synthesis.face_motion import gaze_motion, plain_expression, rich_expression
from lca_lightning.synthesis.hand_motion import finger_curls
from lca_lightning.synthesis.precision import double_rig, stored

ACTIVITIES = ("sway", "walk", "wave", "reach", "squat", "dance")
# joint: axis, lowest, highest angle in radians on the left; the right side is its mirror image.
# x turns forwards down or a knee back, z lifts the left arm, "hinge" is the elbow's own axis.
_LIMBS: tuple[tuple[str, str, float, float], ...] = (
    ("clavicle", "z", -0.05, 0.15),
    ("upperarm01", "x", -0.9, 0.3),
    ("upperarm01", "z", -0.38, 0.75),
    ("upperarm01", "bone", -0.35, 0.35),
    ("lowerarm01", "hinge", -0.45, 0.9),
    ("lowerarm02", "bone", -0.5, 0.5),
    ("wrist", "z", -0.35, 0.35),
    ("upperleg01", "x", -0.25, 0.12),
    ("upperleg01", "z", -0.08, 0.12),
    ("upperleg01", "y", -0.1, 0.15),
    ("lowerleg01", "x", 0.0, 0.35),
    ("foot", "x", -0.12, 0.15),
)
_TRUNK: tuple[tuple[str, str, float, float], ...] = (
    ("spine05", "x", -0.04, 0.08),
    ("spine04", "y", -0.10, 0.10),
    ("spine03", "x", -0.04, 0.08),
    ("spine03", "y", -0.10, 0.10),
    ("spine03", "z", -0.08, 0.08),
    ("spine02", "y", -0.08, 0.08),
    ("spine01", "z", -0.06, 0.06),
    ("neck01", "x", -0.06, 0.10),
    ("neck02", "y", -0.18, 0.18),
    ("neck03", "y", -0.15, 0.15),
    ("head", "x", -0.15, 0.16),
    ("head", "y", -0.22, 0.22),
    ("head", "z", -0.12, 0.12),
)
_JOINTS_ON_FLOOR = ("toe", "foot")


class _Pose:
    """Collects rotations joint by joint; later turns are applied after earlier ones."""

    def __init__(self, rig: Rig, identity_I: torch.Tensor, frames: int) -> None:
        self.rig = rig
        self.frames = frames
        exact = double_rig(rig)
        joints = exact.posed_joints(identity_I[None].double(), exact.reference_pose())[0].numpy()
        self.at = {name: joints[index] for index, name in enumerate(rig.joint_names)}
        self._turns: dict[str, Rotation] = {}

    def turn(self, joint: str, axis: str, angle_T: NDArray, mirrored: bool = False) -> None:
        """Turn a joint; ``mirrored`` reflects a left-side turn to the right side."""
        vector = self._axis(joint, axis)
        if mirrored and axis in "xyz":
            vector = vector * [1, -1, -1]
        elif mirrored and axis == "bone":
            vector = -vector
        step = Rotation.from_rotvec(np.broadcast_to(angle_T, (self.frames,))[:, None] * vector)
        self._turns[joint] = step * self._turns[joint] if joint in self._turns else step

    def both_sides(self, joint: str, axis: str, left_T: NDArray, right_T: NDArray) -> None:
        """Turn a pair of joints, the right one as the mirror image."""
        self.turn(f"{joint}.L", axis, left_T)
        self.turn(f"{joint}.R", axis, right_T, mirrored=True)

    def _axis(self, joint: str, axis: str) -> NDArray[np.float64]:
        if axis in "xyz":
            return np.eye(3)["xyz".index(axis)]
        side = joint[-2:]
        shoulder, elbow, wrist = (self.at[name + side] for name in ("upperarm01", "lowerarm01", "wrist"))
        if axis == "hinge":
            vector = np.cross(elbow - shoulder, wrist - elbow)
        elif axis == "fist":
            vector = np.cross(self.at[f"finger3-3{side}"] - self.at[f"finger3-1{side}"], wrist - elbow)
            vector = vector if (vector @ [0, 0, 1]) * (1 if side == ".L" else -1) < 0 else -vector
        else:
            vector = wrist - elbow if joint.startswith("lowerarm") else elbow - shoulder
        return vector / np.linalg.norm(vector)

    def rotations(self) -> NDArray[np.float32]:
        """Rotation vectors ``(T, J, 3)``."""
        vectors = np.zeros((self.frames, len(self.rig.joint_names), 3))
        for joint, turn in self._turns.items():
            vectors[:, self.rig.joint_names.index(joint)] = turn.as_rotvec()
        return stored(vectors)


def procedural_motion(
    rig: Rig,
    identity_I: torch.Tensor,
    frames: int,
    fps: float,
    rng: np.random.Generator,
    turns: float = 1.0,
    activity: str | None = None,
    rich: bool = False,
) -> Motion:
    """Draw a motion of body, hands, face and eyes.

    Args:
        rig: The rig.
        identity_I: Subject, so that the feet stay on the floor and elbows bend about their own axis.
        frames: Number of frames ``T``.
        fps: Frames per second.
        rng: Source of every choice.
        turns: Full turns about the vertical over the sequence.
        activity: One of ``ACTIVITIES``, or None to draw one.
        rich: Go through strong expressions and a library of hand poses.

    Returns:
        The motion; the lowest foot joint stays where it stands in the reference pose.
    """
    clock = Clock(np.arange(frames) / fps, frames / fps)
    chosen = activity if activity is not None else str(rng.choice(ACTIVITIES))
    pose = _Pose(rig, identity_I, frames)
    energy = {"sway": 0.5, "walk": 0.35, "squat": 0.5, "dance": 1.0}.get(chosen, 0.55) * rng.uniform(0.8, 1.1)
    _idle(pose, clock, rng, energy, relaxed_arms=chosen in ("sway", "walk"))
    _act(chosen, pose, clock, rng)
    for joint, angle_T in finger_curls(rig.joint_names, clock, rng, rich).items():
        pose.turn(joint, "fist", angle_T)
    yaw = _yaw(clock, rng, turns)
    pose.turn("root", "x", clock.wave(rng, -0.03, 0.05))
    pose.turn("root", "y", yaw)
    gaze = gaze_motion(clock, rng)
    rotations = with_gaze(rig, pose.rotations(), gaze)
    drift = np.stack(
        [clock.wave(rng, -0.08, 0.08, 0.15), np.zeros(frames), clock.wave(rng, -0.08, 0.08, 0.15)], -1
    )
    translation = stand_on_floor(rig, identity_I, torch.from_numpy(rotations), torch.from_numpy(drift))
    expression = (rich_expression if rich else plain_expression)(rig, clock, rng)
    return Motion(rotations, stored(translation.numpy()), fps, expression, gaze)


def with_gaze(rig: Rig, rotations_TJ3: NDArray, gaze_T8: NDArray) -> NDArray[np.float32]:
    """Rotation vectors with the eyes turned along the gaze, rounded; see `Rig.with_gaze`."""
    turned = rig.with_gaze(torch.from_numpy(rotations_TJ3).double(), torch.from_numpy(gaze_T8).double())
    return stored(turned.numpy())


def stand_on_floor(
    rig: Rig, identity_I: torch.Tensor, rotations_TJ3: torch.Tensor, horizontal_T3: torch.Tensor
) -> torch.Tensor:
    """Root translations that keep the lowest foot joint at its reference height.

    Args:
        rig: The rig.
        identity_I: Subject.
        rotations_TJ3: Poses.
        horizontal_T3: Where the root is; its y is replaced.

    Returns:
        World position of the root joint in metres, float64, ``(T, 3)``.
    """
    feet = [index for index, name in enumerate(rig.joint_names) if name.startswith(_JOINTS_ON_FLOOR)]
    exact, identity = double_rig(rig), identity_I[None].double()
    reference = exact.reference_pose()
    with torch.no_grad():
        standing = exact.posed_joints(identity, reference)[0, feet, 1].min()
        lifted = horizontal_T3.double()
        lifted[:, 1] = reference.translation_B3[0, 1]
        lowest = exact.posed_joints(identity, RigPose(rotations_TJ3.double(), lifted))[:, feet, 1].amin(1)
    lifted[:, 1] += standing - lowest
    return lifted


def _idle(pose: _Pose, clock: Clock, rng: np.random.Generator, energy: float, relaxed_arms: bool) -> None:
    for joint, axis, low, high in _TRUNK:
        pose.turn(joint, axis, clock.wave(rng, low * (0.5 + energy), high * (0.5 + energy)))
    for joint, axis, low, high in _LIMBS:
        middle = low + (high - low) * (0.12 if joint == "upperarm01" and axis == "z" else 0.4)
        bottom, top = middle + energy * (low - middle), middle + energy * (high - middle)
        if relaxed_arms and joint == "upperarm01" and axis == "z":
            bottom, top = -0.36, -0.15
        rate = 0.3 if "leg" in joint or joint == "foot" else 0.4
        pose.both_sides(joint, axis, clock.wave(rng, bottom, top, rate), clock.wave(rng, bottom, top, rate))


def _act(activity: str, pose: _Pose, clock: Clock, rng: np.random.Generator) -> None:
    seconds, frames = clock.seconds_T, pose.frames
    side, mirrored = (".L", False) if rng.random() < 0.5 else (".R", True)
    if activity == "walk":
        phase = 2 * np.pi * rng.uniform(0.7, 1.0) * seconds + rng.uniform(0, 6)
        swing = rng.uniform(0.3, 0.5)
        for leg, shift, flip in ((".L", 0.0, False), (".R", np.pi, True)):
            pose.turn(f"upperleg01{leg}", "x", -0.1 - swing * np.sin(phase + shift), flip)
            pose.turn(f"lowerleg01{leg}", "x", 0.15 + 0.7 * np.clip(np.cos(phase + shift), 0, 1), flip)
            pose.turn(f"upperarm01{leg}", "x", 0.9 * swing * np.sin(phase + shift), flip)
    elif activity == "wave":
        pose.turn(f"upperarm01{side}", "z", rng.uniform(0.9, 1.2) * np.ones(frames), mirrored)
        rate = rng.uniform(0.6, 1.2)
        pose.turn(f"lowerarm01{side}", "z", 0.4 + 0.45 * np.sin(2 * np.pi * rate * seconds), mirrored)
    elif activity == "reach":
        pose.turn(f"upperarm01{side}", "x", -clock.wave(rng, 0.0, 1.2, 0.5), mirrored)
        pose.turn(f"upperarm01{side}", "z", clock.wave(rng, 0.0, 0.9, 0.5), mirrored)
        pose.turn("spine04", "x", clock.wave(rng, 0.0, 0.35, 0.4))
    elif activity == "squat":
        depth = clock.wave(rng, 0.0, 0.8, 0.45)
        pose.both_sides("upperleg01", "x", -1.25 * depth, -1.25 * depth)
        pose.both_sides("lowerleg01", "x", 1.6 * depth, 1.6 * depth)
        pose.both_sides("foot", "x", -0.5 * depth, -0.5 * depth)
        pose.both_sides("upperarm01", "x", -0.8 * depth, -0.8 * depth)
        pose.turn("spine05", "x", 0.35 * depth)
    elif activity == "dance":
        lift = clock.wave(rng, 0.0, 0.7, 0.5)
        pose.turn(f"upperleg01{side}", "x", -lift, mirrored)
        pose.turn(f"lowerleg01{side}", "x", 1.2 * lift, mirrored)


def _yaw(clock: Clock, rng: np.random.Generator, turns: float) -> NDArray[np.float64]:
    start = rng.uniform(-0.6, 0.6)
    direction = 1.0 if rng.random() < 0.5 else -1.0
    progress = clock.seconds_T / max(clock.duration, 1e-6)
    return start + direction * 2 * np.pi * turns * progress + clock.wave(rng, -0.25, 0.25)
