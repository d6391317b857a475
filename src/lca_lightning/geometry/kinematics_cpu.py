"""Forward kinematics of one frame for compiled kernels; `kinematics.Skeleton` is the reference."""

from __future__ import annotations

from typing import Any

import numpy as np

from lca_lightning.kernels.compilation import compiled

Array = np.ndarray[Any, Any]
ONE, HALF = np.float32(1.0), np.float32(0.5)
SMALL = np.float32(1e-8)  # squared radians: below, the series of sine and cosine
SIXTH, TWENTY_FOURTH = np.float32(1 / 6), np.float32(1 / 24)


@compiled
def _rotation(vector: Array, joint: int, matrix: Array) -> None:
    """Rodrigues' formula, as ``rotation_vector_to_matrix``."""
    x, y, z = vector[joint, 0], vector[joint, 1], vector[joint, 2]
    squared = x * x + y * y + z * z
    if squared < SMALL:
        first, second = ONE - squared * SIXTH, HALF - squared * TWENTY_FOURTH
    else:
        angle = np.float32(np.sqrt(squared))
        first, second = np.float32(np.sin(angle)) / angle, (ONE - np.float32(np.cos(angle))) / squared
    matrix[joint, 0, 0] = ONE - second * (y * y + z * z)
    matrix[joint, 1, 1] = ONE - second * (x * x + z * z)
    matrix[joint, 2, 2] = ONE - second * (x * x + y * y)
    matrix[joint, 0, 1], matrix[joint, 1, 0] = second * x * y - first * z, second * x * y + first * z
    matrix[joint, 0, 2], matrix[joint, 2, 0] = second * x * z + first * y, second * x * z - first * y
    matrix[joint, 1, 2], matrix[joint, 2, 1] = second * y * z - first * x, second * y * z + first * x


@compiled
def pose_joints(
    parents: Array, rotations: Array, root: Array, joints: Array, offsets: Array, alignment: Array,
    local: Array, transforms: Array,
) -> None:  # fmt: skip
    """Pose the bones of one subject.

    Args:
        parents: Parent of each joint, the number of joints for the root; parents come first.
        rotations: Rotation vectors ``(J, 3)`` relative to the parent, radians; the root's in the world.
        root: World position of the root, metres.
        joints: Rest positions ``(J, 3)``, as in `Skeleton`.
        offsets: From parents to joints ``(J, 3)``.
        alignment: From rest to zero rotation, ``(J, 3, 3)``.
        local: Receives the local rotations ``(J, 3, 3)``.
        transforms: Receives the upper rows of the rest-to-posed transforms ``(J, 3, 4)``.
    """
    count = len(rotations)
    world = np.zeros((count, 3, 4), np.float32)
    for joint in range(count):
        _rotation(rotations, joint, local)
        parent = parents[joint]
        for row in range(3):
            if parent == count:
                for column in range(3):
                    world[joint, row, column] = local[joint, row, column]
                world[joint, row, 3] = root[row]
                continue
            moved = world[parent, row, 3]
            for inner in range(3):
                moved += world[parent, row, inner] * offsets[joint, inner]
            world[joint, row, 3] = moved
            for column in range(3):
                total = np.float32(0.0)
                for inner in range(3):
                    total += world[parent, row, inner] * local[joint, inner, column]
                world[joint, row, column] = total
        for row in range(3):
            moved = world[joint, row, 3]
            for column in range(3):
                total = np.float32(0.0)
                for inner in range(3):
                    total += world[joint, row, inner] * alignment[joint, inner, column]
                transforms[joint, row, column] = total
                moved -= total * joints[joint, column]
            transforms[joint, row, 3] = moved
