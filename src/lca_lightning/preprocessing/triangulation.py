"""Points in space from several calibrated views: weighted linear triangulation, hypotheses from pairs,
robust reweighting.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from lca_lightning.preprocessing.landmarks import FloatArray


@dataclass(frozen=True)
class Triangulation:
    """Triangulated points and how well the views agree on them.

    Attributes:
        points_N3: Metres, world frame; NaN where fewer than two views agree, ``(N, 3)``.
        residuals_CN: Reprojection distance in pixels, NaN where a view has no measurement, ``(C, N)``.
        inliers_CN: Views that take part in each point, ``(C, N)``.
    """

    points_N3: FloatArray
    residuals_CN: FloatArray
    inliers_CN: np.ndarray

    @property
    def median_residual(self) -> float:
        """Median over all measurements of all triangulated points, outliers included, pixels."""
        values = self.residuals_CN[np.isfinite(self.residuals_CN)]
        return float(np.median(values)) if len(values) else float("nan")


def linear_triangulation(
    pixels_CN2: FloatArray, weights_CN: FloatArray, projections_C34: FloatArray
) -> FloatArray:
    """Weighted direct linear transform (Hartley and Sturm 1997).

    Args:
        pixels_CN2: Undistorted pixels, ``(C, N, 2)``; ignored where the weight is 0.
        weights_CN: Weights, at least two positive per point, ``(C, N)``.
        projections_C34: World to homogeneous pixels, ``(C, 3, 4)``.

    Returns:
        Points in metres, ``(N, 3)``.
    """
    pixels = np.where(weights_CN[..., None] > 0, pixels_CN2, 0.0)
    # Rows in units of the focal length, so that pixels and metres weigh alike.
    scale = np.linalg.norm(projections_C34[:, 0, :3], axis=1)[:, None, None]
    rows_x = (pixels[..., :1] * projections_C34[:, None, 2] - projections_C34[:, None, 0]) / scale
    rows_y = (pixels[..., 1:] * projections_C34[:, None, 2] - projections_C34[:, None, 1]) / scale
    rows = np.concatenate([rows_x * weights_CN[..., None], rows_y * weights_CN[..., None]])
    system = np.einsum("rni,rnj->nij", rows, rows)
    _, vectors = np.linalg.eigh(system)
    solution = vectors[..., 0]
    denominator = np.where(np.abs(solution[:, 3:]) < 1e-12, 1e-12, solution[:, 3:])
    return solution[:, :3] / denominator


def reprojection_distance(
    points_N3: FloatArray, pixels_CN2: FloatArray, projections_C34: FloatArray
) -> FloatArray:
    """Distance in pixels between projected points and measurements, infinite behind a camera, ``(C, N)``."""
    homogeneous = np.concatenate([points_N3, np.ones_like(points_N3[:, :1])], 1)
    image = np.einsum("cij,nj->cni", projections_C34, homogeneous)
    depth = image[..., 2]
    pixels = image[..., :2] / np.where(np.abs(depth) < 1e-9, 1e-9, depth)[..., None]
    return np.where(depth > 0, np.linalg.norm(pixels - pixels_CN2, axis=-1), np.inf)


def triangulate(
    pixels_CN2: FloatArray,
    confidence_CN: FloatArray,
    projections_C34: FloatArray,
    gate: float = 40.0,
    iterations: int = 8,
) -> Triangulation:
    """Robust points from several views.

    Every pair of cameras proposes a point; the proposal with the smallest robust cost over all cameras is
    refined
    by reweighting with Geman-McClure weights; measurements beyond the gate take no part.

    Args:
        pixels_CN2: Undistorted pixels, NaN where not measured, ``(C, N, 2)``.
        confidence_CN: Confidence in [0, 1], 0 for no measurement, ``(C, N)``.
        projections_C34: World to homogeneous pixels, ``(C, 3, 4)``.
        gate: Largest reprojection distance of a measurement that takes part, pixels.
        iterations: Reweighting steps.

    Returns:
        Points, residuals and inliers.
    """
    measured = np.isfinite(pixels_CN2).all(-1) & (confidence_CN > 0)
    confidence = np.where(measured, confidence_CN, 0.0)
    count = pixels_CN2.shape[1]
    best_cost, points = np.full(count, np.inf), np.full((count, 3), np.nan)
    for first, second in combinations(range(len(projections_C34)), 2):
        usable = measured[first] & measured[second]
        if not usable.any():
            continue
        weights = np.zeros_like(confidence[:, usable])
        weights[[first, second]] = 1.0
        proposal = linear_triangulation(pixels_CN2[:, usable], weights, projections_C34)
        distance = reprojection_distance(proposal, pixels_CN2[:, usable], projections_C34)
        cost = _robust_cost(distance, confidence[:, usable], gate)
        better = cost < best_cost[usable]
        where = np.flatnonzero(usable)[better]
        best_cost[where], points[where] = cost[better], proposal[better]
    valid = np.isfinite(best_cost)
    for _ in range(iterations):
        if not valid.any():
            break
        distance = reprojection_distance(points[valid], pixels_CN2[:, valid], projections_C34)
        weights = confidence[:, valid] * _geman_mcclure(distance, gate)
        weights = _at_least_two(weights, confidence[:, valid], distance)
        points[valid] = linear_triangulation(pixels_CN2[:, valid], weights, projections_C34)
    residuals = np.full(measured.shape, np.nan)
    if valid.any():
        residuals[:, valid] = reprojection_distance(points[valid], pixels_CN2[:, valid], projections_C34)
    residuals = np.where(measured, residuals, np.nan)
    inliers = np.nan_to_num(residuals, nan=np.inf) < gate
    points[inliers.sum(0) < 2] = np.nan
    return Triangulation(points, np.where(np.isfinite(points[:, 0]), residuals, np.nan), inliers)


def _robust_cost(distance: FloatArray, confidence: FloatArray, gate: float) -> FloatArray:
    squared = np.nan_to_num(distance, nan=1e9, posinf=1e9) ** 2
    return (confidence * squared / (squared + gate**2)).sum(0)


def _geman_mcclure(distance: FloatArray, gate: float) -> FloatArray:
    scale = (0.5 * gate) ** 2
    finite = np.nan_to_num(distance, nan=1e9, posinf=1e9)
    return np.where(finite < gate, scale / (scale + finite**2), 0.0)


def _at_least_two(weights: FloatArray, confidence: FloatArray, distance: FloatArray) -> FloatArray:
    """Points with fewer than two views inside the gate keep their two nearest views, so the system stays
    solvable.
    """
    lonely = (weights > 0).sum(0) < 2
    if not lonely.any():
        return weights
    order = np.argsort(np.where(confidence > 0, np.nan_to_num(distance, nan=1e9, posinf=1e9), 1e12), axis=0)
    for rank in range(2):
        weights[order[rank, lonely], np.flatnonzero(lonely)] = 1.0
    return weights
