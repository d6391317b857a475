"""A clip after fitting: cameras, detections and the rig in one place, and how to make one from detections."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from lca_lightning.calibration.camera import CalibratedCamera, pinhole_camera
from lca_lightning.calibration.lens import undistort_pixels, undistortion_maps
from lca_lightning.errors import DataError
from lca_lightning.geometry.cameras import camera_center
from lca_lightning.preprocessing.camera_matching import MatchReport, choose_size_rules, settle_orientations
from lca_lightning.preprocessing.clip_detection import ClipDetections
from lca_lightning.preprocessing.landmarks import BODY_COUNT, FloatArray
from lca_lightning.preprocessing.monocular import (
    choose_focal,
    hint_weights,
    lift_landmarks,
    place_world_landmarks,
)
from lca_lightning.preprocessing.observations import Observations, join_landmarks, stature_pixels, to_tensor
from lca_lightning.preprocessing.rig_fitting import FitSettings, Progress, RigFit, fit_clip
from lca_lightning.preprocessing.sides import (
    MIRROR,
    exchange_sides,
    resolve_sides_across_views,
    resolve_sides_over_time,
)
from lca_lightning.preprocessing.silhouette import SilhouetteImage, SilhouettePenalty, prepare_silhouette
from lca_lightning.preprocessing.surface_fitting import SURFACES, fit_surfaces
from lca_lightning.preprocessing.triangulation import triangulate
from lca_lightning.rig.rig import Rig

MONOCULAR = FitSettings(
    identity_spread=0.12,
    age_spread=0.03,
    offset_scale=0.25,
    pose_weight=2.0,
    acceleration=15.0,
    steps=(150, 200, 120),
)
PHOTOS = replace(MONOCULAR, offset_scale=0.1)
# Four outlines of a frame say more of a pose than the prior does.
SEVERAL_CAMERAS = FitSettings(silhouette_weight=4.0, pose_weight=0.5, steps=(120, 160, 800))


@dataclass(frozen=True)
class PreparedClip:
    """Detections brought to undistorted pixels of known cameras, sides put right.

    Attributes:
        cameras: One per video, at the video's size.
        detections: As found, sides exchanged where they were wrong.
        observations: What the rig is fitted to.
        report: How calibration and videos were brought together, plain values.
        surfaces: World points of the body in each frame, metres, where another model knows it.
    """

    cameras: list[CalibratedCamera]
    detections: list[ClipDetections]
    observations: Observations
    report: dict[str, Any] = field(default_factory=dict)
    surfaces: tuple[FloatArray | None, ...] = ()

    def with_cameras(self, w2c_C44: torch.Tensor) -> PreparedClip:
        """The same clip with its cameras at another place, ``(C, 4, 4)``; the report says how far away."""
        cameras = [
            replace(camera, w2c_44=w2c_44)
            for camera, w2c_44 in zip(self.cameras, w2c_C44.double().numpy(), strict=True)
        ]
        shifts_C = (camera_center(w2c_C44) - camera_center(self.observations.w2c_C44)).norm(dim=-1)
        moves = {
            after.name: {
                "degrees": round(after.degrees_from(before), 3),
                "millimetres": round(1000 * float(shift), 1),
            }
            for before, after, shift in zip(self.cameras, cameras, shifts_C, strict=True)
        }
        report = {**self.report, "cameras_moved_by_outlines": moves}
        return replace(
            self, cameras=cameras, observations=replace(self.observations, w2c_C44=w2c_C44), report=report
        )


def prepare_multiview(
    cameras: list[CalibratedCamera],
    detections: list[ClipDetections],
    contents: list[tuple[int, int, int, int] | None],
) -> PreparedClip:
    """Match calibration and videos, put sides right, triangulate.

    Args:
        cameras: As calibrated, one per video.
        detections: One per video, all of the same frames.
        contents: The picture inside black borders of each video, if any.

    Returns:
        The clip, ready to fit.

    Raises:
        DataError: Wrong calibration, or the person is never seen by two cameras at once.
    """
    body = np.stack([detection.body_TP3 for detection in detections])
    stature = float(np.median([np.median(stature_pixels(one)) for one in body]))
    report = MatchReport()
    sizes = [(detection.width, detection.height) for detection in detections]
    swaps = np.zeros(body.shape[:2], bool)
    gate = 0.08 * stature
    adapted = cameras
    for _ in range(2):
        pixels, confidence = _limbs(body, swaps)
        adapted = choose_size_rules(cameras, sizes, contents, pixels, confidence, gate, report)
        undistorted = np.stack(
            [undistort_pixels(one[..., :2], camera) for one, camera in zip(body, adapted, strict=True)]
        )
        projections = np.stack([camera.projection_34 for camera in adapted])
        swaps = resolve_sides_across_views(undistorted, _confidence(body), projections)
    settled = settle_orientations(adapted, *_limbs(body, swaps), stature, report)
    fixed = [exchanged(detection, swap) for detection, swap in zip(detections, swaps, strict=True)]
    observations = multiview_observations(settled, fixed)
    values = {
        **report.__dict__,
        "exchanged_sides": {c.name: int(s.sum()) for c, s in zip(settled, swaps, strict=True)},
    }
    return PreparedClip(settled, fixed, observations, {"calibration": values})


def _confidence(body_CTP3: FloatArray) -> FloatArray:
    visible = np.nan_to_num(body_CTP3[..., 2])
    return np.where(visible > 0.5, visible, 0.0)


def _limbs(body_CTP3: FloatArray, swaps_CT: np.ndarray) -> tuple[FloatArray, FloatArray]:
    """Pixels and confidences of shoulders and below over all frames, ``(C, N, 2)`` and ``(C, N)``."""
    body = np.where(swaps_CT[..., None, None], body_CTP3[:, :, MIRROR], body_CTP3)[:, :, 11:]
    return body[..., :2].reshape(len(body), -1, 2), _confidence(body).reshape(len(body), -1)


def exchanged(detection: ClipDetections, swaps_T: np.ndarray) -> ClipDetections:
    body, world, hands = exchange_sides(
        detection.body_TP3, detection.world_TP3, detection.hands_T2P3, swaps_T
    )
    return ClipDetections(
        detection.frames_T, body, world, hands, detection.face_TP3, detection.crowd_T, detection.masks_png,
        detection.width, detection.height, detection.fps,
    )  # fmt: skip


def _pixels_of(
    cameras: list[CalibratedCamera], detections: list[ClipDetections]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    pixels, confidence, stature = [], [], []
    for camera, detection in zip(cameras, detections, strict=True):
        joined, trust = join_landmarks(detection.body_TP3, detection.hands_T2P3, camera.width, camera.height)
        pixels.append(undistort_pixels(joined, camera))
        confidence.append(trust)
        stature.append(stature_pixels(detection.body_TP3))
    return np.stack(pixels), np.stack(confidence), np.stack(stature)


def frame_time(detections: list[ClipDetections]) -> float:
    """Seconds between used frames."""
    frames = detections[0].frames_T
    step = float(np.median(np.diff(frames))) if len(frames) > 1 else 1.0
    return step / detections[0].fps


def multiview_observations(
    cameras: list[CalibratedCamera], detections: list[ClipDetections], use: list[int] | None = None
) -> Observations:
    """Triangulated points and pixels of some cameras (all when ``use`` is None).

    Raises:
        DataError: No landmark is seen by two cameras at once.
    """
    use = list(range(len(cameras))) if use is None else use
    pixels, confidence, stature = _pixels_of(cameras, detections)
    gate = 0.06 * float(np.median(stature))
    projections = np.stack([camera.projection_34 for camera in cameras])
    shape = pixels.shape[1:3]
    result = triangulate(
        pixels[use].reshape(len(use), -1, 2),
        confidence[use].reshape(len(use), -1),
        projections[use],
        gate=gate,
    )
    points = result.points_N3.reshape(*shape, 3)
    known = np.isfinite(points[..., 0])
    if not known[:, :BODY_COUNT].any():
        raise DataError(
            "The person is never seen by two cameras at the same time; check that the videos belong together."
        )
    everything = Observations(
        to_tensor(pixels), to_tensor(confidence),
        to_tensor(np.stack([camera.w2c_44 for camera in cameras])),
        to_tensor(np.stack([camera.K_33 for camera in cameras])),
        to_tensor(stature), to_tensor(np.nan_to_num(points)), to_tensor(known.astype(float)),
        0.02, False, frame_time(detections),
    )  # fmt: skip
    return everything.cameras_kept(use)


def _with_depth(detection: ClipDetections) -> ClipDetections:
    """The same with rough metric landmarks where the estimator gave none."""
    unknown = ~np.isfinite(detection.world_TP3).all((1, 2))
    if not (unknown & detection.found_T).any():
        return detection
    lifted = lift_landmarks(detection.body_TP3, stature_pixels(detection.body_TP3))
    world = np.where(unknown[:, None, None], lifted, detection.world_TP3)
    return replace(detection, world_TP3=world)


def prepare_monocular(
    name: str, detection: ClipDetections, camera: CalibratedCamera | None = None
) -> PreparedClip:
    """Estimate the lens where it is unknown, and place the detector's rough metric bodies before the camera.

    Args:
        name: Of the camera.
        detection: Of the clip.
        camera: Calibrated camera, if any.

    Returns:
        The clip, ready to fit.
    """
    fixed = exchanged(detection, resolve_sides_over_time(detection.body_TP3))
    report: dict[str, Any] = {}
    if camera is None:  # flat guesses say nothing about the lens: the default stays without true depth
        focal, errors = choose_focal(fixed.body_TP3, fixed.world_TP3, fixed.width, fixed.height)
        camera = pinhole_camera(name, fixed.width, fixed.height, focal)
        report["focal"] = {"pixels": round(focal, 1), "share_of_diagonal_tried": errors}
    fixed = _with_depth(fixed)
    pixels, confidence, stature = _pixels_of([camera], [fixed])
    points, known = place_world_landmarks(
        pixels[0, :, :BODY_COUNT], confidence[0, :, :BODY_COUNT], fixed.world_TP3, camera
    )
    joined = np.zeros((*pixels.shape[1:3], 3))
    weight = np.zeros(pixels.shape[1:3])
    joined[:, :BODY_COUNT] = np.nan_to_num(points)
    weight[:, :BODY_COUNT] = hint_weights(confidence[0, :, :BODY_COUNT], known)
    observations = Observations(
        to_tensor(pixels), to_tensor(confidence), to_tensor(camera.w2c_44[None]),
        to_tensor(camera.K_33[None]),
        to_tensor(stature), to_tensor(joined), to_tensor(weight), 0.06, True, frame_time([fixed]),
    )  # fmt: skip
    return PreparedClip([camera], [fixed], observations, report)


def silhouettes_of(clip: PreparedClip, most: int = 400) -> list[SilhouetteImage]:
    """Prepared masks of the clip, evenly thinned to at most ``most``."""
    count = len(clip.cameras) * clip.observations.frame_count
    step = max(1, -(-count // most))
    images = []
    for index, (camera, detection) in enumerate(zip(clip.cameras, clip.detections, strict=True)):
        maps = undistortion_maps(camera)
        # Cameras take different frames, so that every frame is near a mask.
        for frame in range(index % step, clip.observations.frame_count, step):
            stature = float(clip.observations.size_CT[index, frame])
            image = prepare_silhouette(detection.mask(frame), index, frame, stature, maps)
            if image is not None:
                images.append(image)
    return images


def fit_steps(clip: PreparedClip) -> int:
    """Optimiser steps that :func:`fit_prepared` takes at most."""
    if clip.surfaces:
        return sum(SURFACES.steps)
    return sum((MONOCULAR if clip.observations.relative else SEVERAL_CAMERAS).steps)


def fit_prepared(
    rig: Rig, clip: PreparedClip, progress: Progress | None = None
) -> tuple[RigFit, PreparedClip]:
    """Fit the rig to a prepared clip with the settings for its number of cameras.

    Returns:
        The fit, and the clip with its cameras where the fit moved them.
    """
    torch.set_num_threads(1)  # the tensors are small: more threads only wait for each other
    if clip.surfaces:
        return fit_surfaces(rig, clip.observations, list(clip.surfaces), progress=progress), clip
    images = silhouettes_of(clip)
    penalty = SilhouettePenalty(rig, images) if images else None
    if clip.observations.relative:
        return fit_clip(rig, clip.observations, MONOCULAR, penalty, progress), clip
    fit = fit_clip(rig, clip.observations, SEVERAL_CAMERAS, penalty, progress)
    return fit, clip.with_cameras(fit.w2c_C44)
