"""Who is in a clip: candidates in sampled frames, linked into tracks; the main person and everybody else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lca_lightning.preprocessing.landmarks import (
    BODY_INDEX,
    FloatArray,
    FrameDetection,
    PersonBox,
)

# Somebody else counts when at least this large compared with the main person; smaller is a bystander far
# behind.
COMPARABLE = 0.65
_CORE = [BODY_INDEX[f"{side}_{part}"] for side in ("left", "right") for part in ("shoulder", "hip", "knee")]


class Detector(Protocol):
    """What people need from a detector."""

    def people(self, image_HW3: NDArray[np.uint8]) -> list[PersonBox]: ...

    def body(
        self, image_HW3: NDArray[np.uint8], box: PersonBox
    ) -> tuple[FrameDetection, PersonBox] | None: ...


@dataclass(frozen=True)
class Sighting:
    """One verified person in one frame.

    Attributes:
        body_P3: Landmarks in pixels with confidence, ``(33, 3)``.
        box: Box for the landmark network.
        scale: Size in pixels that does not depend on the pose: 4.3 torso lengths or the extent, if larger.
    """

    body_P3: FloatArray
    box: PersonBox
    scale: float


@dataclass
class Track:
    """One person over the sampled frames: frame index to sighting."""

    sightings: dict[int, Sighting] = field(default_factory=dict)

    @property
    def weight(self) -> float:
        """How present the person is: the sum of sizes over frames."""
        return float(sum(sighting.scale for sighting in self.sightings.values()))

    @property
    def scale(self) -> float:
        """Median size in pixels."""
        return float(np.median([sighting.scale for sighting in self.sightings.values()]))


def person_scale(body_P3: FloatArray) -> float:
    """Apparent stature in pixels from landmarks ``(33, 3)``, even when bent, foreshortened or partly out of
    view.
    """
    shoulders, hips = body_P3[11:13, :2].mean(0), body_P3[23:25, :2].mean(0)
    extent = np.ptp(body_P3[:, :2], axis=0).max()
    return float(max(3.3 * np.linalg.norm(shoulders - hips), extent))


def candidate_boxes(detector: Detector, image_HW3: NDArray[np.uint8]) -> list[PersonBox]:
    """Person boxes from the whole picture and from overlapping tiles, so that small people are seen too."""
    height, width = image_HW3.shape[:2]
    boxes = list(detector.people(image_HW3))
    tile = int(0.6 * max(height, width))
    for top in _tile_starts(height, tile):
        for left in _tile_starts(width, tile):
            for box in detector.people(image_HW3[top : top + tile, left : left + tile]):
                center = (box.center[0] + left, box.center[1] + top)
                boxes.append(PersonBox(center, box.size, box.rotation, box.score))
    return boxes


def _tile_starts(length: int, tile: int) -> list[int]:
    if length <= tile * 1.1:
        return [0]
    count = int(np.ceil((length - tile) / (0.5 * tile))) + 1
    return [int(start) for start in np.linspace(0, length - tile, count)]


def find_people(detector: Detector, image_HW3: NDArray[np.uint8]) -> list[Sighting]:
    """Everybody in a picture, each confirmed by the landmark network.

    Args:
        detector: Gives candidates and landmarks.
        image_HW3: RGB picture, ``(H, W, 3)``.

    Returns:
        Distinct people, largest first.
    """
    sightings: list[Sighting] = []
    for box in sorted(candidate_boxes(detector, image_HW3), key=lambda box: -box.score):
        if any(_covers(sighting, box) for sighting in sightings):
            continue
        result = detector.body(image_HW3, box)
        refined = detector.body(image_HW3, result[1]) if result is not None else None
        if refined is None or not _looks_like_person(refined[0]):
            continue
        detection, next_box = refined
        sighting = Sighting(detection.body_P3, next_box, person_scale(detection.body_P3))
        if all(landmark_distance(sighting.body_P3, other.body_P3) > 0.2 * other.scale for other in sightings):
            sightings.append(sighting)
    return sorted(sightings, key=lambda sighting: -sighting.scale)


def _covers(sighting: Sighting, box: PersonBox) -> bool:
    hips = sighting.body_P3[23:25, :2].mean(0)
    near = np.hypot(hips[0] - box.center[0], hips[1] - box.center[1]) < 0.12 * box.size
    return bool(near and 0.6 < sighting.box.size / box.size < 1.7)


def _looks_like_person(detection: FrameDetection) -> bool:
    """Confident torso and legs whose landmarks lie on the mask."""
    body = detection.body_P3
    core = body[_CORE]
    if np.median(core[:, 2]) < 0.5:
        return False
    height, width = detection.mask_HW.shape
    inside = (core[:, 0] >= 0) & (core[:, 0] < width) & (core[:, 1] >= 0) & (core[:, 1] < height)
    if inside.sum() < 4:
        return False
    pixels = core[inside, :2].astype(int)
    return bool((detection.mask_HW[pixels[:, 1], pixels[:, 0]] > 127).mean() > 0.6)


def landmark_distance(first_P3: FloatArray, second_P3: FloatArray) -> float:
    """Mean distance in pixels between two bodies' shoulders and hips; arms and legs move too freely to
    tell.
    """
    torso = [11, 12, 23, 24]
    return float(np.linalg.norm(first_P3[torso, :2] - second_P3[torso, :2], axis=1).mean())


def link_tracks(sampled: dict[int, list[Sighting]], max_jump: float = 0.6) -> list[Track]:
    """Join sightings of sampled frames into people.

    Args:
        sampled: Frame index to the people seen there.
        max_jump: Largest move between two samples as a share of the person's size.

    Returns:
        Tracks, the most present person first.
    """
    tracks: list[Track] = []
    for frame in sorted(sampled):
        pairs = []
        for index, sighting in enumerate(sampled[frame]):
            for track in tracks:
                last = track.sightings[max(track.sightings)]
                distance = landmark_distance(sighting.body_P3, last.body_P3) / max(sighting.scale, last.scale)
                if distance < max_jump and 0.5 < sighting.scale / last.scale < 2.0:
                    pairs.append((distance, index, track))
        taken: set[int] = set()
        for _, index, track in sorted(pairs, key=lambda pair: pair[0]):
            if index not in taken and frame not in track.sightings:
                track.sightings[frame] = sampled[frame][index]
                taken.add(index)
        for index, sighting in enumerate(sampled[frame]):
            if index not in taken:
                tracks.append(Track({frame: sighting}))
    return sorted(tracks, key=lambda track: -track.weight)
