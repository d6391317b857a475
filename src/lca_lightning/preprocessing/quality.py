"""How good a fitted clip is, frame by frame, and whether it may be used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lca_lightning.calibration.lens import undistortion_maps
from lca_lightning.calibration.opencv import cv2
from lca_lightning.preprocessing.fitted_clip import PreparedClip
from lca_lightning.preprocessing.landmarks import FloatArray
from lca_lightning.preprocessing.masks import intersection_over_union
from lca_lightning.preprocessing.rig_fitting import RigFit, reprojection_errors
from lca_lightning.rendering.mesh import mesh_silhouette
from lca_lightning.rig.rig import Rig

# Errors are shares of the person's stature in pixels.
WORST_FRAME_ERROR, WORST_CLIP_ERROR = 0.045, 0.03
WORST_FRAME_OVERLAP, WORST_CLIP_OVERLAP = 0.4, 0.5
FEWEST_FRAMES = 8


@dataclass(frozen=True)
class ClipQuality:
    """Quality of a clip.

    Attributes:
        error_CT: Median distance between rig and detections in pixels, NaN where not seen, ``(C, T)``.
        overlap_CT: Intersection over union of rig and mask, NaN where not seen, ``(C, T)``.
        height_CT: Apparent stature in pixels, ``(C, T)``.
        valid_T: Frames that may be used, ``(T,)``.
    """

    error_CT: FloatArray
    overlap_CT: FloatArray
    height_CT: FloatArray
    valid_T: np.ndarray

    def summary(self) -> dict[str, Any]:
        """Plain values for the data's quality block."""
        return {
            "reprojection_px_median": _round(np.nanmedian(self.error_CT)),
            "reprojection_px_median_by_camera": [_round(np.nanmedian(row)) for row in self.error_CT],
            "silhouette_iou_median": _round(np.nanmedian(self.overlap_CT)),
            "person_height_px_median": _round(np.median(self.height_CT)),
            "valid_frames": int(self.valid_T.sum()),
            "frames": len(self.valid_T),
            "reprojection_px": [_round(value) for value in _nanmean(self.error_CT)],
            "silhouette_iou": [_round(value) for value in _nanmean(self.overlap_CT)],
        }


def _nanmean(values_CT: FloatArray) -> FloatArray:
    known = np.isfinite(values_CT)
    return np.where(known.any(0), np.where(known, values_CT, 0).sum(0) / np.maximum(known.sum(0), 1), np.nan)


def _round(value: float) -> float | None:
    return round(float(value), 3) if np.isfinite(value) else None


def measure_quality(rig: Rig, clip: PreparedClip, fit: RigFit, single_person: bool = True) -> ClipQuality:
    """Compare a fitted rig with detections and masks in every frame.

    Args:
        rig: The body.
        clip: Detections and cameras.
        fit: The fitted rig.
        single_person: Whether frames with somebody else of comparable size are unusable.

    Returns:
        The quality.
    """
    distances = reprojection_errors(rig, clip.observations, fit).numpy()
    enough = np.isfinite(distances).sum(2) >= 6
    with np.errstate(all="ignore"):
        error = np.where(enough, _row_median(distances), np.nan)
    overlap = silhouette_overlaps(rig, clip, fit)
    height = clip.observations.size_CT.numpy()
    seen = np.isfinite(error)
    needed = 2 if len(clip.cameras) > 1 else 1
    relative = _nanmean(error / height)
    valid = (seen.sum(0) >= needed) & (np.nan_to_num(relative, nan=1.0) < WORST_FRAME_ERROR)
    valid &= np.nan_to_num(_nanmean(overlap)) > WORST_FRAME_OVERLAP
    if single_person:
        crowd = np.stack([detection.crowd_T for detection in clip.detections])
        valid &= crowd.mean(0) < 0.5
    return ClipQuality(error, overlap, height, valid)


