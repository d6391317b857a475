"""Where the face is in each picture: from landmarks when there are any, else from the fitted rig."""

from __future__ import annotations

import numpy as np
import torch

from lca_lightning.preprocessing.landmarks import FloatArray
from lca_lightning.preprocessing.rig_fitting import RigFit
from lca_lightning.rig.rig import REGIONS, Rig

# A face is in view while the nose points less than this away from the camera.
MOST_DEGREES_AWAY = 75.0


def landmark_face_boxes(face_TP3: FloatArray) -> FloatArray:
    """Tight square boxes ``(T, 4)`` around face landmarks ``(T, 478, 3)``; NaN without a face.

    Left, top, right, bottom. The margin of a close-up is added where it is cut (``datasets/crops.py``).
    """
    return _square_boxes(face_TP3[:, :468, :2])


def _square_boxes(points_TN2: FloatArray) -> FloatArray:
    # Some estimators know a few points of the mesh only.
    known = np.isfinite(points_TN2)
    low = np.where(known, points_TN2, np.inf).min(1)
    high = np.where(known, points_TN2, -np.inf).max(1)
    low[~known.any(1)] = high[~known.any(1)] = np.nan
    center, half = (low + high) / 2, 0.5 * (high - low).max(1, keepdims=True)
    return np.concatenate([center - half, center + half], 1)


def rig_face_boxes(rig: Rig, fit: RigFit, w2c_44: FloatArray, K_33: FloatArray) -> FloatArray:
    """Square boxes around the fitted rig's face where it looks towards the camera; NaN elsewhere, ``(T, 4)``.

    Args:
        rig: The body.
        fit: Its poses.
        w2c_44: World to camera.
        K_33: Intrinsics of the undistorted picture.
    """
    index = torch.nonzero(rig.regions_V == REGIONS.index("face")).flatten()[::7]
    with torch.no_grad():
        identity = fit.identity_I[None]
        transforms = rig.joint_transforms(identity, fit.pose)
        head = transforms[:, rig.joint_names.index("head")]
        rest = rig.canonical_vertices(identity)[0, index]
        points = (rest @ head[:, :3, :3].transpose(1, 2) + head[:, None, :3, 3]).double().numpy()
        forward = head[:, :3, 2].double().numpy()
    local = points @ w2c_44[:3, :3].T + w2c_44[:3, 3]
    center = local.mean(1)
    away = np.degrees(np.arccos(np.clip((forward @ w2c_44[:3, :3].T * -_unit(center)).sum(1), -1, 1)))
    image = local @ K_33.T
    boxes = _square_boxes(image[..., :2] / np.maximum(image[..., 2:], 1e-6))
    boxes[(away > MOST_DEGREES_AWAY) | (local[..., 2].min(1) < 0.05)] = np.nan
    return boxes


def _unit(vectors: FloatArray) -> FloatArray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def face_boxes_in_crop(
    landmark_T4: FloatArray,
    rig_T4: FloatArray,
    left: float,
    top: float,
    scale: float,
    width: int,
    height: int,
) -> FloatArray:
    """Boxes in the pixels of a written picture; NaN where less than 60% of the face is inside it.

    Args:
        landmark_T4: Boxes from landmarks, source pixels.
        rig_T4: Boxes from the rig, source pixels; used where the others are NaN.
        left: Source pixels cut away.
        top: Source pixels cut away.
        scale: Written pixels per source pixel.
        width: Of the written picture.
        height: Of the written picture.
    """
    boxes = np.where(np.isfinite(landmark_T4), landmark_T4, rig_T4)
    boxes = (boxes - np.array([left, top, left, top])) * scale
    inside_x = np.clip(boxes[:, 2], 0, width) - np.clip(boxes[:, 0], 0, width)
    inside_y = np.clip(boxes[:, 3], 0, height) - np.clip(boxes[:, 1], 0, height)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    with np.errstate(invalid="ignore"):
        boxes[~(inside_x * inside_y > 0.6 * area)] = np.nan
    return boxes.astype(np.float32)
