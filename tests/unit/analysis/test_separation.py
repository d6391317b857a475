"""Scores of clouds whose answers are known, and against slow formulas written from their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist

from lca_lightning.analysis.separation import (
    balanced_accuracy,
    centroid_accuracy,
    distance_ratio,
    frechet_distance,
    linear_accuracy,
    pairwise_distances,
    project_to_plane,
    separation,
    silhouette,
)
from lca_lightning.errors import DataError


def clouds(apart: float, counts: tuple[int, ...] = (45, 30), width: int = 16, seed: int = 0) -> tuple:
    """Normal clouds of unit deviation, each so far from the one before along the first axis."""
    generator = np.random.default_rng(seed)
    points = generator.standard_normal((sum(counts), width))
    labels = np.repeat(np.arange(len(counts)), counts)
    points[:, 0] += apart * labels
    return points, labels


def slow_silhouette(points: np.ndarray, labels: np.ndarray) -> float:
    """The definition, point by point."""
    values = []
    for index, point in enumerate(points):
        same = [
            np.linalg.norm(point - points[j]) for j in np.flatnonzero(labels == labels[index]) if j != index
        ]
        others = [
            np.mean([np.linalg.norm(point - other) for other in points[labels == label]])
            for label in set(labels.tolist()) - {labels[index]}
        ]
        if not same:
            values.append(0.0)
            continue
        a, b = np.mean(same), min(others)
        values.append((b - a) / max(a, b))
    return float(np.mean(values))


@pytest.mark.parametrize("counts", [(7, 5), (4, 1, 6)])
def test_silhouette_is_its_definition(counts: tuple[int, ...]) -> None:
    points, labels = clouds(1.5, counts, 3)
    distances = pairwise_distances(points)
    np.testing.assert_allclose(distances, cdist(points, points), atol=1e-12)
    assert silhouette(distances, labels) == pytest.approx(slow_silhouette(points, labels))


def test_silhouette_by_hand() -> None:
    points = np.array([[0.0], [1.0], [4.0], [6.0]])
    labels = np.array([0, 0, 1, 1])
    # a = 1, 1, 2, 2; b = 5, 4, 3.5, 5.5
    expected = np.mean([4 / 5, 3 / 4, 1.5 / 3.5, 3.5 / 5.5])
    assert silhouette(pairwise_distances(points), labels) == pytest.approx(expected)


def test_one_distribution_does_not_separate() -> None:
    scores = separation(*clouds(0.0))
    assert abs(scores.silhouette) < 0.02 and scores.silhouette_chance > 0.05
    assert 0.3 < scores.centroid_accuracy < 0.65 and 0.3 < scores.linear_accuracy < 0.65
    assert scores.distance_ratio < 0.25 and scores.frechet_2d < 0.15


def test_clouds_far_apart_separate() -> None:
    scores = separation(*clouds(500.0))
    assert scores.silhouette > 0.98 and scores.silhouette_chance < 0.002
    assert scores.centroid_accuracy == scores.linear_accuracy == 1.0
    assert scores.distance_ratio > 100 and scores.frechet_2d > 3.5  # means apart over variance of both: 4.2


def test_clouds_between() -> None:
    near, far = separation(*clouds(1.0)), separation(*clouds(4.0))
    for name in ("silhouette", "centroid_accuracy", "linear_accuracy", "distance_ratio", "frechet_2d"):
        assert getattr(near, name) < getattr(far, name), name
    assert far.silhouette_chance < 0.002 and "silhouette 0." in str(far)


def test_accuracy_is_that_of_leaving_one_out() -> None:
    """A point is nearest to a mean it is part of; without it these two sets do not separate."""
    points = np.array([[0.0], [2.0], [2.0], [0.0], [0.0], [2.0]])
    labels = np.array([0, 0, 0, 1, 1, 1])
    # leaving 0 out, its own mean is 2 and the other 2/3: wrong; leaving a 2 out, 1 against 2/3: right
    assert centroid_accuracy(points, labels) == pytest.approx(4 / 6)
    assert balanced_accuracy(np.array([0, 0, 0, 0]), np.array([0, 0, 0, 1])) == pytest.approx(0.5)


def test_a_linear_classifier_sees_what_means_do_not() -> None:
    """Wide along one axis, parted along another: means are near, yet a line parts the domains."""
    generator = np.random.default_rng(1)
    points = np.stack([generator.standard_normal(40) * 3, np.repeat([0.0, 1.0], 20)], 1)
    points[:, 1] += 0.05 * generator.standard_normal(40)
    labels = np.repeat([0, 1], 20)
    assert linear_accuracy(points, labels, strength=1e-3) > 0.97 > centroid_accuracy(points, labels)


def test_linear_accuracy_is_that_of_weighted_ridge_regression() -> None:
    """Against the solution of the normal equations in the space of the points."""
    points, labels = clouds(1.2, (9, 5), 3, seed=4)
    guesses = []
    for left_out in range(len(points)):
        rest = np.arange(len(points)) != left_out
        x, y = points[rest], 2.0 * labels[rest] - 1
        weight = np.diag([0.5 / np.sum(labels[rest] == label) for label in labels[rest]])
        center, middle = np.diag(weight) @ x, np.diag(weight) @ y
        moved = x - center
        covariance = moved.T @ weight @ moved
        slope = np.linalg.solve(
            covariance + 0.1 * np.trace(covariance) * np.eye(3), moved.T @ weight @ (y - middle)
        )
        guesses.append(int(middle + (points[left_out] - center) @ slope > 0))
    assert linear_accuracy(points, labels) == pytest.approx(balanced_accuracy(np.array(guesses), labels))
    assert 0.5 < linear_accuracy(points, labels) < 1


def test_distance_ratio_is_unbiased() -> None:
    """Means 3 apart, unit deviation in 16 dimensions: 3 / 4, whatever the number of points."""
    ratios = [
        distance_ratio(points[labels == 0], points[labels == 1]) ** 2
        for seed in range(200)
        for points, labels in [clouds(3.0, (8, 5), seed=seed)]
    ]
    assert np.mean(ratios) == pytest.approx(9 / 16, rel=0.1)
    nothing = [
        distance_ratio(points[labels == 0], points[labels == 1])
        for seed in range(50)
        for points, labels in [clouds(0.0, (8, 5), seed=seed)]
    ]
    assert np.median(nothing) < 0.2


def test_frechet_distance() -> None:
    generator = np.random.default_rng(0)
    first = generator.standard_normal((30, 2)) @ np.array([[2.0, 0.5], [0.0, 0.3]])
    second = generator.standard_normal((20, 2)) + 1
    a, b = np.cov(first.T), np.cov(second.T)
    means = np.sum((first.mean(0) - second.mean(0)) ** 2)
    expected = means + np.trace(a + b - 2 * np.real(sqrtm(a @ b)))
    assert frechet_distance(first, second) == pytest.approx(expected)
    assert frechet_distance(second, first) == pytest.approx(expected)
    assert frechet_distance(first, first + [3.0, 4.0]) == pytest.approx(25.0)  # closed form of a shift
    assert frechet_distance(first, first) == pytest.approx(0.0, abs=1e-12)


def test_plane_is_that_of_the_widest_directions() -> None:
    generator = np.random.default_rng(2)
    flat = generator.standard_normal((50, 2)) * [5.0, 2.0]
    turn, _ = np.linalg.qr(generator.standard_normal((6, 6)))
    points = np.pad(flat, ((0, 0), (0, 4))) @ turn + 7.0
    plane = project_to_plane(points)
    assert sum(plane.explained) == pytest.approx(1.0) and plane.explained[0] > plane.explained[1]
    np.testing.assert_allclose(pairwise_distances(plane.points_N2), pairwise_distances(flat), atol=1e-9)
    np.testing.assert_allclose(plane.points_N2 @ plane.axes_2D + plane.center_D, points, atol=1e-9)
    np.testing.assert_allclose(plane.points_N2.var(0) / flat.var(0).sum(), plane.explained, atol=1e-9)
    again = project_to_plane(-points)  # the sign of an axis does not depend on chance
    np.testing.assert_allclose(again.axes_2D, plane.axes_2D, atol=1e-9)
    np.testing.assert_allclose(plane.center_D, points.mean(0))


def test_too_few() -> None:
    points, labels = clouds(1.0, (5, 2))
    with pytest.raises(DataError, match="at least 3 subjects each, got 5, 2"):
        separation(points, labels)
    with pytest.raises(DataError, match="two domains"):
        separation(points[:5], labels[:5])
