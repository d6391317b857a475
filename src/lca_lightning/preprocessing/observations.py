"""What a rig is fitted to: pixels in cameras, rough points in space, and how far each can be trusted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lca_lightning.preprocessing.landmarks import BODY_COUNT, BODY_INDEX, HAND_COUNT, FloatArray
from lca_lightning.preprocessing.rig_landmarks import LANDMARK_COUNT


@dataclass(frozen=True)
class Observations:
    """Landmarks of one person over the frames of a clip, or over several photos.

    Attributes:
        pixels_CTL2: Undistorted pixels, 0 where not measured, ``(C, T, L, 2)``.
        confidence_CTL: 0 to 1, 0 where not measured, ``(C, T, L)``.
        w2c_C44: World to camera, ``(C, 4, 4)``.
        K_C33: Intrinsics, ``(C, 3, 3)``; or one per frame, ``(C, T, 3, 3)``.
        size_CT: Apparent stature in pixels, the unit of reprojection errors, ``(C, T)``.
        points_TL3: Points in space, metres, 0 where unknown, ``(T, L, 3)``.
        points_weight_TL: 0 to 1, ``(T, L)``.
        points_spread: Standard deviation of these points, metres.
        relative: Whether the points are right only up to a shift per frame (one camera).
        frame_time: Seconds between frames; None for unrelated photos.
    """

    pixels_CTL2: Tensor
    confidence_CTL: Tensor
    w2c_C44: Tensor
    K_C33: Tensor
    size_CT: Tensor
    points_TL3: Tensor
    points_weight_TL: Tensor
    points_spread: float
    relative: bool
    frame_time: float | None

    @property
    def frame_count(self) -> int:
        """Number of frames ``T``."""
        return self.pixels_CTL2.shape[1]

    def cameras_kept(self, keep: list[int]) -> Observations:
        """The same clip seen by some of the cameras only."""
        return Observations(
            self.pixels_CTL2[keep], self.confidence_CTL[keep], self.w2c_C44[keep], self.K_C33[keep],
            self.size_CT[keep], self.points_TL3, self.points_weight_TL, self.points_spread, self.relative,
            self.frame_time,
        )  # fmt: skip


def join_landmarks(
    body_TP3: FloatArray, hands_T2P3: FloatArray, width: int, height: int
) -> tuple[FloatArray, FloatArray]:
    """Body and hands of one camera as one list, with the confidence each deserves.

    Args:
        body_TP3: Body landmarks in pixels with confidence, ``(T, 33, 3)``.
        hands_T2P3: Hand landmarks, ``(T, 2, 21, 3)``.
        width: Of the picture; landmarks outside of it are guesses and get no weight.
        height: Of the picture.

    Returns:
        Pixels ``(T, 75, 2)`` and confidences ``(T, 75)``; 0 where not measured.
    """
    frames = len(body_TP3)
    pixels = np.concatenate([body_TP3[..., :2], hands_T2P3[..., :2].reshape(frames, 2 * HAND_COUNT, 2)], 1)
    confidence = np.zeros((frames, LANDMARK_COUNT))
    visible = body_TP3[..., 2]
    # Below one half the network says "hidden": its place is then a guess from the rest of the body.
    confidence[:, :BODY_COUNT] = np.clip((visible - 0.3) / 0.6, 0.0, 1.0) ** 2
    confidence[:, BODY_COUNT:] = 1.0
    measured = np.isfinite(pixels).all(-1) & np.isfinite(confidence)
    inside = (pixels > 0).all(-1) & (pixels[..., 0] < width) & (pixels[..., 1] < height)
    confidence = np.where(measured & inside, np.nan_to_num(confidence), 0.0)
    return np.where(measured[..., None], pixels, 0.0), confidence


def stature_pixels(body_TP3: FloatArray) -> FloatArray:
    """Apparent stature per frame from torso, thigh and shin lengths, median-filtered over the clip,
    ``(T,)``.
    """
    points = body_TP3[..., :2]

    def length(first: str, second: str) -> FloatArray:
        sides = [
            points[:, BODY_INDEX[f"{s}_{first}"]] - points[:, BODY_INDEX[f"{s}_{second}"]]
            for s in ("left", "right")
        ]
        return np.linalg.norm(np.stack(sides), axis=-1).max(0)

    stature = np.maximum(
        3.3 * length("shoulder", "hip"), 2.1 * (length("hip", "knee") + length("knee", "ankle"))
    )
    known = np.isfinite(stature)
    if not known.any():
        return np.full(len(points), 1.0)
    filled = np.interp(np.arange(len(stature)), np.flatnonzero(known), stature[known])
    window = min(15, len(filled)) | 1
    padded = np.pad(filled, window // 2, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, window), axis=-1)


def to_tensor(array: FloatArray) -> Tensor:
    """Float32 tensor of an array."""
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))
