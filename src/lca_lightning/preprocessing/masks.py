"""Person masks made usable: one piece, no leaks far from the skeleton or the fitted rig."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lca_lightning.calibration.opencv import cv2
from lca_lightning.preprocessing.landmarks import SKELETON_EDGES, FloatArray

Mask = NDArray[np.uint8]


def largest_component(mask_HW: Mask, keep_share: float = 0.08) -> Mask:
    """Keep the biggest piece and pieces at least ``keep_share`` as large (limbs cut off by an occluder).

    Args:
        mask_HW: Probability 0..255, ``(H, W)``.
        keep_share: Smallest piece kept, as a share of the biggest.

    Returns:
        The mask with other pieces set to 0.
    """
    binary = (mask_HW > 127).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(binary, connectivity=8)
    if count <= 2:
        return mask_HW
    areas = stats[1:, cv2.CC_STAT_AREA]
    kept = 1 + np.flatnonzero(areas >= keep_share * areas.max())
    # The soft rim outside of the 50% level belongs to the pieces that stay.
    near = cv2.dilate(np.isin(labels, kept).astype(np.uint8), np.ones((9, 9), np.uint8))
    return np.where(near > 0, mask_HW, 0).astype(np.uint8)


def skeleton_region(body_P3: FloatArray, height: int, width: int, radius: float) -> Mask:
    """Everything within ``radius`` pixels of the detected skeleton, trunk filled, ``(H, W)`` of 0 or 1."""
    region = np.zeros((height, width), np.uint8)
    points = np.round(body_P3[:, :2]).astype(int)
    thickness = max(int(2 * radius), 1)
    for first, second in SKELETON_EDGES:
        cv2.line(region, _point(points[first]), _point(points[second]), (1.0,), thickness)
    trunk = points[[11, 12, 24, 23]]
    cv2.fillConvexPoly(region, cv2.convexHull(trunk.astype(np.int32)), (1.0,))
    for tip in (0, 7, 8, 15, 16, 19, 20, 31, 32):
        cv2.circle(region, _point(points[tip]), int(radius), (1.0,), -1)
    head = points[:11].mean(0)
    cv2.circle(region, _point(np.round(head).astype(int)), int(1.5 * radius), (1.0,), -1)
    return region


def _point(point: NDArray[np.int_]) -> tuple[int, int]:
    return int(np.clip(point[0], -20000, 20000)), int(np.clip(point[1], -20000, 20000))


def clean_mask(mask_HW: Mask, body_P3: FloatArray, person_size: float, reach: float = 0.13) -> Mask:
    """Remove leaks of a segmentation: what lies far from the skeleton, then stray pieces.

    Args:
        mask_HW: Probability 0..255, ``(H, W)``.
        body_P3: Body landmarks in pixels, ``(33, 3)``.
        person_size: Stature in pixels.
        reach: Distance from the skeleton that may still be the person, as a share of the stature; wide
            enough for loose clothes.

    Returns:
        The cleaned probability, same shape.
    """
    region = skeleton_region(body_P3, mask_HW.shape[0], mask_HW.shape[1], reach * person_size)
    return largest_component(np.where(region > 0, mask_HW, 0).astype(np.uint8))


def restrict_to_silhouette(mask_HW: Mask, silhouette_HW: NDArray[np.bool_], margin: float) -> Mask:
    """Remove what lies more than ``margin`` pixels outside the fitted rig, if the rig explains most of the
    mask.
    """
    size = 2 * int(margin) + 1
    near = cv2.dilate(
        silhouette_HW.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    )
    inside = np.where(near > 0, mask_HW, 0).astype(np.uint8)
    total = int((mask_HW > 127).sum())
    if total == 0 or (inside > 127).sum() < 0.5 * total:
        return mask_HW
    return largest_component(inside)


def mask_box(mask_HW: Mask) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom of the mask above one half; right and bottom exclusive; None when empty."""
    rows, columns = np.flatnonzero((mask_HW > 127).any(1)), np.flatnonzero((mask_HW > 127).any(0))
    if len(rows) == 0:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def intersection_over_union(first_HW: NDArray[np.bool_], second_HW: NDArray[np.bool_]) -> float:
    """Overlap of two binary masks; 0 when both are empty."""
    union = np.logical_or(first_HW, second_HW).sum()
    return float(np.logical_and(first_HW, second_HW).sum() / union) if union else 0.0
