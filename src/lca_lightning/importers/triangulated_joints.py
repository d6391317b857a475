"""3D joints from the 2D annotations of several cameras."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lca_lightning.importers.source import FloatArray, SourceCamera

BODY_25 = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow",
    "left_wrist", "mid_hip", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
    "right_eye", "left_eye", "right_ear", "left_ear", "left_big_toe", "left_small_toe", "left_heel",
    "right_big_toe", "right_small_toe", "right_heel",
)  # fmt: skip
"""OpenPose's joints in its order."""
_LEAST_CONFIDENCE = 0.3


def triangulate_joints(
    seen: Sequence[tuple[SourceCamera, FloatArray | None]], farthest: float = 12.0
) -> tuple[FloatArray, FloatArray] | None:
    """Joint positions by weighted least squares, the worst annotation left out until all agree.

    Args:
        seen: Cameras without distortion, each with joints ``(P, 3)`` (x, y, confidence) or None.
        farthest: Pixels at a picture 1000 high: an annotation farther off is of another limb.

    Returns:
        Positions ``(P, 3)`` in metres, NaN where fewer than two cameras agree, and confidences ``(P,)``; None
        where fewer than two cameras saw anybody.
    """
    usable = [(camera, joints) for camera, joints in seen if joints is not None]
    if len(usable) < 2:
        return None
    count = len(usable[0][1])
    positions, confidence = np.full((count, 3), np.nan), np.zeros(count)
    for joint in range(count):
        rows = [(camera, joints[joint]) for camera, joints in usable if joints[joint, 2] > _LEAST_CONFIDENCE]
        while len(rows) >= 2:
            point = _intersect(rows)
            errors = [_error(camera, pixel, point) for camera, pixel in rows]
            if max(errors) < farthest:
                positions[joint], confidence[joint] = point, float(np.mean([p[2] for _, p in rows]))
                break
            rows.pop(int(np.argmax(errors)))
    return positions, confidence


def _intersect(rows: Sequence[tuple[SourceCamera, FloatArray]]) -> FloatArray:
    equations = []
    for camera, (x, y, weight) in rows:
        projection = camera.K_33 @ camera.w2c_44[:3]
        equations += [
            weight * (x * projection[2] - projection[0]) / camera.K_33[0, 0],
            weight * (y * projection[2] - projection[1]) / camera.K_33[1, 1],
        ]
    solution = np.linalg.svd(np.array(equations))[2][-1]
    return solution[:3] / (solution[3] if abs(solution[3]) > 1e-12 else 1e-12)


def _error(camera: SourceCamera, pixel_3: FloatArray, point_3: FloatArray) -> float:
    """Distance in pixels at a picture 1000 high."""
    x, y, depth = camera.K_33 @ (camera.w2c_44[:3, :3] @ point_3 + camera.w2c_44[:3, 3])
    if depth <= 0:
        return float("inf")
    return float(np.hypot(x / depth - pixel_3[0], y / depth - pixel_3[1]) * 1000 / camera.height)
