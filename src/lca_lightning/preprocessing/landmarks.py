"""What a detector says about one person in one picture, and the names of its landmarks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]

BODY_LANDMARKS = (
    "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer",
    "left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_pinky", "right_pinky", "left_index", "right_index",
    "left_thumb", "right_thumb", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle", "left_heel", "right_heel", "left_foot_index", "right_foot_index",
)  # fmt: skip
BODY_INDEX = {name: index for index, name in enumerate(BODY_LANDMARKS)}
BODY_COUNT, HAND_COUNT, FACE_COUNT = 33, 21, 478
_SIDE_EDGES = (
    ("shoulder", "elbow"), ("elbow", "wrist"), ("wrist", "index"), ("wrist", "pinky"), ("shoulder", "hip"),
    ("hip", "knee"), ("knee", "ankle"), ("ankle", "heel"), ("heel", "foot_index"), ("ear", "shoulder"),
)  # fmt: skip
_OTHER_EDGES = (
    ("left_ear", "nose"), ("right_ear", "nose"),
    ("left_shoulder", "right_shoulder"), ("left_hip", "right_hip"),
)  # fmt: skip
SKELETON_EDGES = tuple(
    (BODY_INDEX[f"{side}_{first}"], BODY_INDEX[f"{side}_{second}"])
    for side in ("left", "right")
    for first, second in _SIDE_EDGES
) + tuple((BODY_INDEX[first], BODY_INDEX[second]) for first, second in _OTHER_EDGES)


@dataclass(frozen=True)
class PersonBox:
    """Where a person stands in a picture: a rotated square, as pose networks take it.

    Attributes:
        center: Pixels (x, y).
        size: Side of the square in pixels; about 1.25 times the person's extent.
        rotation: Radians, clockwise, 0 for an upright person.
        score: Confidence in [0, 1].
    """

    center: tuple[float, float]
    size: float
    rotation: float
    score: float


@dataclass(frozen=True)
class FrameDetection:
    """One person in one picture; NaN marks what was not found.

    Attributes:
        body_P3: Pixels x, y (centres at +0.5) and confidence in [0, 1], ``(33, 3)``.
        world_P3: Rough metric positions about the hips' middle, camera axes (x right, y down, z away),
            ``(33, 3)``.
        hands_2P3: Left then right hand: pixels and depth relative to the wrist in pixels, ``(2, 21, 3)``.
        face_P3: Pixels and relative depth of 468 face and 10 iris landmarks, ``(478, 3)``.
        mask_HW: Person probability as uint8 0..255, ``(H, W)``.
    """

    body_P3: FloatArray
    world_P3: FloatArray
    hands_2P3: FloatArray
    face_P3: FloatArray
    mask_HW: NDArray[np.uint8]

    @property
    def found(self) -> bool:
        """Whether a person was found at all."""
        return bool(np.isfinite(self.body_P3).all())


def empty_detection(height: int, width: int) -> FrameDetection:
    """The detection of a picture without a person."""
    return FrameDetection(
        np.full((BODY_COUNT, 3), np.nan),
        np.full((BODY_COUNT, 3), np.nan),
        np.full((2, HAND_COUNT, 3), np.nan),
        np.full((FACE_COUNT, 3), np.nan),
        np.zeros((height, width), np.uint8),
    )