def _row_median(values_CTL: FloatArray) -> FloatArray:
    ordered = np.sort(values_CTL, axis=2)
    count = np.isfinite(values_CTL).sum(2)
    middle = np.maximum((count - 1) // 2, 0)
    return np.take_along_axis(ordered, middle[..., None], 2)[..., 0]


def silhouette_overlaps(rig: Rig, clip: PreparedClip, fit: RigFit, scale: float = 0.5) -> FloatArray:
    """Intersection over union of the rig's silhouette and the mask, ``(C, T)``; NaN without a mask."""
    faces = rig.faces_F3[rig.visible_faces_F].numpy()
    overlaps = np.full((len(clip.cameras), clip.observations.frame_count), np.nan)
    maps = [undistortion_maps(camera) for camera in clip.cameras]
    for frame in range(clip.observations.frame_count):
        vertices = frame_vertices(rig, fit, frame)
        for index, (camera, detection) in enumerate(zip(clip.cameras, clip.detections, strict=True)):
            mask = detection.mask(frame)
            lookup = maps[index]
            if lookup is not None:
                mask = np.asarray(cv2.remap(mask, lookup[0], lookup[1], cv2.INTER_LINEAR), np.uint8)
            width, height = round(mask.shape[1] * scale), round(mask.shape[0] * scale)
            small = cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA) > 127
            if not small.any():
                continue
            K_33 = camera.K_33 * np.array([[width / mask.shape[1]], [height / mask.shape[0]], [1.0]])
            rendered = mesh_silhouette(vertices, faces, camera.w2c_44, K_33, height, width)
            overlaps[index, frame] = intersection_over_union(small, rendered)
    return overlaps


def frame_vertices(rig: Rig, fit: RigFit, frame: int, expression_E: torch.Tensor | None = None) -> FloatArray:
    """World vertices of one frame, metres, ``(V, 3)``."""
    with torch.no_grad():
        pose = fit.frame_pose(frame)
        expression = None if expression_E is None else expression_E[None]
        return rig.posed_vertices(fit.identity_I[None], pose, expression)[0].double().numpy()


def drop_reason(
    clip: PreparedClip, quality: ClipQuality, minimum_height: float, single_person: bool
) -> str | None:
    """Why a clip cannot be used, in one sentence with the way out; None when it can."""
    height = float(np.median(quality.height_CT))
    crowd = np.stack([detection.crowd_T for detection in clip.detections]).mean(0) >= 0.5
    few = quality.valid_T.sum() < FEWEST_FRAMES
    if single_person and few and crowd.mean() > 0.2:
        return (
            f"more than one person: somebody else of comparable size is in {crowd.sum()} of "
            f"{len(crowd)} frames; "
            "cut the clip to a part with one person, or pass --people main to follow the most present one"
        )
    if height < minimum_height:
        return (
            f"too small: the person is about {height:.0f} pixels tall, at least {minimum_height:.0f} are "
            "needed; film closer"
        )
    if not np.isfinite(quality.error_CT).any():
        return "no person: no frame shows enough of a body"
    relative = float(np.nanmedian(quality.error_CT / quality.height_CT))
    overlap = float(np.nanmedian(quality.overlap_CT)) if np.isfinite(quality.overlap_CT).any() else 0.0
    if relative > WORST_CLIP_ERROR or overlap < WORST_CLIP_OVERLAP:
        return (
            f"badly fitted: the rig misses the landmarks by {100 * relative:.1f}% of the person's "
            f"height (at most "
            f"{100 * WORST_CLIP_ERROR:.0f}%) and covers the mask with an overlap of {overlap:.2f} (at least "
            f"{WORST_CLIP_OVERLAP}); choose footage that shows the whole body sharply"
        )
    return too_short(int(quality.valid_T.sum())) if few else None


def too_short(frames: int) -> str:
    """Why a clip of so few usable frames is not used, with the way out."""
    return (
        f"too short: it has {frames} usable frames, at least {FEWEST_FRAMES} are needed; film longer or "
        "lower --stride"
    )
