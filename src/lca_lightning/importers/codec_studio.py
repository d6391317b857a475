"""What Goliath and Ava-256 share: calibrations, pictures in archives, black level and white balance.

Layout after the data sheets of both sets. Matrices are stored transposed and in millimetres; pixel centres
lie at integers; calibrations are for 2668x4096 pictures, released pictures are smaller.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lca_lightning.calibration.axes import turn_to_y_up
from lca_lightning.calibration.opencv import cv2
from lca_lightning.errors import DataError
from lca_lightning.importers.reading import (
    numbered_members,
    picture_size,
    read_json_file,
    read_labels,
    read_member,
    read_picture,
    snapped_up_axis,
)
from lca_lightning.importers.source import FloatArray, SourceCamera

CALIBRATED_SIZE = (2668, 4096)  # width and height that the intrinsics are for
BLACK_LEVEL = np.array([2.0, 1.0, 2.0])
WHITE_BALANCE = np.array([1.4, 1.1, 1.6])
MILLIMETRES = 0.001
PICTURE_SUFFIX = "(?:avif|png|jpg)"


def read_cameras(folder: Path) -> tuple[list[SourceCamera], FloatArray]:
    """Cameras that have a picture archive, and the rotation of the set's world to ours.

    Args:
        folder: Holds ``camera_calibration.json`` and ``image/cam<ID>.zip``.

    Returns:
        Cameras at the size of their pictures, and ``(3, 3)``.

    Raises:
        DataError: The calibration is broken, or belongs to pictures of another shape.
    """
    entries = read_json_file(folder / "camera_calibration.json")
    try:
        rows = {str(entry["cameraId"]): entry for entry in entries["KRT"]}
        extrinsics = {name: np.array(entry["T"], np.float64).T for name, entry in rows.items()}
        if not rows or any(matrix.shape != (4, 4) for matrix in extrinsics.values()):
            raise ValueError("T must be 4x4")
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{folder / 'camera_calibration.json'} is not as documented ({error}); get it again."
        ) from error
    turn = turn_to_y_up(snapped_up_axis([matrix[:3, :3] for matrix in extrinsics.values()]), {})
    cameras = []
    for name in sorted(rows):
        archive = folder / "image" / f"cam{name}.zip"
        if archive.is_file():
            cameras.append(_camera(name, rows[name], extrinsics[name], archive, turn))
    if not cameras:
        raise DataError(f"{folder / 'image'} holds no archive cam<ID>.zip of a calibrated camera.")
    return cameras, turn


def _camera(
    name: str, entry: dict[str, Any], extrinsic_44: FloatArray, archive: Path, turn_33: FloatArray
) -> SourceCamera:
    members = numbered_members(archive, PICTURE_SUFFIX)
    if not members:
        raise DataError(f"{archive} holds no pictures; get it again.")
    first = members[min(members)]
    width, height = picture_size(read_member(archive, first), first)
    factors = width / CALIBRATED_SIZE[0], height / CALIBRATED_SIZE[1]
    if abs(factors[0] / factors[1] - 1) > 0.01:
        raise DataError(
            f"Pictures of camera {name} are {width}x{height}, which is no reduction of the "
            f"{CALIBRATED_SIZE[0]}x{CALIBRATED_SIZE[1]} pictures of the calibration."
        )
    K_33 = np.array(entry["K"], np.float64).T
    for row, factor in enumerate(factors):
        K_33[row, row] *= factor
        K_33[row, 2] = (K_33[row, 2] + 0.5) * factor - 0.5
    w2c_44 = np.eye(4)
    w2c_44[:3, :3] = extrinsic_44[:3, :3] @ turn_33.T
    w2c_44[:3, 3] = extrinsic_44[:3, 3] * MILLIMETRES
    distortion = np.array(entry.get("distortion", []), np.float64)
    return SourceCamera(f"cam{name}", width, height, K_33, w2c_44, distortion)


def to_world(points_millimetres: FloatArray, turn_33: FloatArray) -> FloatArray:
    """Points of the set in our world, metres."""
    return points_millimetres @ turn_33.T * MILLIMETRES


def linear_picture(raw_HW3: NDArray[np.uint8]) -> FloatArray:
    """Linear light in [0, 1]: black level subtracted, white balanced, clipped as the set's own code does."""
    return np.clip((raw_HW3.astype(np.float64) - BLACK_LEVEL) * WHITE_BALANCE / 255.0, 0.0, 1.0)


def camera_pictures(
    archive: Path, masks: Path, frames: Sequence[int], not_person: Sequence[int] = (0,)
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8] | None]]:
    """Raw pictures of one camera with their masks.

    Args:
        archive: Pictures.
        masks: Segmentations; a frame without one takes that of the nearest frame in time that has one.
        frames: Frame numbers of the set.
        not_person: Classes that are not the person.

    Returns:
        uint8 ``(H, W, 3)`` and 255 where the person is, None without the archive of masks.
    """
    pictures = numbered_members(archive, PICTURE_SUFFIX)
    labels = numbered_members(masks, "png") if masks.is_file() else {}
    numbers = np.array(sorted(labels), np.int64)
    for frame in frames:
        if frame not in pictures:
            raise DataError(f"{archive} holds no picture of frame {frame}; get it again.")
        image = read_picture(read_member(archive, pictures[frame]), pictures[frame])
        if not len(numbers):
            yield image, None
            continue
        member = labels[int(numbers[np.abs(numbers - frame).argmin()])]
        classes = read_labels(read_member(masks, member), member)
        yield image, _resized(np.where(np.isin(classes, not_person), 0, 255).astype(np.uint8), image)


def _resized(mask_HW: NDArray[np.uint8], image_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Some releases hold masks at half the pictures' size."""
    height, width = image_HW3.shape[:2]
    if mask_HW.shape == (height, width):
        return mask_HW
    if abs(mask_HW.shape[0] * width / (mask_HW.shape[1] * height) - 1) > 0.01:
        return mask_HW  # of another shape: the frame refuses it by name
    return np.asarray(cv2.resize(mask_HW, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
