"""Gaze per eye in the head frame, from iris landmarks."""

from __future__ import annotations

import numpy as np

from lca_lightning.preprocessing.landmarks import FloatArray

# Iris centre, inner and outer corner, upper and lower lid in the 478-point mesh; the person's own left and
# right.
_EYES = ((473, 362, 263, 386, 374), (468, 133, 33, 159, 145))
_FOREHEAD, _CHIN = 10, 152
NOSE_BASE = 2
# Eyeball radius over the width of the eye opening (12 mm over 30 mm), smallest width in pixels, smallest
# opening.
EYEBALL, SMALLEST_EYE, SMALLEST_OPENING = 0.4, 9.0, 0.12
MOST_SINE = 0.7
MOST_TURNED = 0.5


def head_axes(face_TP3: FloatArray, below: int = _CHIN) -> FloatArray:
    """Axes of the head in picture space (x right, y down, z away) from face landmarks.

    Args:
        face_TP3: Landmarks in pixels with relative depth, ``(T, 478, 3)``.
        below: Landmark that defines "down" from the forehead; the nose's base does not move with the jaw but
            tilts the axes by a constant.

    Returns:
        Rows are the person's left, up and forward, ``(T, 3, 3)``.
    """
    left = _unit(face_TP3[:, 263] - face_TP3[:, 33])
    up = face_TP3[:, _FOREHEAD] - face_TP3[:, below]
    up = _unit(up - (up * left).sum(-1, keepdims=True) * left)
    # The picture's axes are right-handed (x right, y down, z away), so left x up points out of the face.
    return np.stack([left, up, np.cross(left, up)], 1)


def estimate_gaze(face_TP3: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Gaze of both eyes and how large the eyes appear.

    Args:
        face_TP3: Landmarks of one camera, NaN without a face, ``(T, 478, 3)``.

    Returns:
        ``(T, 8)``: left eye's unit vector in the head frame (x to the person's left, y up, z forward), its
        validity,
        then the right eye's; and the mean eye width in pixels, 0 where nothing is valid, ``(T,)``.
    """
    frames = len(face_TP3)
    gaze = np.zeros((frames, 8))
    gaze[:, [2, 6]] = 1.0
    size = np.zeros(frames)
    found = np.isfinite(face_TP3).all((1, 2))
    if not found.any():
        return gaze, size
    face = face_TP3[found]
    axes = head_axes(face)
    facing = -axes[:, 2, 2] > MOST_TURNED
    for slot, (iris, inner, outer, upper, lower) in enumerate(_EYES):
        width = np.linalg.norm(face[:, outer] - face[:, inner], axis=-1)
        opening = np.linalg.norm(face[:, upper] - face[:, lower], axis=-1) / np.maximum(width, 1e-9)
        offset = face[:, iris] - 0.5 * (face[:, inner] + face[:, outer])
        # The mesh gives the iris the depth of the eyelids: only its motion across the face is a measurement.
        sines = np.einsum("tac,tc->ta", axes[:, :2], offset) / (EYEBALL * width[:, None])
        length = np.linalg.norm(sines, axis=1, keepdims=True)
        sines = sines * np.minimum(1.0, MOST_SINE / np.maximum(length, 1e-9))
        direction = np.concatenate([sines, np.sqrt(1 - (sines**2).sum(1, keepdims=True))], 1)
        valid = facing & (width > SMALLEST_EYE) & (opening > SMALLEST_OPENING)
        rows = np.flatnonzero(found)[valid]
        gaze[rows, 4 * slot : 4 * slot + 3] = direction[valid]
        gaze[rows, 4 * slot + 3] = 1.0
        size[rows] += 0.5 * width[valid]
    return gaze, size


def combine_gaze(faces_CTP3: list[FloatArray]) -> FloatArray:
    """Gaze from the camera that sees the eyes largest in each frame, ``(T, 8)``."""
    estimates = [estimate_gaze(face) for face in faces_CTP3]
    best = np.argmax(np.stack([size for _, size in estimates]), axis=0)
    return np.stack([gaze for gaze, _ in estimates])[best, np.arange(len(best))]


def _unit(vectors: FloatArray) -> FloatArray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
