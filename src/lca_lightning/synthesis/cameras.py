"""Cameras that frame a moving person: one with random taste, or a calibrated ring."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from lca_lightning.datasets.format import CameraRecord
from lca_lightning.geometry.cameras import look_at
from lca_lightning.synthesis.precision import CAMERA_DECIMALS, PIXEL_DECIMALS, rounded

_RING_ELEVATIONS = (0.05, 0.30, -0.08, 0.18)
_SEEN_EVERY = 17


def wild_camera(points_TN3: NDArray, height: int, width: int, rng: np.random.Generator) -> CameraRecord:
    """One camera in front of the person: random lens, height, distance and a slight roll.

    Args:
        points_TN3: The person in all frames, metres.
        height: Picture height in pixels.
        width: Picture width in pixels.
        rng: Source of every choice.

    Returns:
        The camera; it sees all frames whole, except for a few closer shots.
    """
    points = points_TN3[:, ::_SEEN_EVERY].reshape(-1, 3).astype(np.float64)
    K_33 = _intrinsics(rng.uniform(0.45, 0.95), height, width, rng, 0.03)
    if rng.random() < 0.15:
        lowest, highest = points[:, 1].min(), points[:, 1].max()
        points = points[points[:, 1] > lowest + rng.uniform(0.3, 0.5) * (highest - lowest)]
    target = 0.5 * (points.min(0) + points.max(0))
    direction = _direction(rng.uniform(-0.5, 0.5), rng.uniform(-0.08, 0.35))
    distance = framing_distance(points, target, direction, K_33, height, width, rng.uniform(0.8, 0.98))
    roll = rng.normal(0, 0.02)
    return CameraRecord("camera", width, height, K_33, _w2c(target, direction, distance, roll))


def studio_cameras(
    points_TN3: NDArray, count: int, height: int, width: int, rng: np.random.Generator
) -> list[CameraRecord]:
    """A ring of cameras around the person, the first in front (+z); every frame is seen whole.

    Args:
        points_TN3: The person in all frames, metres.
        count: Number of cameras.
        height: Picture height in pixels.
        width: Picture width in pixels.
        rng: For the small differences between lenses.

    Returns:
        Cameras named ``camera00``, ``camera01``, ...
    """
    points = points_TN3[:, ::_SEEN_EVERY].reshape(-1, 3).astype(np.float64)
    target = 0.5 * (points.min(0) + points.max(0))
    cameras = []
    for index in range(count):
        K_33 = _intrinsics(0.6, height, width, rng, 0.02)
        elevation = _RING_ELEVATIONS[index % len(_RING_ELEVATIONS)]
        direction = _direction(2 * np.pi * index / count, elevation)
        distance = framing_distance(points, target, direction, K_33, height, width, 0.95)
        cameras.append((f"camera{index:02d}", K_33, direction, distance))
    farthest = max(distance for *_, distance in cameras)
    return [
        CameraRecord(name, width, height, K_33, _w2c(target, direction, farthest, 0.0))
        for name, K_33, direction, _ in cameras
    ]


def framing_distance(
    points_N3: NDArray,
    target_3: NDArray,
    direction_3: NDArray,
    K_33: NDArray,
    height: int,
    width: int,
    margin: float,
) -> float:
    """Smallest distance from the target at which all points lie inside the picture.

    Args:
        points_N3: Points to see, metres.
        target_3: Looked at.
        direction_3: Unit vector from the target to the camera.
        K_33: Intrinsics in pixels.
        height: Picture height.
        width: Picture width.
        margin: Share of the half picture that may be used; above one the picture cuts the points.

    Returns:
        Metres, at least 0.5.
    """
    camera = (points_N3 - target_3) @ _w2c(target_3, direction_3, 1.0, 0.0)[:3, :3].T
    half = margin * np.array([min(K_33[0, 2], width - K_33[0, 2]), min(K_33[1, 2], height - K_33[1, 2])])
    needed = np.abs(camera[:, :2]) * [K_33[0, 0], K_33[1, 1]] / half - camera[:, 2:]
    return float(max(needed.max(), 0.5))


def _direction(azimuth: float, elevation: float) -> NDArray[np.float64]:
    return np.array(
        [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
    )


def _intrinsics(
    field_of_view: float, height: int, width: int, rng: np.random.Generator, shift: float
) -> NDArray[np.float64]:
    focal = 0.5 * height / np.tan(0.5 * field_of_view)
    center = np.array([width, height]) * (0.5 + rng.uniform(-shift, shift, 2))
    return rounded(np.array([[focal, 0, center[0]], [0, focal, center[1]], [0, 0, 1]]), PIXEL_DECIMALS)


def _w2c(target: NDArray, direction: NDArray, distance: float, roll: float) -> NDArray[np.float64]:
    eye = torch.from_numpy(target + direction * distance)
    w2c_44 = look_at(eye, torch.from_numpy(target)).numpy()
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]]
    return rounded(turn @ w2c_44, CAMERA_DECIMALS)
