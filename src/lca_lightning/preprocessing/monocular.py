"""One camera of unknown lens: a focal length, and where the detector's rough metric body stands."""

from __future__ import annotations

import numpy as np

from lca_lightning.calibration.camera import CalibratedCamera, pinhole_camera
from lca_lightning.preprocessing.landmarks import FloatArray

# Focal lengths tried, in shares of the picture's diagonal: 71, 53 and 40 degrees across the diagonal.
FOCAL_SHARES = (0.7, 1.0, 1.37)
DEFAULT_SHARE = 1.0
# Another focal length than the default must lower the error by this share to be believed.
CLEARLY_BETTER = 0.9
HIDDEN_WEIGHT = 0.03


# Of an average adult, metres: stature, distances of the shoulders and of the hips.
STATURE, SHOULDERS, HIPS = 1.7, 0.36, 0.22
_LEFT_ARM, _RIGHT_ARM = [11, 13, 15, 17, 19, 21], [12, 14, 16, 18, 20, 22]
_LEFT_LEG, _RIGHT_LEG = [23, 25, 27, 29, 31], [24, 26, 28, 30, 32]


def lift_landmarks(body_TP3: FloatArray, stature_T: FloatArray) -> FloatArray:
    """Rough metric landmarks where an estimator gives none: the trunk is turned, the rest stays flat.

    The shoulders' distance in the picture says how far the trunk is turned from the camera, the nose to which
    side. Limbs are as far away as the corner of the trunk they hang on, the head as the trunk's middle.

    Args:
        body_TP3: Landmarks in pixels with confidence, ``(T, 33, 3)``.
        stature_T: Apparent stature in pixels.

    Returns:
        Metres about the hips, camera axes, ``(T, 33, 3)``; NaN where a body is not known.
    """
    scale = STATURE / stature_T[:, None, None]
    flat = (body_TP3[..., :2] - body_TP3[:, 23:25, :2].mean(1, keepdims=True)) * scale
    across = flat[:, 11] - flat[:, 12]
    nose = flat[:, 0, 0] - flat[:, 11:13, 0].mean(1)
    width = np.abs(across[:, 0])
    depth = np.sqrt(np.clip(SHOULDERS**2 - width**2, 0.0, None))
    # Of somebody who looks to the picture's right the camera sees the right side: the left is farther away.
    left_away = 0.5 * np.sign(nose) * depth
    share = np.zeros(body_TP3.shape[1])
    share[_LEFT_ARM], share[_LEFT_LEG] = 1.0, HIPS / SHOULDERS
    share[_RIGHT_ARM], share[_RIGHT_LEG] = -1.0, -HIPS / SHOULDERS
    return np.concatenate([flat, (left_away[:, None] * share)[..., None]], 2)


def place_world_landmarks(
    pixels_TP2: FloatArray, confidence_TP: FloatArray, world_TP3: FloatArray, camera: CalibratedCamera
) -> tuple[FloatArray, np.ndarray]:
    """Shift each frame's metric landmarks so that they project onto their pixels.

    Args:
        pixels_TP2: Undistorted pixels, ``(T, 33, 2)``.
        confidence_TP: 0 to 1, ``(T, 33)``.
        world_TP3: Metres about the hips, camera axes, NaN where no person, ``(T, 33, 3)``.
        camera: Intrinsics and pose.

    Returns:
        World points ``(T, 33, 3)``, NaN where not placed, and whether each frame was placed ``(T,)``.
    """
    placed = np.full_like(world_TP3, np.nan)
    usable = np.isfinite(world_TP3).all((1, 2)) & ((confidence_TP > 0.1).sum(1) >= 6)
    inverse = np.linalg.inv(camera.K_33)
    to_world = np.linalg.inv(camera.w2c_44)
    for frame in np.flatnonzero(usable):
        rays = np.concatenate([pixels_TP2[frame], np.ones((world_TP3.shape[1], 1))], 1) @ inverse.T
        shift = _solve_shift(rays[:, :2], confidence_TP[frame], world_TP3[frame])
        if shift[2] < 0.3:
            usable[frame] = False
            continue
        placed[frame] = (world_TP3[frame] + shift) @ to_world[:3, :3].T + to_world[:3, 3]
    return placed, usable


def _solve_shift(rays_P2: FloatArray, confidence_P: FloatArray, points_P3: FloatArray) -> FloatArray:
    """Least-squares shift in camera axes: ``x + tx = u (z + tz)`` and the same for y."""
    rows, right = [], []
    for axis in (0, 1):
        row = np.zeros((len(rays_P2), 3))
        row[:, axis] = 1.0
        row[:, 2] = -rays_P2[:, axis]
        rows.append(row * confidence_P[:, None])
        right.append((rays_P2[:, axis] * points_P3[:, 2] - points_P3[:, axis]) * confidence_P)
    solution, *_ = np.linalg.lstsq(np.concatenate(rows), np.concatenate(right), rcond=None)
    return np.asarray(solution)


def hint_weights(confidence_TP: FloatArray, placed_T: np.ndarray) -> FloatArray:
    """How much each placed metric landmark is trusted: one that is not seen is a guess and hardly counts.

    Args:
        confidence_TP: Of the pixels, 0 outside the picture, ``(T, 33)``.
        placed_T: Whether the frame was placed, ``(T,)``.

    Returns:
        Weights, ``(T, 33)``.
    """
    return np.where(placed_T[:, None], np.maximum(confidence_TP, HIDDEN_WEIGHT), 0.0)


def choose_focal(
    body_TP3: FloatArray, world_TP3: FloatArray, width: int, height: int, most_frames: int = 60
) -> tuple[float, dict[str, float]]:
    """A focal length from how well placed metric landmarks meet their pixels; the diagonal unless clearly
    better.

    Args:
        body_TP3: Landmarks with confidence, ``(T, 33, 3)``.
        world_TP3: Metric landmarks, ``(T, 33, 3)``.
        width: Of the picture.
        height: Of the picture.
        most_frames: Frames looked at.

    Returns:
        Focal length in pixels and the median error in pixels by share of the diagonal.
    """
    diagonal = float(np.hypot(width, height))
    found = np.flatnonzero(np.isfinite(body_TP3).all((1, 2)))
    if len(found) == 0:
        return DEFAULT_SHARE * diagonal, {}
    frames = found[np.linspace(0, len(found) - 1, min(most_frames, len(found))).astype(int)]
    confidence = np.where(body_TP3[frames, :, 2] > 0.5, body_TP3[frames, :, 2], 0.0)
    errors = {}
    for share in FOCAL_SHARES:
        camera = pinhole_camera("trial", width, height, share * diagonal)
        points, placed = place_world_landmarks(body_TP3[frames, :, :2], confidence, world_TP3[frames], camera)
        if not placed.any():
            continue
        local = points[placed] @ camera.w2c_44[:3, :3].T
        image = local @ camera.K_33.T
        distance = np.linalg.norm(
            image[..., :2] / image[..., 2:] - body_TP3[frames][placed][..., :2], axis=-1
        )
        errors[share] = float(np.median(distance[confidence[placed] > 0]))
    best = min(errors, key=lambda share: errors[share], default=DEFAULT_SHARE)
    if errors.get(best, np.inf) > CLEARLY_BETTER * errors.get(DEFAULT_SHARE, np.inf):
        best = DEFAULT_SHARE
    return best * diagonal, {f"{share:g}": round(error, 2) for share, error in errors.items()}
