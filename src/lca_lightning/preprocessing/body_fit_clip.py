"""Bodies of SAM-3D-Body joined with a video: its bodies and lens, the estimator's masks and faces."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lca_lightning.calibration.camera import CalibratedCamera, pinhole_camera
from lca_lightning.errors import DataError
from lca_lightning.preprocessing.body_fits import BodyFit, fit_files, person_in_box, read_body_fits
from lca_lightning.preprocessing.clip_detection import ClipDetections
from lca_lightning.preprocessing.clips import Clip
from lca_lightning.preprocessing.fitted_clip import PreparedClip, frame_time
from lca_lightning.preprocessing.keypoints308 import body_landmarks, hand_landmarks
from lca_lightning.preprocessing.landmarks import FloatArray
from lca_lightning.preprocessing.masks import mask_box
from lca_lightning.preprocessing.observations import Observations, stature_pixels, to_tensor
from lca_lightning.rig.mhr import MHRRig
from lca_lightning.rig.rig import RigPose

# Camera axes to ours at the camera's place: y up, z towards the camera.
_FLIP = np.array([1.0, -1.0, -1.0])
POINT_SPREAD = 0.01


def camera_of(fits: list[BodyFit], name: str = "camera") -> CalibratedCamera:
    """The pinhole camera the fits were made for; its picture is twice as large as its principal point says.

    Raises:
        DataError: The fits are of different cameras.
    """
    values = np.array([[fit.focal, *fit.center_2] for fit in fits])
    if np.ptp(values, axis=0).max() > 0.02 * values[:, 0].max():
        low, high = values[:, 0].min(), values[:, 0].max()
        raise DataError(
            f"The body fits are of several cameras (focal lengths {low:.0f} to {high:.0f} pixels); run "
            "SAM-3D-Body with one focal length for the whole video."
        )
    focal, x, y = np.median(values, axis=0)
    return pinhole_camera(name, round(2 * x), round(2 * y), focal)


def fitted_observations(
    fits: list[BodyFit | None], camera: CalibratedCamera, seconds: float | None
) -> tuple[Observations, list[FloatArray | None]]:
    """Named points and surfaces of the frames, in the world of the camera.

    Args:
        fits: One per frame; None where there is none.
        camera: Of all of them.
        seconds: Between frames; None for unrelated pictures.

    Returns:
        What the rig is fitted to, and each frame's surface in world axes, metres.
    """
    to_world = np.linalg.inv(camera.w2c_44)

    def placed(points: FloatArray) -> FloatArray:
        return points @ to_world[:3, :3].T + to_world[:3, 3]

    blank3, blank2 = np.full((70, 3), np.nan), np.full((70, 2), np.nan)
    space = _joined(np.stack([blank3 if fit is None else placed(fit.keypoints_K3) for fit in fits]))
    pixels = _joined(np.stack([blank2 if fit is None else fit.keypoints_K2 for fit in fits]))
    known = np.isfinite(space).all(-1)
    trusted = np.ones((len(fits), pixels.shape[1], 1))
    size = stature_pixels(np.concatenate([pixels, trusted], 2)[:, :33])
    observations = Observations(
        to_tensor(np.nan_to_num(pixels)[None]), to_tensor(known[None].astype(float)),
        to_tensor(camera.w2c_44[None]), to_tensor(camera.K_33[None]), to_tensor(size[None]),
        to_tensor(np.nan_to_num(space)), to_tensor(known.astype(float)), POINT_SPREAD, False, seconds,
    )  # fmt: skip
    return observations, [None if fit is None else placed(fit.vertices_V3) for fit in fits]


def _joined(points_TKD: FloatArray) -> FloatArray:
    hands = hand_landmarks(points_TKD)
    return np.concatenate([body_landmarks(points_TKD), hands.reshape(len(hands), -1, hands.shape[-1])], 1)


def prepare_from_fits(clip: Clip, folder: Path, detection: ClipDetections) -> PreparedClip:
    """A video whose bodies are known: the estimator gives masks and faces, the files give the rest.

    Args:
        clip: A single video.
        folder: Of the files, see :func:`fit_files`.
        detection: What the estimator found.

    Returns:
        The clip, ready to fit; frames without a file of this person are not used.

    Raises:
        DataError: No fit of this person, or fits of another picture size.
    """
    files = fit_files(folder, clip.id)
    fits: list[BodyFit | None] = []
    for position, frame in enumerate(detection.frames_T):
        box = mask_box(detection.mask(position))
        people = read_body_fits(files[int(frame)]) if int(frame) in files else []
        fits.append(None if box is None else person_in_box(people, np.array(box, float)))
    known = [fit for fit in fits if fit is not None]
    if not known:
        raise DataError(
            f"no body fits: no file in {folder} shows the person of {clip.videos[0].name}; name files by the "
            "video's frame numbers, counted from 0"
        )
    camera = camera_of(known, clip.videos[0].stem)
    if (camera.width, camera.height) != (detection.width, detection.height):
        raise DataError(
            f"The body fits are of pictures of {camera.width}x{camera.height}, but {clip.videos[0].name} has "
            f"{detection.width}x{detection.height}; run SAM-3D-Body on the video's own frames."
        )
    observations, surfaces = fitted_observations(fits, camera, frame_time([detection]))
    report: dict[str, Any] = {"body_fits": {"frames": len(known), "focal": round(camera.K_33[0, 0], 1)}}
    return replace(PreparedClip([camera], [detection], observations, report), surfaces=tuple(surfaces))


def mhr_motion(rig: MHRRig, fits: list[BodyFit]) -> tuple[torch.Tensor, RigPose]:
    """The fits as identity and poses of the rig ``mhr``, in our axes at the camera's place.

    Args:
        rig: MHR.
        fits: With their parameters.

    Returns:
        Identity of each fit ``(T, I)`` and the poses. Expression is not known.

    Raises:
        DataError: A fit was stored without parameters.
    """
    shapes = [fit.shape_45 for fit in fits if fit.shape_45 is not None]
    models = [fit.model_204 for fit in fits if fit.model_204 is not None]
    if not len(shapes) == len(models) == len(fits):
        raise DataError(
            "These body fits lack shape_params or mhr_model_params; export SAM-3D-Body's whole output."
        )
    shape, model = to_tensor(np.stack(shapes)), to_tensor(np.stack(models))
    identity, pose, _ = rig.from_model_parameters(shape, model)
    shift = to_tensor(np.stack([fit.shift_3 for fit in fits]) * _FLIP)
    return identity, RigPose(pose.rotations_BJ3, pose.translation_B3 + shift)
