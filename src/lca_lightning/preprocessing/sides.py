"""Left and right put right: landmark networks exchange the sides of a person seen from behind or in a
twist.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from lca_lightning.preprocessing.landmarks import BODY_LANDMARKS, FloatArray
from lca_lightning.preprocessing.triangulation import triangulate


def _mirror(name: str) -> str:
    for first, second in (("left", "right"), ("right", "left")):
        if first in name:
            return name.replace(first, second)
    return name


MIRROR = np.array([BODY_LANDMARKS.index(_mirror(name)) for name in BODY_LANDMARKS])
_PAIRED = [index for index, name in enumerate(BODY_LANDMARKS) if index >= 11 and name.startswith("left")]
_TESTED = list(range(11, 17)) + list(range(23, 33))


def resolve_sides_across_views(
    pixels_CTP2: FloatArray, confidence_CTP: FloatArray, projections_C34: FloatArray, margin: float = 0.85
) -> np.ndarray:
    """Find the views whose sides are exchanged, frame by frame, from how well the views agree.

    Args:
        pixels_CTP2: Undistorted body landmarks, NaN where missing, ``(C, T, 33, 2)``.
        confidence_CTP: Confidences, ``(C, T, 33)``.
        projections_C34: Cameras, ``(C, 3, 4)``.
        margin: An exchange must bring the disagreement below this share of what it was.

    Returns:
        True where left and right of a view must be exchanged, ``(C, T)``. Exchanging all views changes
        nothing
        geometrically, so the choice with the fewest exchanges is taken.
    """
    cameras, frames = pixels_CTP2.shape[:2]
    swaps = np.zeros((cameras, frames), bool)
    straight = _disagreement(pixels_CTP2, confidence_CTP, projections_C34, swaps)
    best = straight.copy()
    for choice in _choices(cameras):
        trial = np.repeat(np.array(choice)[:, None], frames, 1)
        cost = _disagreement(pixels_CTP2, confidence_CTP, projections_C34, trial)
        better = (cost < margin * straight) & (cost < best)
        swaps[:, better], best[better] = trial[:, better], cost[better]
    return swaps


def _choices(cameras: int) -> list[tuple[bool, ...]]:
    """Fewest exchanges first; all subsets up to half of the views for few cameras, single views for many."""
    if cameras <= 6:
        subsets = [
            choice for choice in product((False, True), repeat=cameras) if 0 < sum(choice) <= cameras // 2
        ]
        return sorted(subsets, key=sum)
    return [tuple(index == one for index in range(cameras)) for one in range(cameras)]


def _disagreement(
    pixels_CTP2: FloatArray, confidence_CTP: FloatArray, projections_C34: FloatArray, swaps_CT: np.ndarray
) -> FloatArray:
    pixels = np.where(swaps_CT[..., None, None], pixels_CTP2[:, :, MIRROR], pixels_CTP2)[:, :, _TESTED]
    confidence = np.where(swaps_CT[..., None], confidence_CTP[:, :, MIRROR], confidence_CTP)[:, :, _TESTED]
    cameras, frames, count = confidence.shape
    flat = triangulate(
        pixels.reshape(cameras, -1, 2),
        confidence.reshape(cameras, -1),
        projections_C34,
        gate=60.0,
        iterations=2,
    )
    residual = np.where(np.isfinite(flat.residuals_CN), np.minimum(flat.residuals_CN, 150.0), 150.0)
    residual = residual.reshape(cameras, frames, count)
    weight = np.where(confidence > 0, confidence, 0.0)
    return (weight * residual).sum((0, 2)) / np.maximum(weight.sum((0, 2)), 1e-9)


def resolve_sides_over_time(body_TP3: FloatArray, gate: float = 0.5) -> np.ndarray:
    """Find frames of a single camera whose sides jump to the other and back.

    Args:
        body_TP3: Landmarks with confidence, NaN where missing, ``(T, 33, 3)``.
        gate: The exchanged frame must be this much nearer to its neighbour than the plain one.

    Returns:
        True where left and right must be exchanged, ``(T,)``; the longer stretches keep theirs.
    """
    frames = np.flatnonzero(np.isfinite(body_TP3).all((1, 2)))
    state = np.zeros(len(body_TP3), bool)
    flipped = False
    for before, now in zip(frames, frames[1:], strict=False):
        if now - before <= 3 and _jumps(body_TP3[before], body_TP3[now], gate):
            flipped = not flipped
        state[now] = flipped
    if state[frames].mean() > 0.5 if len(frames) else False:
        state = ~state
    return state


def _jumps(before_P3: FloatArray, now_P3: FloatArray, gate: float) -> bool:
    """Whether all sides changed places between two frames, where left and right are far enough apart to
    tell.
    """
    apart = np.linalg.norm(now_P3[_PAIRED, :2] - now_P3[MIRROR[_PAIRED], :2], axis=1)
    plain = np.linalg.norm(now_P3[_TESTED, :2] - before_P3[_TESTED, :2], axis=1).mean()
    exchanged = np.linalg.norm(now_P3[MIRROR[_TESTED], :2] - before_P3[_TESTED, :2], axis=1).mean()
    return bool(exchanged < gate * plain and plain > 0.3 * apart.mean())


def exchange_sides(
    body_TP3: FloatArray, world_TP3: FloatArray, hands_T2P3: FloatArray, swaps_T: np.ndarray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Exchange left and right of body, world and hand landmarks in the frames marked."""
    wide, hand = swaps_T[:, None, None], swaps_T[:, None, None, None]
    return (
        np.where(wide, body_TP3[:, MIRROR], body_TP3),
        np.where(wide, world_TP3[:, MIRROR], world_TP3),
        np.where(hand, hands_T2P3[:, ::-1], hands_T2P3),
    )
