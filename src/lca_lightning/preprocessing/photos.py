"""Several photos of one person: a mask, a face box, a camera and a pose each, and one identity for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lca_lightning.calibration.camera import pinhole_camera
from lca_lightning.errors import DataError
from lca_lightning.preprocessing.detection import PersonDetector
from lca_lightning.preprocessing.face import face_boxes_in_crop, landmark_face_boxes, rig_face_boxes
from lca_lightning.preprocessing.fitted_clip import PHOTOS
from lca_lightning.preprocessing.gaze import estimate_gaze
from lca_lightning.preprocessing.landmarks import BODY_COUNT, FloatArray, FrameDetection
from lca_lightning.preprocessing.masks import clean_mask, intersection_over_union, restrict_to_silhouette
from lca_lightning.preprocessing.monocular import choose_focal, hint_weights, place_world_landmarks
from lca_lightning.preprocessing.observations import Observations, join_landmarks, stature_pixels, to_tensor
from lca_lightning.preprocessing.people import COMPARABLE, find_people, person_scale
from lca_lightning.preprocessing.quality import frame_vertices
from lca_lightning.preprocessing.rig_fitting import Progress, RigFit, fit_clip, reprojection_errors
from lca_lightning.preprocessing.rig_landmarks import build_rig_landmarks
from lca_lightning.preprocessing.silhouette import SilhouettePenalty, prepare_silhouette
from lca_lightning.rendering.mesh import mesh_silhouette
from lca_lightning.rig.rig import Rig

SMALLEST_SIDE = 16
LARGEST_SIDE = 2048
# 35 mm film has a diagonal of 43.27 mm.
FILM_DIAGONAL = 43.27
_FOCAL_TAG, _CAMERA_BLOCK = 41989, 0x8769


@dataclass(frozen=True)
class PhotoFit:
    """One photo with what was found and fitted; pixels refer to ``image_HW3``.

    Attributes:
        name: File name, or the photo's number.
        image_HW3: RGB, upright, at most 2048 pixels on its longer side.
        mask_HW: Person probability 0..255.
        face_box_4: Left, top, right, bottom in pixels; NaN where no face is in view.
        K_33: Intrinsics.
        w2c_44: World to camera; the camera stands at the world's origin.
        rotations_J3: The rig's rotation vectors, radians.
        translation_3: Root position, metres.
        gaze_8: Gaze of both eyes with validities.
        hidden_joints: Joints without any visible landmark of their own, which stayed at the prior.
        error_px: Median distance of rig and landmarks.
        overlap: Intersection over union of rig and mask.
    """

    name: str
    image_HW3: NDArray[np.uint8]
    mask_HW: NDArray[np.uint8]
    face_box_4: FloatArray
    K_33: FloatArray
    w2c_44: FloatArray
    rotations_J3: FloatArray
    translation_3: FloatArray
    gaze_8: FloatArray
    hidden_joints: tuple[str, ...]
    error_px: float
    overlap: float


@dataclass(frozen=True)
class PhotoFits:
    """All photos of one person.

    Attributes:
        identity_I: One identity over all photos.
        photos: In the order given.
        hidden_joints: Joints that no photo shows: they stayed at the prior.
    """

    identity_I: FloatArray
    photos: tuple[PhotoFit, ...]
    hidden_joints: tuple[str, ...]


def load_photo(
    photo: Path | str | NDArray[np.uint8], number: int = 0
) -> tuple[str, NDArray[np.uint8], float | None]:
    """Read a photo upright.

    Args:
        photo: A file, or an RGB array ``(H, W, 3)`` of uint8.
        number: Names arrays in messages.

    Returns:
        Name, RGB picture, and the focal length as a share of the diagonal if the file tells.

    Raises:
        DataError: Missing, empty, unreadable or tiny file, or an array of another kind.
    """
    if isinstance(photo, np.ndarray):
        if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8:
            raise DataError(
                f"Photo {number + 1} must be a uint8 array of shape (H, W, 3), got {photo.dtype} "
                f"{photo.shape}."
            )
        return f"photo {number + 1}", photo, None
    from PIL import Image, ImageOps

    path = Path(photo)
    if not path.is_file():
        raise DataError(f"Photo {path} does not exist; check the path.")
    if path.stat().st_size == 0:
        raise DataError(f"Photo {path} is empty (0 bytes); copy it again.")
    try:
        with Image.open(path) as picture:
            focal = picture.getexif().get_ifd(_CAMERA_BLOCK).get(_FOCAL_TAG)
            upright = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(
            f"Photo {path} cannot be read as a picture ({error}); convert it to PNG or JPEG."
        ) from error
    height, width = upright.shape[:2]
    if min(height, width) < SMALLEST_SIDE:
        raise DataError(
            f"Photo {path} is only {width}x{height} pixels; give a photo of at least "
            f"{SMALLEST_SIDE}x{SMALLEST_SIDE} that shows the person clearly."
        )
    return path.name, upright, float(focal) / FILM_DIAGONAL if focal else None


def _shrink(image_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
    from lca_lightning.calibration.opencv import cv2

    scale = LARGEST_SIDE / max(image_HW3.shape[:2])
    if scale >= 1:
        return np.ascontiguousarray(image_HW3)
    size = (round(image_HW3.shape[1] * scale), round(image_HW3.shape[0] * scale))
    return np.asarray(cv2.resize(image_HW3, size, interpolation=cv2.INTER_AREA), np.uint8)


def detect_photo(detector: PersonDetector, name: str, image_HW3: NDArray[np.uint8]) -> FrameDetection:
    """The one person of a photo, with a cleaned mask.

    Raises:
        DataError: Nobody, or two people of comparable size.
    """
    people = find_people(detector, image_HW3)
    if not people:
        raise DataError(
            f"No person was found in {name}; use a photo that shows at least the upper body clearly."
        )
    others = [person for person in people[1:] if person.scale > COMPARABLE * people[0].scale]
    if others:
        raise DataError(f"{len(others) + 1} people are in {name}; cut the photo so that only one is left.")
    found = detector.body(image_HW3, people[0].box)
    if found is None:
        raise DataError(
            f"No person was found in {name}; use a photo that shows at least the upper body clearly."
        )
    detection = found[0]
    body = detection.body_P3
    mask = clean_mask(detection.mask_HW, body, person_scale(body))
    return FrameDetection(
        body, detection.world_P3, detector.hands(image_HW3, body), detector.face(image_HW3, body), mask
    )


def fit_photos(
    photos: Sequence[Path | str | NDArray[np.uint8]], rig: Rig, progress: Progress | None = None
) -> PhotoFits:
    """Segment photos of one person and fit one identity, and a pose and camera each.

    Args:
        photos: Files or RGB arrays; poses, cameras and sizes may differ.
        rig: The body.
        progress: Called with 1 per optimiser step.

    Returns:
        The fits.

    Raises:
        DataError: An unreadable photo, nobody in it, or more than one person; names the photo.
        MissingAssetError: MediaPipe is not installed.
    """
    if len(photos) == 0:
        raise DataError("No photo was given; name at least one.")
    loaded = [load_photo(photo, number) for number, photo in enumerate(photos)]
    names, images = [name for name, _, _ in loaded], [_shrink(image) for _, image, _ in loaded]
    detector = PersonDetector()
    try:
        detections = [detect_photo(detector, name, image) for name, image in zip(names, images, strict=True)]
    finally:
        detector.close()
    intrinsics = np.stack([
        _photo_intrinsics(detection, image, focal)
        for detection, image, (_, _, focal) in zip(detections, images, loaded, strict=True)
    ])  # fmt: skip
    observations = _observations(detections, images, intrinsics)
    silhouettes = [
        prepare_silhouette(detection.mask_HW, 0, index, float(observations.size_CT[0, index]))
        for index, detection in enumerate(detections)
    ]
    present = [silhouette for silhouette in silhouettes if silhouette is not None]
    fit = fit_clip(rig, observations, PHOTOS, SilhouettePenalty(rig, present) if present else None, progress)
    errors = reprojection_errors(rig, observations, fit)[0].nanmedian(1).values.numpy()
    results = [
        _collect(
            rig,
            fit,
            index,
            names[index],
            images[index],
            detections[index],
            intrinsics[index],
            observations,
            errors[index],
        )
        for index in range(len(images))
    ]
    hidden = set.intersection(*(set(result.hidden_joints) for result in results))
    ordered = tuple(name for name in rig.joint_names if name in hidden)
    return PhotoFits(fit.identity_I.numpy(), tuple(results), ordered)


def _photo_intrinsics(
    detection: FrameDetection, image: NDArray[np.uint8], focal_share: float | None
) -> FloatArray:
    height, width = image.shape[:2]
    if focal_share is None:
        focal, _ = choose_focal(detection.body_P3[None], detection.world_P3[None], width, height)
    else:
        focal = focal_share * float(np.hypot(width, height))
    return pinhole_camera("photo", width, height, focal).K_33


def _observations(
    detections: list[FrameDetection], images: list[NDArray[np.uint8]], intrinsics_V33: FloatArray
) -> Observations:
    """Photos as the frames of one camera whose lens changes from frame to frame."""
    pixels, confidence, points, known, stature = [], [], [], [], []
    for detection, image, K_33 in zip(detections, images, intrinsics_V33, strict=True):
        height, width = image.shape[:2]
        joined, trust = join_landmarks(detection.body_P3[None], detection.hands_2P3[None], width, height)
        camera = pinhole_camera("photo", width, height, K_33[0, 0])
        placed, usable = place_world_landmarks(
            joined[:, :BODY_COUNT], trust[:, :BODY_COUNT], detection.world_P3[None], camera
        )
        padded, weight = np.zeros_like(np.repeat(joined[..., :1], 3, -1)), np.zeros_like(trust)
        padded[:, :BODY_COUNT] = np.nan_to_num(placed)
        weight[:, :BODY_COUNT] = hint_weights(trust[:, :BODY_COUNT], usable)
        pixels.append(joined[0])
        confidence.append(trust[0])
        points.append(padded[0])
        known.append(weight[0])
        stature.append(stature_pixels(detection.body_P3[None])[0])
    w2c_44 = pinhole_camera("photo", 1, 1, 1.0).w2c_44
    return Observations(
        to_tensor(np.stack(pixels)[None]), to_tensor(np.stack(confidence)[None]), to_tensor(w2c_44[None]),
        to_tensor(intrinsics_V33[None]), to_tensor(np.stack(stature)[None]), to_tensor(np.stack(points)),
        to_tensor(np.stack(known)), 0.06, True, None,
    )  # fmt: skip


def _collect(
    rig: Rig,
    fit: RigFit,
    index: int,
    name: str,
    image: NDArray[np.uint8],
    detection: FrameDetection,
    K_33: FloatArray,
    observations: Observations,
    error: float,
) -> PhotoFit:
    height, width = image.shape[:2]
    w2c_44 = observations.w2c_C44[0].double().numpy()
    faces = rig.faces_F3[rig.visible_faces_F].numpy()
    body = mesh_silhouette(frame_vertices(rig, fit, index), faces, w2c_44, K_33, height, width)
    mask = restrict_to_silhouette(detection.mask_HW, body, 0.1 * float(observations.size_CT[0, index]))
    one = RigFit(
        fit.identity_I,
        fit.rotations_TJ3[index : index + 1],
        fit.translation_T3[index : index + 1],
        fit.offsets_L3,
        fit.w2c_C44,
    )
    landmark_box = landmark_face_boxes(detection.face_P3[None])
    box = face_boxes_in_crop(landmark_box, rig_face_boxes(rig, one, w2c_44, K_33), 0, 0, 1.0, width, height)[
        0
    ]
    return PhotoFit(
        name, image, mask, box, K_33, w2c_44, fit.rotations_TJ3[index].numpy(),
        fit.translation_T3[index].numpy(),
        estimate_gaze(detection.face_P3[None])[0][0],
        hidden_joints(rig, observations.confidence_CTL[0, index].numpy()),
        float(error), intersection_over_union(mask > 127, body),
    )  # fmt: skip


def hidden_joints(rig: Rig, confidence_L: FloatArray, least: float = 0.1) -> tuple[str, ...]:
    """Joints that no visible landmark constrains, neither on their own bone nor further down the limb.

    Args:
        rig: The body.
        confidence_L: Confidence of each landmark in the picture, ``(75,)``.
        least: Confidence from which a landmark counts.

    Returns:
        Names in the rig's order.
    """
    landmarks = build_rig_landmarks(rig)
    shown = np.zeros(len(rig.joint_names), bool)
    carriers = landmarks.skin_weights_LJ.numpy() > 0.2
    for landmark in np.flatnonzero(confidence_L > least):
        for joint in np.flatnonzero(carriers[landmark]):
            while joint >= 0 and not shown[joint]:
                shown[joint] = True
                joint = rig.joint_parents[joint]
    # Small joints that no landmark names go with the bone they hang on.
    for joint, parent in enumerate(rig.joint_parents):
        if parent >= 0 and not carriers[:, joint].any() and not _leads_to_landmark(rig, carriers, joint):
            shown[joint] = shown[parent]
    return tuple(name for name, seen in zip(rig.joint_names, shown, strict=True) if not seen)


def _leads_to_landmark(rig: Rig, carriers: NDArray[np.bool_], joint: int) -> bool:
    below = [child for child, parent in enumerate(rig.joint_parents) if parent == joint]
    return bool(carriers[:, joint].any()) or any(_leads_to_landmark(rig, carriers, child) for child in below)
