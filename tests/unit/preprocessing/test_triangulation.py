"""Robust triangulation on exact, noisy and corrupted views."""

from __future__ import annotations

import numpy as np

from lca_lightning.preprocessing.triangulation import linear_triangulation, reprojection_distance, triangulate
from tests.unit.preprocessing.views import project_all, ring_of_cameras


def setup(count: int = 40, cameras: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    points = np.random.default_rng(0).normal(scale=0.5, size=(count, 3)) + [0, 1, 0]
    projections = np.stack([camera.projection_34 for camera in ring_of_cameras(cameras)])
    return points, project_all(points, projections), projections


def test_exact_views_give_exact_points() -> None:
    points, pixels, projections = setup()
    found = linear_triangulation(pixels, np.ones(pixels.shape[:2]), projections)
    assert np.abs(found - points).max() < 1e-9
    robust = triangulate(pixels, np.ones(pixels.shape[:2]), projections)
    assert np.abs(robust.points_N3 - points).max() < 1e-8 and robust.median_residual < 1e-6


def test_one_wrong_view_is_left_out() -> None:
    points, pixels, projections = setup()
    pixels[2] += 150.0
    result = triangulate(pixels, np.ones(pixels.shape[:2]), projections, gate=30.0)
    assert np.abs(result.points_N3 - points).max() < 1e-6
    assert not result.inliers_CN[2].any() and result.inliers_CN[[0, 1, 3]].all()
    plain = linear_triangulation(pixels, np.ones(pixels.shape[:2]), projections)
    assert np.abs(plain - points).max() > 0.05


def test_missing_views_and_confidence_are_respected() -> None:
    points, pixels, projections = setup()
    confidence = np.ones(pixels.shape[:2])
    pixels[0, :5] = np.nan
    confidence[1, 5:8] = 0.0
    pixels[1, 5:8] = 0.0
    confidence[1:, 9] = 0.0
    result = triangulate(pixels, confidence, projections)
    assert np.isnan(result.points_N3[9]).all()
    others = np.arange(len(points)) != 9
    assert np.abs(result.points_N3[others] - points[others]).max() < 1e-6
    assert np.isnan(result.residuals_CN[0, :5]).all() and np.isnan(result.residuals_CN[1, 5:8]).all()


def test_residuals_are_reprojection_distances_and_noise_shrinks_with_views() -> None:
    points, pixels, projections = setup(200, 6)
    noisy = pixels + np.random.default_rng(1).normal(scale=2.0, size=pixels.shape)
    confidence = np.ones(pixels.shape[:2])
    many = triangulate(noisy, confidence, projections)
    few = triangulate(noisy[:2], confidence[:2], projections[:2])
    error_many = np.linalg.norm(many.points_N3 - points, axis=1).mean()
    assert error_many < np.linalg.norm(few.points_N3 - points, axis=1).mean()
    again = reprojection_distance(many.points_N3, noisy, projections)
    assert np.allclose(many.residuals_CN, again) and 1.0 < many.median_residual < 3.0
