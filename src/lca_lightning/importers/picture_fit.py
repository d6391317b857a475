"""The rig fitted to a set's pictures and masks themselves, as ``lca preprocess`` fits it to videos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from tqdm import tqdm

from lca_lightning.calibration.camera import CalibratedCamera
from lca_lightning.datasets.records import CameraRecord
from lca_lightning.datasets.signals import Signals
from lca_lightning.errors import DataError
from lca_lightning.importers.frame_reasons import left_out
from lca_lightning.importers.picture_joints import SeenPictures
from lca_lightning.preprocessing.clip_detection import ClipDetections, pack_mask
from lca_lightning.preprocessing.fitted_clip import (
    SEVERAL_CAMERAS,
    PreparedClip,
    exchanged,
    multiview_observations,
    silhouettes_of,
)
from lca_lightning.preprocessing.landmarks import BODY_COUNT
from lca_lightning.preprocessing.quality import (
    WORST_FRAME_ERROR,
    WORST_FRAME_OVERLAP,
    ClipQuality,
    measure_quality,
)
from lca_lightning.preprocessing.rig_fitting import RigFit, fit_clip
from lca_lightning.preprocessing.sides import resolve_sides_across_views
from lca_lightning.preprocessing.silhouette import SilhouettePenalty
from lca_lightning.rig.rig import Rig

# Cameras stay where they were calibrated, so outlines need fewer steps than where they move.
STEPS = (120, 160, 250)
_LEAST_CONFIDENCE = 0.5


def fit_in_pictures(
    rig: Rig, seen: SeenPictures, indices: Sequence[int], steps: tuple[int, int, int] = STEPS
) -> tuple[Signals | None, str]:
    """Fit the rig to landmarks and masks of several cameras.

    Args:
        rig: Our rig; only ``anny`` has the landmarks that fitting needs.
        seen: What was found in the pictures.
        indices: The source's number of each frame, for sentences.
        steps: Optimiser steps with points in space, with pictures, with outlines.

    Returns:
        The rig's values, or None where no two cameras see the person at once; and a few words with the
        reasons of frames that cannot be used.
    """
    clip = _prepared(seen)
    if clip is None:
        return None, "not converted: no two cameras see a person in the same frame"
    settings = replace(SEVERAL_CAMERAS, steps=steps)
    with (
        _one_thread(),
        torch.random.fork_rng(devices=[]),  # nothing here may disturb the caller's draws
        tqdm(total=sum(steps), desc="fitting the rig", unit="step", leave=False) as bar,
    ):
        images = silhouettes_of(clip)
        penalty = SilhouettePenalty(rig, images) if images else None
        fit = fit_clip(rig, clip.observations, settings, penalty, bar.update, move_cameras=False)
    quality = measure_quality(rig, clip, fit)
    return _signals(rig, fit, quality), _words(quality, indices)


@contextmanager
def _one_thread() -> Iterator[None]:
    """The tensors are small: more threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _prepared(seen: SeenPictures) -> PreparedClip | None:
    """What ``lca preprocess`` makes of videos; only of cameras that see a person at all."""
    used = [camera for camera, found in enumerate(seen.detections) if any(one is not None for one in found)]
    if len(used) < 2:
        return None
    cameras = [_camera(seen.records[camera]) for camera in used]
    detections = [_detections(seen, camera) for camera in used]
    body = np.stack([detection.body_TP3 for detection in detections])
    confidence = np.nan_to_num(body[..., 2])
    confidence = np.where(confidence > _LEAST_CONFIDENCE, confidence, 0.0)
    projections = np.stack([camera.projection_34 for camera in cameras])
    swaps = resolve_sides_across_views(body[..., :2], confidence, projections)
    fixed = [exchanged(detection, swap) for detection, swap in zip(detections, swaps, strict=True)]
    try:
        observations = multiview_observations(cameras, fixed)
    except DataError:
        return None
    # Pictures of a set may lie any time apart, so that nothing is known of how somebody moves between them.
    return PreparedClip(cameras, fixed, replace(observations, frame_time=None))


def _camera(record: CameraRecord) -> CalibratedCamera:
    return CalibratedCamera(record.name, record.width, record.height, record.K_33, np.zeros(0), record.w2c_44)


def _detections(seen: SeenPictures, camera: int) -> ClipDetections:
    found, record = seen.detections[camera], seen.records[camera]
    unknown, frames = np.full((BODY_COUNT, 3), np.nan), len(found)
    return ClipDetections(
        frames_T=np.arange(frames),
        body_TP3=np.stack([unknown if one is None else one.body_P3 for one in found]),
        world_TP3=np.stack([unknown if one is None else one.world_P3 for one in found]),
        hands_T2P3=np.full((frames, 2, 21, 3), np.nan),
        face_TP3=np.full((frames, 478, 3), np.nan),
        crowd_T=np.zeros(frames, bool),
        masks_png=tuple(pack_mask(mask) for mask in seen.masks[camera]),
        width=record.width,
        height=record.height,
        fps=1.0,
    )


def _signals(rig: Rig, fit: RigFit, quality: ClipQuality) -> Signals:
    frames = len(quality.valid_T)
    return Signals(
        identity_I=fit.identity_I.numpy().astype(np.float32),
        rotations_TJ3=fit.rotations_TJ3.numpy().astype(np.float32),
        translation_T3=fit.translation_T3.numpy().astype(np.float32),
        expression_TE=np.zeros((frames, rig.expression_size), np.float32),
        gaze_T8=np.zeros((frames, 8), np.float32),
        frame_valid_T=quality.valid_T,
    )


def _words(quality: ClipQuality, indices: Sequence[int]) -> str:
    valid, summary = quality.valid_T, quality.summary()
    reasons = [_reason(quality, frame) for frame in range(len(valid))]
    return (
        f"fitted to the pictures: silhouette overlap {summary['silhouette_iou_median']}, landmarks off by "
        f"{summary['reprojection_px_median']} px (medians), {int(valid.sum())} of {len(valid)} frames usable"
        + left_out([(index, why) for index, why in zip(indices, reasons, strict=True) if why])
    )


def _reason(quality: ClipQuality, frame: int) -> str:
    """Why a frame cannot be used; nothing where it can."""
    if quality.valid_T[frame]:
        return ""
    error = quality.error_CT[:, frame] / quality.height_CT[:, frame]
    seeing = int(np.isfinite(error).sum())
    if seeing < 2:
        return f"{seeing} of {len(error)} cameras see a body, two are needed"
    share = float(np.nanmean(error))
    if share >= WORST_FRAME_ERROR:
        return f"landmarks off by {100 * share:.1f}% of the stature (at most {100 * WORST_FRAME_ERROR:g}%)"
    overlap = quality.overlap_CT[:, frame]
    known = overlap[np.isfinite(overlap)]
    if not len(known):
        return "its masks are empty"
    return f"silhouette overlap {known.mean():.2f} (at least {WORST_FRAME_OVERLAP})"
