"""Lens models of OpenCV: points and pictures with and without distortion."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lca_lightning.calibration.camera import CalibratedCamera, FloatArray


def distort_points(normalised_P2: FloatArray, distortion_8: FloatArray, fisheye: bool = False) -> FloatArray:
    """Apply OpenCV's lens model to points on the plane z = 1.

    Args:
        normalised_P2: Undistorted points, ``(..., 2)``.
        distortion_8: As in `CalibratedCamera`; fewer coefficients count as zeros.
        fisheye: Whether the fisheye model holds (Kannala and Brandt 2006) or the rational one.

    Returns:
        Distorted points, ``(..., 2)``.
    """
    coefficients = np.zeros(8)
    coefficients[: len(distortion_8)] = distortion_8
    if fisheye:
        radius = np.linalg.norm(normalised_P2, axis=-1, keepdims=True)
        bent = _fisheye_radius(np.arctan(radius), coefficients)
        return normalised_P2 * np.where(radius > 1e-9, bent / np.maximum(radius, 1e-9), 1.0)
    k1, k2, p1, p2, k3, k4, k5, k6 = coefficients
    x, y = normalised_P2[..., 0], normalised_P2[..., 1]
    r2 = x * x + y * y
    radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    return np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        ],
        -1,
    )


def _fisheye_radius(angle: FloatArray, coefficients_8: FloatArray) -> FloatArray:
    k1, k2, k3, k4 = coefficients_8[:4]
    squared = angle * angle
    return angle * (1 + squared * (k1 + squared * (k2 + squared * (k3 + squared * k4))))


def project_distorted(camera: CalibratedCamera, points_P3: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Where points of the world appear in the camera's own, distorted picture.

    Args:
        camera: Intrinsics, lens and pose.
        points_P3: World points, metres, ``(..., 3)``.

    Returns:
        Pixels ``(..., 2)`` with centres at +0.5, and depths in metres ``(...)``; pixels of points behind the
        camera mean nothing.
    """
    seen = points_P3 @ camera.w2c_44[:3, :3].T + camera.w2c_44[:3, 3]
    normalised = seen[..., :2] / seen[..., 2:]
    bent = distort_points(normalised, camera.distortion_8, camera.fisheye)
    return _to_pixels(bent, camera.K_33), seen[..., 2]


def _to_pixels(normalised_P2: FloatArray, K_33: FloatArray) -> FloatArray:
    return (np.concatenate([normalised_P2, np.ones_like(normalised_P2[..., :1])], -1) @ K_33.T)[..., :2]


def undistort_pixels(pixels_P2: FloatArray, camera: CalibratedCamera, iterations: int = 30) -> FloatArray:
    """Where pixels would lie in a picture of the same camera without lens distortion.

    Args:
        pixels_P2: Measured pixels, ``(..., 2)``; NaN stays NaN.
        camera: Intrinsics and distortion.
        iterations: Fixed-point steps (fisheye: Newton steps).

    Returns:
        Undistorted pixels under the same ``K_33``, ``(..., 2)``.
    """
    if not camera.distorted:
        return np.array(pixels_P2, np.float64)
    inverse = np.linalg.inv(camera.K_33)
    homogeneous = np.concatenate([pixels_P2, np.ones_like(pixels_P2[..., :1])], -1) @ inverse.T
    measured = homogeneous[..., :2]
    if camera.fisheye:
        return _to_pixels(_straighten_fisheye(measured, camera.distortion_8, iterations), camera.K_33)
    # Far outside the picture the polynomial may fold over: such points keep their measured place.
    limit = 1.5 * np.linalg.norm(
        inverse @ np.array([camera.width, camera.height, 1.0]) - inverse @ np.array([0, 0, 1.0])
    )
    ideal = measured.copy()
    for _ in range(iterations):
        ideal = ideal + (measured - distort_points(ideal, camera.distortion_8))
    wild = ~(np.linalg.norm(ideal, axis=-1, keepdims=True) < limit)
    ideal = np.where(wild, measured, ideal)
    return _to_pixels(ideal, camera.K_33)


def _straighten_fisheye(measured_P2: FloatArray, coefficients_8: FloatArray, iterations: int) -> FloatArray:
    """Newton's method on the angle from the axis, which stays below 89 degrees."""
    radius = np.linalg.norm(measured_P2, axis=-1, keepdims=True)
    limit = np.radians(89.0)
    angle = np.minimum(radius, limit)
    powers = np.array([1.0, 3.0, 5.0, 7.0, 9.0])
    factors = np.array([1.0, *coefficients_8[:4]])
    for _ in range(iterations):
        slope = (factors * powers * angle[..., None] ** (powers - 1)).sum(-1)
        step = (_fisheye_radius(angle, coefficients_8) - radius) / np.maximum(slope, 1e-3)
        angle = np.clip(angle - step, 0.0, limit)
    return measured_P2 * np.where(radius > 1e-9, np.tan(angle) / np.maximum(radius, 1e-9), 1.0)


def undistortion_maps(camera: CalibratedCamera) -> tuple[FloatArray, FloatArray] | None:
    """Look-up maps for ``cv2.remap`` that remove the lens distortion under the same ``K_33``; None without
    distortion.
    """
    if not camera.distorted:
        return None
    x, y = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    ideal = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(camera.K_33).T
    bent = distort_points(ideal[..., :2], camera.distortion_8, camera.fisheye)
    pixels = _to_pixels(bent, camera.K_33)
    return (pixels[..., 0] - 0.5).astype(np.float32), (pixels[..., 1] - 0.5).astype(np.float32)


def undistort_image(
    image: NDArray[np.generic],
    camera: CalibratedCamera,
    maps: tuple[FloatArray, FloatArray] | None = None,
) -> NDArray[np.generic]:
    """A picture or mask as the same camera would see it without lens distortion.

    Args:
        image: ``(H, W)`` or ``(H, W, 3)``, uint8, uint16 or float32; what lies outside becomes 0.
        camera: Its camera, of the same size.
        maps: What `undistortion_maps` returned for the camera, where many pictures share it.

    Returns:
        The same shape and type.

    Raises:
        MissingAssetError: OpenCV is not installed.
    """
    maps = undistortion_maps(camera) if maps is None else maps
    if maps is None:
        return image
    from lca_lightning.calibration.opencv import cv2

    straight = cv2.remap(np.ascontiguousarray(image), maps[0], maps[1], cv2.INTER_LINEAR)
    return np.asarray(straight, image.dtype)
