"""Drives the rig with a captured skeleton of other proportions, bone axes and rest pose.

Every mapped joint of the capture keeps its own rotation over time; what differs between two skeletons is a
constant turn per joint. That constant comes from the file's rest pose where it is a standing body, otherwise
from the bones themselves: the direction to the next joint, and a second axis that the body gives (the line
through the hips or shoulders, the hinge of elbow and knee, the knuckles, the floor under the feet).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from lca_lightning.errors import DataError
from lca_lightning.motion.bvh import BvhClip, load_bvh
from lca_lightning.motion.calibration import Calibration
from lca_lightning.motion.clip import Motion, load_npz_motion
from lca_lightning.motion.floor import root_translation
from lca_lightning.motion.names import FINGERS, SIDES
from lca_lightning.motion.source import SourceBody
from lca_lightning.motion.target import TargetBody
from lca_lightning.rig.rig import Rig

Array = NDArray[np.float64]


def load_motion(
    path: str | Path,
    rig: Rig,
    identity_I: Tensor | None = None,
    fps: float | None = None,
    up_axis: str = "auto",
) -> Motion:
    """Read any supported motion file for a rig.

    Args:
        path: A ``.bvh``, or an ``.npz`` of rig rotations (see `load_npz_motion`).
        rig: The rig to drive.
        identity_I: Identity values of the subject, the template when None; sets bone lengths for a BVH.
        fps: Resample to this rate; None keeps the file's.
        up_axis: For a BVH: ``"auto"``, ``"x"``, ``"y"`` or ``"z"``.

    Returns:
        The motion.

    Raises:
        DataError: The file is missing, broken or of another kind.
    """
    path = Path(path)
    if path.suffix.lower() == ".npz":
        motion = load_npz_motion(path, len(rig.joint_names), rig.expression_size)
    elif path.suffix.lower() == ".bvh":
        motion = retarget(load_bvh(path), rig, identity_I, up_axis)
    else:
        raise DataError(f"{path.name} is neither .bvh nor .npz, the two kinds of motion that are read.")
    return motion if fps is None else motion.resample(fps)


def retarget(clip: BvhClip, rig: Rig, identity_I: Tensor | None = None, up_axis: str = "auto") -> Motion:
    """Transfer a captured motion to the rig.

    Args:
        clip: The parsed capture.
        rig: The rig to drive.
        identity_I: Identity values of the subject, ``(I,)``; the template when None.
        up_axis: ``"auto"``, ``"x"``, ``"y"`` or ``"z"``.

    Returns:
        A motion whose limbs point where the capture's point, scaled by leg length, feet on y = 0, starting
        above the origin. Joints the capture lacks keep the rig's reference pose.

    Raises:
        DataError: The skeleton has no recognisable legs.
    """
    source, target = SourceBody(clip, up_axis), TargetBody(rig, identity_I)
    world = _fill_hierarchy(_world_rotations(source, target), target, len(clip.values_TC))
    local = world.copy()
    for joint, parent in enumerate(target.parents):
        if parent >= 0:
            local[:, joint] = np.swapaxes(world[:, parent], -1, -2) @ world[:, joint]
    rotations = Rotation.from_matrix(local.reshape(-1, 3, 3)).as_rotvec().reshape(*local.shape[:2], 3)
    translation = root_translation(source, target, world)
    return Motion(
        rotations.astype(np.float32), translation.astype(np.float32), clip.fps, held_frames=clip.held_frames
    )


def _fill_hierarchy(driven: dict[int, Array], target: TargetBody, frames: int) -> Array:
    """World rotations of all joints, ``(T, J, 3, 3)``: joints that are not driven move with their parent."""
    world = np.tile(np.eye(3), (frames, len(target.parents), 1, 1))
    for joint, parent in enumerate(target.parents):
        if joint in driven:
            world[:, joint] = driven[joint]
        elif parent >= 0:
            world[:, joint] = world[:, parent]
    return world


def _world_rotations(source: SourceBody, target: TargetBody) -> dict[int, Array]:
    """World rotations, from the reference pose, of the joints that the capture drives."""
    calibration = Calibration(source, target)
    hips, chest = calibration.hips(), calibration.chest()
    driven = {target.hips: hips}
    for joint, share in zip(target.spine, np.linspace(0, 1, len(target.spine) + 1)[1:], strict=True):
        driven[joint] = blend_rotations(hips, chest, float(share))
    _drive_head(driven, calibration, target, chest)
    for side in SIDES:
        _drive_arm(driven, calibration, side, chest)
        _drive_leg(driven, calibration, side, hips)
    return driven


def _drive_head(driven: dict[int, Array], calibration: Calibration, target: TargetBody, chest: Array) -> None:
    head = calibration.head(chest)
    neck = calibration.neck(chest, head)
    lower, middle, upper = target.neck
    driven[lower] = blend_rotations(chest, neck, 0.5)
    driven[middle] = neck
    driven[upper] = blend_rotations(neck, head, 0.5)
    driven[target.head] = head


def _drive_arm(driven: dict[int, Array], calibration: Calibration, side: str, chest: Array) -> None:
    target = calibration.target
    parent = chest
    for part in ("clavicle", "upper_arm", "lower_arm", "hand"):
        rotation = calibration.limb(f"{part}.{side}", parent, chest)
        if rotation is not None:
            driven[target.joint(f"{part}.{side}")] = rotation
            parent = rotation
    forearm, hand = target.joint(f"lower_arm.{side}"), target.joint(f"hand.{side}")
    if hand in driven and forearm in driven:
        axis = target.direction(f"lower_arm.{side}")
        half = half_twist(np.swapaxes(driven[forearm], -1, -2) @ driven[hand], axis)
        driven[target.forearm_twist(side)] = driven[forearm] @ half
    for finger in FINGERS:
        for joint, rotation in calibration.finger(f"{finger}.{side}", parent):
            driven[joint] = rotation


def _drive_leg(driven: dict[int, Array], calibration: Calibration, side: str, hips: Array) -> None:
    target = calibration.target
    parent = hips
    for part in ("upper_leg", "lower_leg", "foot"):
        rotation = calibration.limb(f"{part}.{side}", parent, hips)
        if rotation is not None:
            driven[target.joint(f"{part}.{side}")] = rotation
            parent = rotation
    toes = calibration.toes(side, parent)
    if toes is not None:
        driven.update(dict.fromkeys(target.toes(side), toes))


def blend_rotations(first_T33: Array, second_T33: Array, share: float) -> Array:
    """Rotations a share of the way from the first to the second along the shortest arc, ``(T, 3, 3)``."""
    step = Rotation.from_matrix(np.swapaxes(first_T33, -1, -2) @ second_T33).as_rotvec()
    return np.asarray(first_T33 @ Rotation.from_rotvec(share * step).as_matrix())


def half_twist(rotations_T33: Array, axis_3: Array) -> Array:
    """Half of the turn about an axis contained in rotations (swing-twist decomposition), ``(T, 3, 3)``."""
    quaternions = Rotation.from_matrix(rotations_T33).as_quat()  # xyzw
    angle = 2 * np.arctan2(quaternions[:, :3] @ axis_3, quaternions[:, 3])
    angle = np.unwrap((angle + np.pi) % (2 * np.pi) - np.pi)
    return np.asarray(Rotation.from_rotvec(0.5 * angle[:, None] * axis_3).as_matrix())
