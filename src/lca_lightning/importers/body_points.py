"""Joints and vertices of other bodies, by name, as the landmarks that our rig is fitted to."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from lca_lightning.preprocessing.landmarks import BODY_COUNT, BODY_INDEX, BODY_LANDMARKS, HAND_COUNT
from lca_lightning.preprocessing.rig_landmarks import LANDMARK_COUNT

FloatArray = NDArray[np.floating]
_FINGER_START = {"thumb": 1, "index": 5, "forefinger": 5, "middle": 9, "ring": 13, "pinky": 17, "little": 17}
# Body landmarks that other skeletons also have; knuckles of the body list come from the hands instead.
_SHARED = (
    "nose", *(f"{side}_{part}" for side in ("left", "right") for part in (
        "eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle", "heel")),
)  # fmt: skip
# Vertices of the published meshes at places that have a name.
_SMPL_VERTICES = {
    "nose": 332, "right_eye": 6260, "left_eye": 2800, "right_ear": 4071, "left_ear": 583,
    "left_big_toe": 3216, "left_small_toe": 3226, "left_heel": 3387,
    "right_big_toe": 6617, "right_small_toe": 6624, "right_heel": 6787,
    "left_thumb_tip": 2746, "left_index_tip": 2319, "left_middle_tip": 2445, "left_ring_tip": 2556,
    "left_pinky_tip": 2673, "right_thumb_tip": 6191, "right_index_tip": 5782, "right_middle_tip": 5905,
    "right_ring_tip": 6016, "right_pinky_tip": 6133,
}  # fmt: skip
_SMPLX_VERTICES = {
    "nose": 9120, "right_eye": 9929, "left_eye": 9448, "right_ear": 616, "left_ear": 6,
    "left_big_toe": 5770, "left_small_toe": 5780, "left_heel": 8846,
    "right_big_toe": 8463, "right_small_toe": 8474, "right_heel": 8635,
    "left_thumb_tip": 5361, "left_index_tip": 4933, "left_middle_tip": 5058, "left_ring_tip": 5169,
    "left_pinky_tip": 5286, "right_thumb_tip": 8079, "right_index_tip": 7669, "right_middle_tip": 7794,
    "right_ring_tip": 7905, "right_pinky_tip": 8022,
}  # fmt: skip
_VERTICES = {
    ("smpl", 6890): _SMPL_VERTICES,
    ("smplh", 6890): _SMPL_VERTICES,
    ("smplx", 10475): _SMPLX_VERTICES,
}


def vertex_points(topology: str, vertices_TV3: FloatArray) -> tuple[tuple[str, ...], FloatArray]:
    """Named places on a mesh of a known topology.

    Args:
        topology: ``"smpl"``, ``"smplh"`` or ``"smplx"``; others have none.
        vertices_TV3: Posed vertices.

    Returns:
        ``P`` names and their positions ``(T, P, 3)``.
    """
    known = _VERTICES.get((topology, vertices_TV3.shape[1]), {})
    return tuple(known), vertices_TV3[:, list(known.values())]


def landmark_points(
    names: tuple[str, ...], positions_TP3: FloatArray, confidence_TP: FloatArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """Points of another skeleton as our landmarks.

    Args:
        names: ``P`` names: COCO-WholeBody's, those of the SMPL family, or the same words in other spellings
            (``LShoulder``, ``l_shoulder``, ``shoulder.L``). Unknown names are left out.
        positions_TP3: Metres; NaN where unknown.
        confidence_TP: In [0, 1], or None.

    Returns:
        Points ``(T, 75, 3)``, 0 where unknown, and weights ``(T, 75)`` in [0, 1].
    """
    frames = len(positions_TP3)
    points, weights = np.zeros((frames, LANDMARK_COUNT, 3)), np.zeros((frames, LANDMARK_COUNT))
    toes: dict[str, dict[str, int]] = {"left": {}, "right": {}}
    for column, name in enumerate(names):
        plain = plain_name(name)
        if match := re.fullmatch(r"(left|right)_(big|small)_toe", plain):
            toes[match[1]][match[2]] = column
        confidence = 1.0 if confidence_TP is None else confidence_TP[:, column]
        for landmark in _landmarks_of(plain):
            _put(points, weights, landmark, positions_TP3[:, column], confidence)
    for side, found in toes.items():
        if len(found) == 2:
            tip = 0.7 * positions_TP3[:, found["big"]] + 0.3 * positions_TP3[:, found["small"]]
            columns = list(found.values())
            confidence = 1.0 if confidence_TP is None else confidence_TP[:, columns].min(1)
            _put(points, weights, BODY_INDEX[f"{side}_foot_index"], tip, confidence)
    return points, weights


def _put(
    points: FloatArray,
    weights: FloatArray,
    landmark: int,
    values_T3: FloatArray,
    confidence: FloatArray | float,
) -> None:
    known = np.isfinite(values_T3).all(1)
    points[:, landmark] = np.where(known[:, None], values_T3, 0.0)
    weights[:, landmark] = np.where(known, np.nan_to_num(confidence), 0.0)


def plain_name(name: str) -> str:
    """One spelling of a name: ``left_shoulder`` for ``LShoulder``, ``l-shoulder``, ``shoulder.L``."""
    words = re.sub(r"([a-z])([A-Z])", r"\1_\2", name.strip().replace("-", "_").replace(" ", "_"))
    words = re.sub(r"^([LR])([A-Z][a-z])", r"\1_\2", words)
    if match := re.fullmatch(r"(.+)[._]([LlRr])", words):
        words = f"{match[2]}_{match[1]}"
    words = words.lower().strip("_")
    words = re.sub(r"^l_", "left_", re.sub(r"^r_", "right_", words))
    return re.sub(r"_finger_?(\d?)", r"\1", words)


def _landmarks_of(plain: str) -> list[int]:
    """Our landmarks that a plain name stands for; wrists stand in the body's list and in the hand's."""
    found = [BODY_INDEX[plain]] if plain in _SHARED else []
    match = re.fullmatch(r"(left|right)_(?:hand_)?(wrist|root|[a-z]+?)_?(\d|tip)?", plain)
    if match is None:
        return found
    side, part, number = match.groups()
    start = BODY_COUNT + (0 if side == "left" else HAND_COUNT)
    if part in ("wrist", "root") and number is None:
        return [*found, start]
    if part in _FINGER_START and number is not None:
        step = 3 if number == "tip" else int(number) - 1
        if 0 <= step <= 3:
            found.append(start + _FINGER_START[part] + step)
    return found


assert all(name in BODY_LANDMARKS for name in _SHARED)
