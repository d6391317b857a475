"""Root translation of a retargeted motion: scaled by leg length, feet on the floor."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from lca_lightning.motion.source import SourceBody
from lca_lightning.motion.target import TargetBody

Array = NDArray[np.float64]
# Correction of the height is smoothed over this time and never exceeds this distance from its median.
_SMOOTHING_SECONDS = 0.1
_LARGEST_CORRECTION = 0.15


def joint_positions(target: TargetBody, world_TJ33: Array) -> Array:
    """Joint positions for world rotations, root joint at the origin, metres, ``(T, J, 3)``."""
    positions = np.zeros((*world_TJ33.shape[:2], 3))
    for joint, parent in enumerate(target.parents):
        if parent >= 0:
            bone = target.joints_J3[joint] - target.joints_J3[parent]
            positions[:, joint] = positions[:, parent] + world_TJ33[:, parent] @ bone
    return positions


def root_translation(source: SourceBody, target: TargetBody, world_TJ33: Array) -> Array:
    """World positions of the rig's root joint.

    Args:
        source: The capture.
        target: The rig.
        world_TJ33: World rotations of the rig's joints, ``(T, J, 3, 3)``.

    Returns:
        Metres, ``(T, 3)``: the hips travel as the capture's do, scaled by the ratio of leg lengths, from
        above the origin; soles are as far above y = 0 as the capture's feet are above their lowest.
    """
    scale = target.leg_length() / source.leg_length()
    hips = [source.parts.limbs["upper_leg.L"], source.parts.limbs["upper_leg.R"]]
    path = scale * source.positions_TN3[:, hips].mean(1)
    path[:, [0, 2]] -= path[0, [0, 2]]
    positions = joint_positions(target, world_TJ33)
    translation = path - positions[:, target.hip_joints()].mean(1)
    soles = _lowest_sole(target, world_TJ33, positions) + translation[:, 1]
    lift = scale * _clearance(source) - soles
    middle = float(np.median(lift))
    lift = np.clip(lift, middle - _LARGEST_CORRECTION, middle + _LARGEST_CORRECTION)
    translation[:, 1] += gaussian_filter1d(lift, _SMOOTHING_SECONDS * source.clip.fps, mode="nearest")
    return np.asarray(translation)


def _clearance(source: SourceBody) -> Array:
    """How far the lowest foot point is above its own floor height in each frame, file units, ``(T,)``."""
    heights = source.positions_TN3[:, source.foot_points(), 1]
    return np.asarray(np.maximum((heights - np.quantile(heights, 0.02, axis=0)).min(1), 0.0))


def _lowest_sole(target: TargetBody, world_TJ33: Array, positions_TJ3: Array) -> Array:
    """Height of the lowest sole point in each frame, metres, root joint at the origin, ``(T,)``."""
    points, joints = target.sole_points()
    lowest = np.full(len(world_TJ33), np.inf)
    for joint in np.unique(joints):
        offsets = points[joints == joint] - target.joints_J3[joint]
        heights = positions_TJ3[:, None, joint, 1] + world_TJ33[:, joint, 1] @ offsets.T
        lowest = np.minimum(lowest, heights.min(1))
    return lowest
