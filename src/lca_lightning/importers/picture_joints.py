"""A body found in a set's own pictures: joints of several cameras triangulated, with the visual hull."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lca_lightning.datasets.records import CameraRecord
from lca_lightning.importers.picture_changes import PictureChange
from lca_lightning.importers.selection import choose_cameras
from lca_lightning.importers.source import (
    Importer,
    JointsBody,
    MeshBody,
    SourceCamera,
    SourceTake,
)
from lca_lightning.importers.triangulated_joints import triangulate_joints
from lca_lightning.importers.visual_hull import hull_points
from lca_lightning.preprocessing.landmarks import BODY_LANDMARKS, FrameDetection, PersonBox

_CAMERAS, _SIDE = 8, 768  # cameras that are looked at, spread far apart, and their pictures' longer side
_FARTHEST = 30.0  # pixels at a picture 1000 high: detections are less exact than annotations


@dataclass(frozen=True)
class SeenPictures:
    """What was found in pictures without distortion of a few cameras.

    Attributes:
        records: The cameras at the size of the pictures that were looked at.
        detections: By camera and frame; None where nobody was found.
        masks: By camera and frame, ``(H, W)``.
    """

    records: list[CameraRecord]
    detections: list[list[FrameDetection | None]]
    masks: list[list[NDArray[np.uint8]]]


def look_at_pictures(
    importer: Importer, take: SourceTake, cameras: Sequence[SourceCamera], indices: Sequence[int]
) -> SeenPictures | None:
    """Find the person in the pictures of some cameras of a take.

    Args:
        importer: Reads the take.
        take: The take.
        cameras: Cameras that are imported.
        indices: Frames that are imported.

    Returns:
        Landmarks and masks of cameras spread far apart; None with one camera only.

    Raises:
        MissingAssetError: MediaPipe is not installed.
    """
    if len(cameras) < 2:
        return None
    from lca_lightning.preprocessing.detection import PersonDetector

    chosen = choose_cameras(cameras, [str(_CAMERAS)])
    changes = [PictureChange(camera, importer.pixel_center, _SIDE) for camera in chosen]
    seen: list[list[FrameDetection | None]] = []
    masks: list[list[NDArray[np.uint8]]] = []
    detector = PersonDetector()
    try:
        bar = tqdm(total=len(chosen) * len(indices), desc="joints", unit="picture", leave=False)
        for change in changes:
            found: list[FrameDetection | None] = []
            outlines: list[NDArray[np.uint8]] = []
            for image, mask in importer.frames(take, change.camera, indices):
                if image.dtype == np.uint16:
                    image = _shown(image, take.linear_white)
                shown, outline = change.apply(image, mask)
                found.append(_detect(detector, shown, outline))
                outlines.append(outline)
                bar.update()
            seen.append(found)
            masks.append(outlines)
        bar.close()
    finally:
        detector.close()
    return SeenPictures([change.record for change in changes], seen, masks)


def body_in_pictures(
    importer: Importer, take: SourceTake, cameras: Sequence[SourceCamera], indices: Sequence[int]
) -> MeshBody | JointsBody | None:
    """Find the person's joints, and the surface that the masks leave, in the pictures of a take.

    Args:
        importer: Reads the take.
        take: The take.
        cameras: Cameras that are imported.
        indices: Frames that are imported.

    Returns:
        MediaPipe's body joints in metres, NaN where fewer than two cameras agree, with points on the visual
        hull where at least four cameras look; None with one camera only.

    Raises:
        MissingAssetError: MediaPipe is not installed.
    """
    seen = look_at_pictures(importer, take, cameras, indices)
    if seen is None:
        return None
    joints = _triangulated(seen, len(indices))
    hulls = [
        hull_points(seen.records, [outlines[frame] for outlines in seen.masks], joints.positions_TP3[frame])
        for frame in range(len(indices))
    ]
    if any(hull is None for hull in hulls):
        return joints
    return MeshBody("hull", np.stack([hull for hull in hulls if hull is not None]), joints)


def _shown(deep_HW3: np.ndarray, linear_white: float) -> np.ndarray:
    from lca_lightning.datasets.linear_light import linear_to_srgb8

    return linear_to_srgb8(deep_HW3, linear_white)


def _detect(detector: object, image_HW3: np.ndarray, mask_HW: NDArray[np.uint8]) -> FrameDetection | None:
    """Landmarks of the person under the mask."""
    rows, columns = np.nonzero(mask_HW > 127)
    if len(rows) < 100:
        return None
    center = (columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2
    size = 1.2 * max(np.ptp(rows), np.ptp(columns))
    first = detector.body(image_HW3, PersonBox(center, float(size), 0.0, 1.0))  # type: ignore[attr-defined]
    if first is None:
        return None
    second = detector.body(image_HW3, first[1]) or first  # type: ignore[attr-defined]
    detection: FrameDetection = second[0]
    return detection


def _triangulated(seen: SeenPictures, frames: int) -> JointsBody:
    cameras = [
        SourceCamera(record.name, record.width, record.height, record.K_33, record.w2c_44)
        for record in seen.records
    ]
    count = len(BODY_LANDMARKS)
    positions, confidence = np.full((frames, count, 3), np.nan), np.zeros((frames, count))
    for frame in range(frames):
        found = [detections[frame] for detections in seen.detections]
        rows = [
            (camera, None if one is None else np.array(one.body_P3, np.float64))
            for camera, one in zip(cameras, found, strict=True)
        ]
        joints = triangulate_joints(rows, _FARTHEST)
        if joints is not None:
            positions[frame], confidence[frame] = joints
    return JointsBody(BODY_LANDMARKS, positions, confidence)
