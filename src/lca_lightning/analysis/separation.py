"""How far clouds of points separate by their labels, and their projection to a plane.

All distances are Euclidean. Each score has a value that is known beforehand for clouds of the same
distribution and for clouds far apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lca_lightning.errors import DataError

FEWEST = 3  # points of a domain
PERMUTATIONS = 1000
Points = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Plane:
    """A cloud seen along its two widest directions.

    Args:
        points_N2: Coordinates.
        explained: Parts of the variance along the first and the second direction.
        center_D: Mean of the cloud.
        axes_2D: The directions, of unit length.
    """

    points_N2: Points
    explained: tuple[float, float]
    center_D: Points
    axes_2D: Points


@dataclass(frozen=True)
class Separation:
    """How far domains separate.

    Args:
        silhouette: -1 to 1; about 0 for one distribution, 1 for clouds far apart.
        silhouette_chance: How often shuffled labels give at least this silhouette; small is significant.
        centroid_accuracy: Leave-one-out accuracy of the nearest domain mean, each domain counting the same;
            1 over the number of domains (or somewhat less) is chance.
        linear_accuracy: The same of a linear classifier (ridge regression).
        distance_ratio: Distance between domain means over the spread within domains, corrected for the
            number of points: 0 for one distribution. Mean over pairs of domains.
        frechet_2d: Frechet distance between normal distributions fitted in the plane, over the variance of
            the whole cloud there: 0 for equal distributions. Mean over pairs of domains.
    """

    silhouette: float
    silhouette_chance: float
    centroid_accuracy: float
    linear_accuracy: float
    distance_ratio: float
    frechet_2d: float

    def __str__(self) -> str:
        return (
            f"silhouette {self.silhouette:.2f} (chance {self.silhouette_chance:.3f}), nearest mean "
            f"{self.centroid_accuracy:.0%}, linear {self.linear_accuracy:.0%}, distance ratio "
            f"{self.distance_ratio:.2f}, Frechet in the plane {self.frechet_2d:.2f}"
        )


def project_to_plane(points_ND: Points) -> Plane:
    """Principal component analysis to two dimensions by singular values.

    Args:
        points_ND: At least two points of at least two dimensions.

    Returns:
        The plane; the sign of each axis is such that its largest entry is positive.
    """
    center_D = points_ND.mean(0)
    _, values, axes = np.linalg.svd(points_ND - center_D, full_matrices=False)
    axes_2D = axes[:2] * np.sign(axes[[0, 1], np.abs(axes[:2]).argmax(1)])[:, None]
    parts = values**2 / max(float((values**2).sum()), 1e-300)
    return Plane((points_ND - center_D) @ axes_2D.T, (float(parts[0]), float(parts[1])), center_D, axes_2D)


def separation(points_ND: Points, labels_N: Labels, seed: int = 0) -> Separation:
    """Measure how far domains separate.

    Args:
        points_ND: One point per subject.
        labels_N: Its domain, numbers from 0.
        seed: Of the shuffled labels.

    Returns:
        The scores.

    Raises:
        DataError: There is one domain, or one has fewer than three points.
    """
    points_ND = np.asarray(points_ND, np.float64)
    counts = np.bincount(labels_N)
    if len(counts) < 2 or counts.min() < FEWEST:
        raise DataError(
            f"Separation needs two domains or more with at least {FEWEST} subjects each, got "
            f"{', '.join(str(count) for count in counts)}; add subjects."
        )
    distances_NN = pairwise_distances(points_ND)
    value = silhouette(distances_NN, labels_N)
    plane_N2 = project_to_plane(points_ND).points_N2
    return Separation(
        value,
        _chance(distances_NN, labels_N, value, seed),
        centroid_accuracy(points_ND, labels_N),
        linear_accuracy(points_ND, labels_N),
        _mean_over_pairs(distance_ratio, points_ND, labels_N),
        _mean_over_pairs(frechet_distance, plane_N2, labels_N) / max(float(plane_N2.var(0).sum()), 1e-300),
    )


def pairwise_distances(points_ND: Points) -> Points:
    """Euclidean distances ``(N, N)``, exactly zero on the diagonal."""
    return np.sqrt(((points_ND[:, None] - points_ND[None]) ** 2).sum(-1))


def silhouette(distances_NN: Points, labels_N: Labels) -> float:
    """Mean silhouette coefficient (Rousseeuw 1987); a point alone in its domain counts 0.

    Args:
        distances_NN: Between all points.
        labels_N: Domains, numbers from 0.

    Returns:
        Mean of ``(b - a) / max(a, b)``: a is the mean distance to the own domain, b to the nearest other.
    """
    member_NK = np.eye(int(labels_N.max()) + 1)[labels_N]
    counts_K = member_NK.sum(0)
    sums_NK = distances_NN @ member_NK
    own_N = np.take_along_axis(sums_NK, labels_N[:, None], 1)[:, 0]
    inner_N = own_N / np.maximum(counts_K[labels_N] - 1, 1)
    means_NK = np.where(member_NK > 0, np.inf, sums_NK / counts_K)
    outer_N = means_NK.min(1)
    values_N = (outer_N - inner_N) / np.maximum(np.maximum(inner_N, outer_N), 1e-300)
    return float(np.where(counts_K[labels_N] > 1, values_N, 0.0).mean())


def centroid_accuracy(points_ND: Points, labels_N: Labels) -> float:
    """Leave-one-out accuracy of the nearest domain mean, averaged over domains."""
    guesses = []
    for left_out in range(len(points_ND)):
        rest = np.arange(len(points_ND)) != left_out
        means_KD = [points_ND[rest & (labels_N == label)].mean(0) for label in range(labels_N.max() + 1)]
        guesses.append(int(np.linalg.norm(means_KD - points_ND[left_out], axis=1).argmin()))
    return balanced_accuracy(np.array(guesses), labels_N)


def linear_accuracy(points_ND: Points, labels_N: Labels, strength: float = 0.1) -> float:
    """Leave-one-out accuracy of ridge regression on domain indicators, averaged over domains.

    Points are weighted so that domains count the same, which also puts the threshold in the middle.

    Args:
        points_ND: Points.
        labels_N: Domains, numbers from 0.
        strength: Of the regularisation, as part of the mean squared distance from the mean.
    """
    guesses = []
    for left_out in range(len(points_ND)):
        rest = np.arange(len(points_ND)) != left_out
        labels, kept_ND = labels_N[rest], points_ND[rest]
        weights = 1.0 / np.bincount(labels)[labels]
        weights /= weights.sum()
        center_D = weights @ kept_ND
        scaled_ND = np.sqrt(weights)[:, None] * (kept_ND - center_D)
        targets_NK = np.eye(int(labels_N.max()) + 1)[labels]
        mean_K = weights @ targets_NK
        gram_NN = scaled_ND @ scaled_ND.T  # fewer subjects than dimensions: solve among subjects
        ridge_NN = gram_NN + strength * max(np.trace(gram_NN), 1e-300) * np.eye(len(gram_NN))
        dual_NK = np.linalg.solve(ridge_NN, np.sqrt(weights)[:, None] * (targets_NK - mean_K))
        guesses.append(int((mean_K + (points_ND[left_out] - center_D) @ scaled_ND.T @ dual_NK).argmax()))
    return balanced_accuracy(np.array(guesses), labels_N)


def balanced_accuracy(guesses_N: Labels, labels_N: Labels) -> float:
    """Mean over domains of the part that is guessed right."""
    right_N = guesses_N == labels_N
    return float(np.mean([right_N[labels_N == label].mean() for label in range(labels_N.max() + 1)]))


def distance_ratio(first_ND: Points, second_ND: Points) -> float:
    """Distance between two means over the spread within, without what chance adds to the distance.

    The squared distance of two sample means exceeds that of the true means by the sum of their variances over
    the counts; that is taken away, and what falls below zero counts as zero.
    """
    variances = [float(points.var(0, ddof=1).sum()) for points in (first_ND, second_ND)]
    squared = float(((first_ND.mean(0) - second_ND.mean(0)) ** 2).sum())
    squared -= variances[0] / len(first_ND) + variances[1] / len(second_ND)
    return float(np.sqrt(max(squared, 0.0) / max(sum(variances) / 2, 1e-300)))


def frechet_distance(first_ND: Points, second_ND: Points) -> float:
    """Squared Frechet distance of the normal distributions fitted to two clouds (Dowson and Landau 1982)."""
    covariances = [np.cov(points, rowvar=False) for points in (first_ND, second_ND)]
    values, vectors = np.linalg.eigh(covariances[0])
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ covariances[1] @ root), 0)).sum()
    between = float(((first_ND.mean(0) - second_ND.mean(0)) ** 2).sum())
    return max(between + float(np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * cross), 0.0)


def _mean_over_pairs(measure: object, points_ND: Points, labels_N: Labels) -> float:
    clouds = [points_ND[labels_N == label] for label in range(labels_N.max() + 1)]
    pairs = [(a, b) for place, a in enumerate(clouds) for b in clouds[place + 1 :]]
    return float(np.mean([measure(*pair) for pair in pairs]))  # type: ignore[operator]


def _chance(distances_NN: Points, labels_N: Labels, value: float, seed: int) -> float:
    """Part of shuffled labellings, this one among them, with at least this silhouette."""
    generator = np.random.default_rng(seed)
    shuffled = [silhouette(distances_NN, generator.permutation(labels_N)) for _ in range(PERMUTATIONS)]
    return float((1 + sum(other >= value - 1e-12 for other in shuffled)) / (1 + PERMUTATIONS))
