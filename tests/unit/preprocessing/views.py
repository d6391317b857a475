"""Cameras and people made up for tests of preprocessing."""

from __future__ import annotations

import numpy as np
import torch

from lca_lightning.calibration.camera import CalibratedCamera
from lca_lightning.geometry.cameras import orbit_cameras
from lca_lightning.preprocessing.landmarks import BODY_LANDMARKS


def ring_of_cameras(count: int, width: int = 1088, height: int = 1920) -> list[CalibratedCamera]:
    """Cameras four metres around a person who stands at the origin."""
    poses = orbit_cameras(count, torch.tensor([0.0, 0.9, 0.0], dtype=torch.float64), 4.0, 0.3).numpy()
    K = np.array([[1680.0, 0, width / 2 + 3], [0, 1680.0, height / 2 - 5], [0, 0, 1]])
    return [
        CalibratedCamera(f"cam{index}", width, height, K, np.zeros(5), pose)
        for index, pose in enumerate(poses)
    ]


def project_all(points_N3: np.ndarray, projections_C34: np.ndarray) -> np.ndarray:
    """Pixels of points in all cameras, ``(C, N, 2)``."""
    homogeneous = np.concatenate([points_N3, np.ones((len(points_N3), 1))], 1)
    image = np.einsum("cij,nj->cni", projections_C34, homogeneous)
    return image[..., :2] / image[..., 2:]


def walking_points(frames: int, seed: int = 0) -> np.ndarray:
    """Body-like points that move, ``(frames, 33, 3)``: left is +x, the person faces +z."""
    generator = np.random.default_rng(seed)
    body = generator.normal(scale=[0.05, 0.5, 0.1], size=(33, 3)) + [0, 0.9, 0]
    body[1::2, 0] += 0.25
    body[2::2, 0] -= 0.25
    swing = 0.2 * np.sin(np.arange(frames)[:, None, None] / 3 + np.arange(33)[None, :, None])
    return body + swing * np.array([0.3, 0.2, 1.0])


def standing_body(stature: float, center: tuple[float, float]) -> np.ndarray:
    """Landmarks ``(33, 3)`` of somebody who stands facing the camera: the person's left lies right."""
    heights = {
        "nose": -0.42, "eye": -0.44, "ear": -0.44, "mouth": -0.39, "shoulder": -0.31, "elbow": -0.13,
        "wrist": 0.02,
        "pinky": 0.06, "index": 0.07, "thumb": 0.05, "hip": 0.02, "knee": 0.27, "ankle": 0.46, "heel": 0.48,
        "foot": 0.49,
    }  # fmt: skip
    widths = {"ear": 0.04, "shoulder": 0.1, "elbow": 0.13, "wrist": 0.14, "hip": 0.06, "knee": 0.06}
    body = np.ones((33, 3))
    for index, name in enumerate(BODY_LANDMARKS):
        part = next(key for key in heights if key in name)
        side = 1 if "left" in name else -1 if "right" in name else 0
        body[index, 0] = center[0] + side * widths.get(part, 0.05) * stature
        body[index, 1] = center[1] + heights[part] * stature
    return body
