"""Detections of one person over one camera's video, cached on disk so that a rerun resumes."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lca_lightning.calibration.opencv import cv2
from lca_lightning.preprocessing.frames import SourceVideo
from lca_lightning.preprocessing.landmarks import BODY_COUNT, FloatArray, PersonBox
from lca_lightning.preprocessing.masks import clean_mask
from lca_lightning.preprocessing.people import (
    COMPARABLE,
    Sighting,
    Track,
    find_people,
    landmark_distance,
    link_tracks,
    person_scale,
)
from lca_lightning.writing import write_atomically

CACHE_VERSION = 4
# Sampled frames for which somebody may go unnoticed between two sightings.
LONGEST_GAP = 5
Progress = Callable[[int], Any]


@dataclass(frozen=True)
class ClipDetections:
    """What was found of one person in one camera, per used frame; NaN where nothing was.

    Attributes:
        frames_T: Frame numbers in the source video, ``(T,)``.
        body_TP3: Body landmarks in pixels with confidence, ``(T, 33, 3)``.
        world_TP3: Rough metric body landmarks about the hips, camera axes, ``(T, 33, 3)``.
        hands_T2P3: Hand landmarks, ``(T, 2, 21, 3)``.
        face_TP3: Face and iris landmarks, ``(T, 478, 3)``.
        crowd_T: Whether another person of comparable size is in the picture, ``(T,)``.
        masks_png: The cleaned mask of every frame, losslessly packed.
        width: Pixels.
        height: Pixels.
        fps: Frames a second of the source video.
    """

    frames_T: NDArray[np.int64]
    body_TP3: FloatArray
    world_TP3: FloatArray
    hands_T2P3: FloatArray
    face_TP3: FloatArray
    crowd_T: NDArray[np.bool_]
    masks_png: tuple[bytes, ...]
    width: int
    height: int
    fps: float

    @property
    def found_T(self) -> NDArray[np.bool_]:
        """Frames in which the person was found, ``(T,)``."""
        return np.isfinite(self.body_TP3).all((1, 2))

    def mask(self, index: int) -> NDArray[np.uint8]:
        """Person probability 0..255 of the frame at position ``index``, ``(H, W)``."""
        return _unpack(self.masks_png[index])

    def save(self, path: Path) -> None:
        """Write to an ``.npz`` file, atomically."""
        lengths = np.array([len(mask) for mask in self.masks_png], np.int64)
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        arrays |= {
            "mask_lengths": lengths,
            "mask_bytes": np.frombuffer(b"".join(self.masks_png), np.uint8),
            "size": np.array([self.width, self.height]),
            "fps": np.array(self.fps),
        }
        content = io.BytesIO()  # numpy's own file handle complains once more when the disk is full
        np.savez(content, **arrays)
        write_atomically(path, lambda temporary: temporary.write_bytes(content.getbuffer()))

    @staticmethod
    def load(path: Path) -> ClipDetections:
        """Read what ``save`` wrote."""
        with np.load(path, allow_pickle=False) as data:
            stops = np.cumsum(data["mask_lengths"])
            packed = data["mask_bytes"].tobytes()
            masks = tuple(
                packed[int(e - n) : int(e)] for e, n in zip(stops, data["mask_lengths"], strict=True)
            )
            width, height = (int(value) for value in data["size"])
            frames, body, world, hands, face, crowd = (data[name] for name in _ARRAYS)
            size = (width, height)
            return ClipDetections(frames, body, world, hands, face, crowd, masks, *size, float(data["fps"]))


_ARRAYS = ("frames_T", "body_TP3", "world_TP3", "hands_T2P3", "face_TP3", "crowd_T")


def pack_mask(mask_HW: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", mask_HW, [cv2.IMWRITE_PNG_COMPRESSION, 2])[1].tobytes()


def _unpack(packed: bytes) -> NDArray[np.uint8]:
    mask = cv2.imdecode(np.frombuffer(packed, np.uint8), cv2.IMREAD_GRAYSCALE)
    return np.asarray(mask, np.uint8)


def cache_name(path: Path, *settings: object) -> str:
    """A name for cached results of a file: changes with the file's place, size and date, and with the
    settings.
    """
    stat = path.stat()
    key = f"{CACHE_VERSION}|{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|{settings}"
    return f"{path.stem}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.npz"


def sample_people(detector: Any, frames: Iterable[NDArray[np.uint8]], every: int) -> list[Track]:
    """Everybody in a video, from every ``every``-th frame.

    Args:
        detector: A ``PersonDetector``.
        frames: RGB pictures in order.
        every: Distance of the sampled frames.

    Returns:
        Tracks, the most present person first.
    """
    sampled: dict[int, list[Sighting]] = {}
    for index, image in enumerate(frames):
        if index % every == 0:
            sampled[index] = find_people(detector, image)
    return link_tracks(sampled)


def crowded_frames(track: Track, tracks: list[Track], count: int, every: int) -> NDArray[np.bool_]:
    """Frames in which somebody else is comparably large as the person of ``track``, ``(count,)``.

    A bystander far behind the subject does not count.
    """
    crowded = np.zeros(count, bool)
    others = [other for other in tracks if other is not track and other.scale >= COMPARABLE * track.scale]
    seen = sorted({frame for other in others for frame in other.sightings})
    for frame in seen:
        crowded[max(0, frame - every // 2) : frame + every // 2 + 1] = True
    # Somebody missed for a second in a dark corner is still there.
    for before, after in zip(seen, seen[1:], strict=False):
        if after - before <= LONGEST_GAP * every:
            crowded[before:after] = True
    return crowded


def detect_track(
    detector: Any,
    video: SourceVideo,
    track: Track,
    crowded: NDArray[np.bool_],
    stride: int,
    every: int,
    progress: Progress | None = None,
) -> ClipDetections:
    """Measure the person of a track in every ``stride``-th frame.

    Args:
        detector: A ``PersonDetector``.
        video: The frames.
        track: The person, seen in frames ``every`` apart.
        crowded: Per source frame, whether somebody else is there.
        stride: Distance of the frames used.
        every: Distance of the frames in which ``track`` was looked for.
        progress: Called with 1 per frame decoded.

    Returns:
        The detections.
    """
    rows: list[tuple[Any, ...]] = []
    frames: list[int] = []
    masks: list[bytes] = []
    box: PersonBox | None = None
    for index, image in enumerate(video):
        if progress is not None:
            progress(1)
        if index % stride:
            continue
        box = _seed_box(track, index, every, box)
        result = detector.body(image, box) if box is not None else None
        if result is not None and not _same_person(result[0].body_P3, track, index, every):
            seed = _seed_box(track, index, every, None)
            result = detector.body(image, seed) if seed is not None else None
        frames.append(index)
        if result is None:
            box = None
            rows.append(_blank_row())
            masks.append(pack_mask(np.zeros(image.shape[:2], np.uint8)))
            continue
        detection, box = result
        body = detection.body_P3
        rows.append((body, detection.world_P3, detector.hands(image, body), detector.face(image, body)))
        masks.append(pack_mask(clean_mask(detection.mask_HW, body, person_scale(body))))
    columns = [np.stack(column) for column in zip(*rows, strict=True)]
    numbers = np.array(frames, np.int64)
    crowd = crowded[np.minimum(numbers, len(crowded) - 1)]
    body, world, hands, face = columns
    size = (video.width, video.height)
    return ClipDetections(numbers, body, world, hands, face, crowd, tuple(masks), *size, video.fps)


def _blank_row() -> tuple[FloatArray, ...]:
    body = np.full((BODY_COUNT, 3), np.nan)
    return body, body.copy(), np.full((2, 21, 3), np.nan), np.full((478, 3), np.nan)


def _nearest(track: Track, index: int, every: int) -> Sighting | None:
    frame = min(track.sightings, key=lambda candidate: abs(candidate - index))
    return track.sightings[frame] if abs(frame - index) <= every else None


def _seed_box(track: Track, index: int, every: int, previous: PersonBox | None) -> PersonBox | None:
    nearest = _nearest(track, index, every)
    if nearest is None:
        return None
    return nearest.box if previous is None else previous


def _same_person(body_P3: FloatArray, track: Track, index: int, every: int) -> bool:
    nearest = _nearest(track, index, every)
    return nearest is not None and landmark_distance(body_P3, nearest.body_P3) < 0.5 * nearest.scale
