"""A body found in a set's own pictures: joints of several cameras triangulated, with the visual hull."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lca_lightning.importers.picture_changes import PictureChange
from lca_lightning.importers.selection import choose_cameras
from lca_lightning.importers.source import (
    FloatArray,
    Importer,
    JointsBody,
    MeshBody,
    SourceCamera,
    SourceTake,
)
from lca_lightning.importers.triangulated_joints import triangulate_joints
from lca_lightning.importers.visual_hull import hull_points
from lca_lightning.preprocessing.landmarks import BODY_LANDMARKS, PersonBox

_CAMERAS, _SIDE = 8, 768  # cameras that are looked at, spread far apart, and their pictures' longer side
_FARTHEST = 30.0  # pixels at a picture 1000 high: detections are less exact than annotations


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
    if len(cameras) < 2:
        return None
    from lca_lightning.preprocessing.detection import PersonDetector

    chosen = choose_cameras(cameras, [str(_CAMERAS)])
    changes = [PictureChange(camera, importer.pixel_center, _SIDE) for camera in chosen]
    seen: list[list[FloatArray | None]] = []
    masks: list[list[NDArray[np.uint8]]] = []
    detector = PersonDetector()
    try:
        bar = tqdm(total=len(chosen) * len(indices), desc="joints", unit="picture", leave=False)
        for change in changes:
            found: list[FloatArray | None] = []
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
    joints = _triangulated(changes, seen, len(indices))
    records = [change.record for change in changes]
    hulls = [
        hull_points(records, [outlines[frame] for outlines in masks], joints.positions_TP3[frame])
        for frame in range(len(indices))
    ]
    if any(hull is None for hull in hulls):
        return joints
    return MeshBody("hull", np.stack([hull for hull in hulls if hull is not None]), joints)


def _shown(deep_HW3: np.ndarray, linear_white: float) -> np.ndarray:
    from lca_lightning.datasets.linear_light import linear_to_srgb8

    return linear_to_srgb8(deep_HW3, linear_white)


def _detect(detector: object, image_HW3: np.ndarray, mask_HW: NDArray[np.uint8]) -> FloatArray | None:
    """Landmarks of the person under the mask, ``(33, 3)``."""
    rows, columns = np.nonzero(mask_HW > 127)
    if len(rows) < 100:
        return None
    center = (columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2
    size = 1.2 * max(np.ptp(rows), np.ptp(columns))
    first = detector.body(image_HW3, PersonBox(center, float(size), 0.0, 1.0))  # type: ignore[attr-defined]
    if first is None:
        return None
    second = detector.body(image_HW3, first[1]) or first  # type: ignore[attr-defined]
    body_P3: FloatArray = np.array(second[0].body_P3, np.float64)
    return body_P3


def _triangulated(
    changes: Sequence[PictureChange], seen: Sequence[Sequence[FloatArray | None]], frames: int
) -> JointsBody:
    cameras = [
        SourceCamera(change.record.name, *change.size, change.record.K_33, change.record.w2c_44)
        for change in changes
    ]
    count = len(BODY_LANDMARKS)
    positions, confidence = np.full((frames, count, 3), np.nan), np.zeros((frames, count))
    for frame in range(frames):
        rows = [(camera, found[frame]) for camera, found in zip(cameras, seen, strict=True)]
        joints = triangulate_joints(rows, _FARTHEST)
        if joints is not None:
            positions[frame], confidence[frame] = joints
    return JointsBody(BODY_LANDMARKS, positions, confidence)
