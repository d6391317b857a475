"""The 308 points of Sapiens' pose networks and their first 70, which SAM-3D-Body reports, in our names.

Points 0-20 are the body, 21-41 the right and 42-62 the left hand with each finger from its tip to its base
and the wrist last, 63-69 elbows' folds, shoulders' tops and neck, 70-219 the face, 220-271 the ears, 272-289
both irises, 290-307 both pupils.
"""

from __future__ import annotations

import numpy as np

from lca_lightning.preprocessing.landmarks import (
    BODY_COUNT,
    BODY_INDEX,
    FACE_COUNT,
    HAND_COUNT,
    FloatArray,
)

POINT_COUNT, SAM_COUNT = 308, 70
FACE_POINTS = slice(70, 220)
_RIGHT_HAND, _LEFT_HAND = 21, 42
_BODY = {
    "nose": 0, "left_eye": 1, "right_eye": 2, "left_ear": 3, "right_ear": 4, "left_shoulder": 5,
    "right_shoulder": 6, "left_elbow": 7, "right_elbow": 8, "left_hip": 9, "right_hip": 10, "left_knee": 11,
    "right_knee": 12, "left_ankle": 13, "right_ankle": 14, "left_heel": 17, "right_heel": 20,
    "right_wrist": 41, "left_wrist": 62,
    # Knuckles where fingers begin, and the thumb's last joint.
    "left_index": 49, "left_pinky": 61, "left_thumb": 43,
    "right_index": 28, "right_pinky": 40, "right_thumb": 22,
}  # fmt: skip
_FACE = {
    "left_eye_inner": 96, "left_eye_outer": 97, "right_eye_inner": 120, "right_eye_outer": 121,
    "mouth_left": 189, "mouth_right": 188,
}  # fmt: skip
# The tip of the foot lies between big and small toe.
_TOES = {"left_foot_index": (15, 16), "right_foot_index": (18, 19)}
_BIG_TOE_SHARE = 0.7
# Points of the 478-point face mesh: corners, lids and centres of the eyes, corners and inner lips of the
# mouth, brows, chin, base of the nose.
_MESH = {
    362: 96, 263: 97, 386: 98, 374: 146, 133: 120, 33: 121, 159: 122, 145: 163, 473: 272, 468: 281,
    291: 189, 61: 188, 13: 206, 14: 207, 152: 77, 2: 179, 1: 178, 285: 87, 55: 78,
}  # fmt: skip


def body_landmarks(points_TKD: FloatArray) -> FloatArray:
    """Our 33 body landmarks from the points.

    Args:
        points_TKD: Pixels or metres, with or without a confidence as the last value, ``(T, 308 or 70, D)``.

    Returns:
        ``(T, 33, D)``; corners of eyes and mouth are NaN when there are only 70 points.
    """
    body = np.full((len(points_TKD), BODY_COUNT, points_TKD.shape[2]), np.nan)
    names = {**_BODY, **(_FACE if points_TKD.shape[1] == POINT_COUNT else {})}
    for name, index in names.items():
        body[:, BODY_INDEX[name]] = points_TKD[:, index]
    for name, (big, small) in _TOES.items():
        toes = _BIG_TOE_SHARE * points_TKD[:, big] + (1 - _BIG_TOE_SHARE) * points_TKD[:, small]
        body[:, BODY_INDEX[name]] = toes
    return body


def hand_landmarks(points_TKD: FloatArray) -> FloatArray:
    """Left then right hand, wrist first and each finger from its base to its tip, ``(T, 2, 21, D)``."""
    hands = np.full((len(points_TKD), 2, HAND_COUNT, points_TKD.shape[2]), np.nan)
    for side, start in enumerate((_LEFT_HAND, _RIGHT_HAND)):
        hands[:, side, 0] = points_TKD[:, start + 20]
        for finger in range(5):
            for segment in range(4):
                hands[:, side, 1 + 4 * finger + segment] = points_TKD[:, start + 4 * finger + 3 - segment]
    return hands


def face_mesh(points_TKD: FloatArray) -> FloatArray:
    """The few points of the 478-point mesh that have a counterpart, NaN elsewhere, ``(T, 478, 3)``.

    Their depth is unknown and NaN, so they give a face box and neither gaze nor expression.
    """
    mesh = np.full((len(points_TKD), FACE_COUNT, 3), np.nan)
    for vertex, index in _MESH.items():
        mesh[:, vertex, :2] = points_TKD[:, index, :2]
    return mesh
