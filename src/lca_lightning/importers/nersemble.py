"""NeRSemble v2: heads of more than 400 people, 16 cameras at 73 frames a second.

Layout after tobias-kirschstein/nersemble-data: ``PERSON/calibration/camera_params.json`` (world to camera,
OpenCV axes, one intrinsic matrix for 2200x3208 pictures) and ``PERSON/sequences/NAME/images/cam_SERIAL.mp4``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lca_lightning.calibration.axes import turn_to_y_up
from lca_lightning.calibration.opencv import cv2
from lca_lightning.errors import DataError, LCAError
from lca_lightning.importers.reading import (
    read_json_file,
    read_picture,
    snapped_up_axis,
    video_frames,
)
from lca_lightning.importers.source import BrokenTake, Importer, SourceCamera, SourceTake
from lca_lightning.preprocessing.frames import SourceVideo

CALIBRATED_SIZE = (2200, 3208)  # width and height that the intrinsics are for
BACKGROUND = "BACKGROUND"
FRAME_RATE = 73.0
_DIFFERENCE = 24  # of 255: what differs less from the empty stage is stage


class NeRSembleImporter(Importer):
    """Reads the videos; the person is what differs from the picture of the empty stage."""

    name = "nersemble"
    title = "NeRSemble v2"
    licence = "NeRSemble terms of use (research)"
    terms_url = "https://github.com/tobias-kirschstein/nersemble-data"
    access = "form"
    kind = "studio"
    pixel_center = 0.0
    expects = "PERSON/calibration/camera_params.json and PERSON/sequences/NAME/images/cam_SERIAL.mp4"

    def __init__(self, source: Path | str) -> None:
        super().__init__(source)
        places = [self.source, *sorted(self.source.iterdir())]
        self._people = [p for p in places if (p / "calibration" / "camera_params.json").is_file()]
        if not self._people:
            raise self.not_this_set("no folder holds calibration/camera_params.json")

    def takes(self) -> Iterator[SourceTake | BrokenTake]:
        """One take a sequence of a person."""
        for person in self._people:
            sequences = person / "sequences"
            for folder in sorted(sequences.iterdir()) if sequences.is_dir() else []:
                if folder.name == BACKGROUND or not folder.is_dir():
                    continue
                try:
                    yield self._take(person, folder)
                except (LCAError, OSError) as error:
                    yield BrokenTake(f"{person.name}-{folder.name}", str(error))

    def _take(self, person: Path, folder: Path) -> SourceTake:
        known = read_json_file(person / "calibration" / "camera_params.json")
        try:
            K_33 = np.array(known["intrinsics"], np.float64)
            poses = {str(serial): np.array(pose, np.float64) for serial, pose in known["world_2_cam"].items()}
            if K_33.shape != (3, 3) or not poses or any(pose.shape != (4, 4) for pose in poses.values()):
                raise ValueError("world_2_cam must be 4x4 and intrinsics 3x3")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"The calibration of {person.name} is not as documented ({error}); get it again."
            ) from error
        turn = turn_to_y_up(snapped_up_axis([pose[:3, :3] for pose in poses.values()]), {})
        cameras, lengths = [], []
        for serial, pose in sorted(poses.items()):
            path = folder / "images" / f"cam_{serial}.mp4"
            if not path.is_file():
                continue
            video = SourceVideo(path)
            cameras.append(_camera(serial, K_33, pose, turn, video))
            lengths.append(video.frame_count)
        if not cameras:
            raise DataError(f"{folder} holds no video images/cam_SERIAL.mp4 of a calibrated camera.")
        name = f"{person.resolve().name}-{folder.name}"
        return SourceTake(
            name, person.resolve().name, tuple(cameras), min(lengths), FRAME_RATE, folder, color="srgb"
        )

    def frames(
        self, take: SourceTake, camera: SourceCamera, indices: Sequence[int]
    ) -> Iterator[tuple[np.ndarray, NDArray[np.uint8] | None]]:
        """Frames of one video."""
        serial = camera.name.removeprefix("cam_")
        empty = take.folder.parent / BACKGROUND / f"image_{serial}.jpg"
        stage = read_picture(empty) if empty.is_file() else None
        for image in video_frames(SourceVideo(take.folder / "images" / f"cam_{serial}.mp4"), indices):
            yield image, None if stage is None else difference_mask(image, stage)


def _camera(
    serial: str, K_33: np.ndarray, pose_44: np.ndarray, turn_33: np.ndarray, video: SourceVideo
) -> SourceCamera:
    """The calibration at the size of the video."""
    factors = video.width / CALIBRATED_SIZE[0], video.height / CALIBRATED_SIZE[1]
    if abs(factors[0] / factors[1] - 1) > 0.01:
        raise DataError(
            f"The video of camera {serial} is {video.width}x{video.height}, which is no reduction of the "
            f"{CALIBRATED_SIZE[0]}x{CALIBRATED_SIZE[1]} pictures of the calibration."
        )
    smaller, w2c_44 = K_33.copy(), np.eye(4)
    for row, factor in enumerate(factors):
        smaller[row] = K_33[row] * factor
        smaller[row, 2] = (K_33[row, 2] + 0.5) * factor - 0.5
    w2c_44[:3, :3] = pose_44[:3, :3] @ turn_33.T
    w2c_44[:3, 3] = pose_44[:3, 3]
    return SourceCamera(f"cam_{serial}", video.width, video.height, smaller, w2c_44)


def difference_mask(image_HW3: NDArray[np.uint8], stage_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What differs from the empty stage: its largest piece, holes filled.

    Args:
        image_HW3: Picture with the person.
        stage_HW3: Picture of the same camera without; another size is resampled.

    Returns:
        255 on the person, ``(H, W)``.
    """
    height, width = image_HW3.shape[:2]
    if stage_HW3.shape != image_HW3.shape:
        stage_HW3 = np.asarray(cv2.resize(stage_HW3, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    size = max(3, round(max(height, width) / 400)) | 1
    blurred = [
        cv2.GaussianBlur(picture, (size, size), 0).astype(np.int16) for picture in (image_HW3, stage_HW3)
    ]
    differs = (np.abs(blurred[0] - blurred[1]).max(-1) > _DIFFERENCE).astype(np.uint8)
    differs = cv2.morphologyEx(differs, cv2.MORPH_CLOSE, np.ones((2 * size + 1, 2 * size + 1), np.uint8))
    contours, _ = cv2.findContours(differs, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    mask = np.zeros((height, width), np.uint8)
    if contours:
        cv2.drawContours(mask, [max(contours, key=cv2.contourArea)], -1, (255.0,), cv2.FILLED)
    return mask
