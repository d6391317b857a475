"""Whether a camera's pictures move when the rig moves: its offset in time, and how that drifts.

The masks of a stretch of frames are compared, as a film of small pictures, with the silhouettes of the
reprojected rig: where each film departs from its own mean is correlated at every offset (the mean removes
hair, clothes and other steady differences). A parabola through the best offset gives parts of a frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lca_lightning.datasets.records import CameraRecord
from lca_lightning.inspection.body import PosedBody

STRETCH = 48  # frames compared at either end
FARTHEST = 10  # frames of the largest offset looked for
SHORTEST = 16  # frames below which motion says too little
GRID = 64  # pixels of the longer side of a film's pictures
_FINER = 3  # the rig is drawn so many times finer and averaged
_LEAST_CORRELATION = 0.4
_LEAST_PEAK = 0.02
"""Least fall of the correlation within three frames of its peak: who stands still has no peak."""


@dataclass(frozen=True)
class Stretch:
    """Consecutive frames whose masks are compared.

    Args:
        start: First frame.
        stop: One past the last frame.
    """

    start: int
    stop: int

    @property
    def middle(self) -> float:
        """Frame in the middle."""
        return (self.start + self.stop - 1) / 2

    def frames(self) -> list[int]:
        """Its frames."""
        return list(range(self.start, self.stop))

    def reached(self, total: int) -> list[int]:
        """Its frames and those within the largest offset, inside a sequence of ``total`` frames."""
        return list(range(max(0, self.start - FARTHEST), min(total, self.stop + FARTHEST)))


def choose_stretches(frames: int) -> list[Stretch]:
    """A stretch at the beginning and one at the end; one for short sequences; none for very short ones."""
    if frames < SHORTEST:
        return []
    if frames < 2 * SHORTEST:
        return [Stretch(0, frames)]
    length = min(STRETCH, max(SHORTEST, frames // 2))
    return [Stretch(0, length), Stretch(frames - length, frames)]


def measure_offset(
    body: PosedBody,
    usable_T: np.ndarray,
    camera: CameraRecord,
    stretch: Stretch,
    masks: dict[int, np.ndarray],
) -> float | None:
    """Frames by which a camera's masks run behind the rig.

    Args:
        body: Gives the rig in each frame.
        usable_T: Frames in which the rig is known.
        camera: Of the masks.
        stretch: Frames to compare.
        masks: uint8 masks of its frames.

    Returns:
        Positive when the pictures are late; None where the motion does not tell.
    """
    window = _window_around(masks)
    reached = [frame for frame in stretch.reached(len(usable_T)) if usable_T[frame]]
    if window is None or len(reached) < SHORTEST:
        return None
    film = {frame: window.shrink(mask) for frame, mask in masks.items()}
    body.prepare(reached)
    rendered = {
        frame: window.average(
            lambda K_33, height, width, frame=frame: body.silhouette(  # type: ignore[misc]
                frame, camera.w2c_44, K_33, height, width
            ),
            camera.K_33,
        )
        for frame in reached
    }
    return best_offset(film, rendered)


def best_offset(film: dict[int, np.ndarray], rendered: dict[int, np.ndarray]) -> float | None:
    """Offset at which two films move alike.

    Args:
        film: Pictures of the masks by frame.
        rendered: Pictures of the rig by frame, of the same size.

    Returns:
        Frames by which the masks are late, with parts of a frame; None where no offset stands out.
    """
    offsets = range(-FARTHEST, FARTHEST + 1)
    scores = np.array([_correlation(film, rendered, offset) for offset in offsets])
    if not np.isfinite(scores).any():
        return None
    best = int(np.nanargmax(scores))
    near = scores[max(0, best - 3) : best + 4]
    if scores[best] < _LEAST_CORRELATION or scores[best] - np.nanmin(near) < _LEAST_PEAK:
        return None
    return float(offsets[best]) + _vertex_of_parabola(scores, best)


def _correlation(film: dict[int, np.ndarray], rendered: dict[int, np.ndarray], offset: int) -> float:
    """Correlation of the motion when the masks of frame ``t`` show the rig of frame ``t - offset``."""
    pairs = [(film[frame], rendered[frame - offset]) for frame in film if frame - offset in rendered]
    if len(pairs) < max(SHORTEST // 2, len(film) // 2):
        return float("nan")
    first = np.stack([pair[0] for pair in pairs])
    second = np.stack([pair[1] for pair in pairs])
    first, second = first - first.mean(0), second - second.mean(0)
    norm = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / norm if norm > 1e-6 else float("nan")


def _vertex_of_parabola(scores: np.ndarray, best: int) -> float:
    if not 0 < best < len(scores) - 1 or not np.isfinite(scores[best - 1 : best + 2]).all():
        return 0.0
    before, top, after = scores[best - 1 : best + 2]
    bend = before - 2 * top + after
    return float(0.5 * (before - after) / bend) if bend < 0 else 0.0


@dataclass(frozen=True)
class _Window:
    """The part of the picture that is compared, and its size in small pixels."""

    left: int
    top: int
    right: int
    bottom: int
    width: int
    height: int

    def shrink(self, mask_HW: np.ndarray) -> np.ndarray:
        """A mask on the small pixels, float32 in [0, 1]."""
        from PIL import Image

        cut = Image.fromarray(mask_HW[self.top : self.bottom, self.left : self.right])
        small = cut.resize((self.width, self.height), Image.Resampling.BOX)
        return np.asarray(small, np.float32) / 255

    def average(self, draw: Callable[[np.ndarray, int, int], np.ndarray], K_33: np.ndarray) -> np.ndarray:
        """What ``draw`` covers on the small pixels, float32 in [0, 1]."""
        height, width = self.height * _FINER, self.width * _FINER
        moved = K_33.copy()
        moved[0, 2] -= self.left
        moved[1, 2] -= self.top
        factors = [[width / (self.right - self.left)], [height / (self.bottom - self.top)], [1.0]]
        fine = draw(moved * np.array(factors), height, width)
        blocks = fine.reshape(self.height, _FINER, self.width, _FINER).astype(np.float32)
        return np.asarray(blocks.mean((1, 3)))


def _window_around(masks: dict[int, np.ndarray]) -> _Window | None:
    """The box of all masks with a margin; None where nobody is seen."""
    if not masks:
        return None
    person = np.maximum.reduce(list(masks.values())) >= 128
    rows, columns = np.flatnonzero(person.any(1)), np.flatnonzero(person.any(0))
    if not len(rows):
        return None
    margin = max(2, (rows[-1] - rows[0] + 1) // 10)
    top, bottom = max(0, int(rows[0]) - margin), min(person.shape[0], int(rows[-1]) + 1 + margin)
    left, right = max(0, int(columns[0]) - margin), min(person.shape[1], int(columns[-1]) + 1 + margin)
    scale = min(1.0, GRID / max(right - left, bottom - top))
    size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    return _Window(left, top, right, bottom, *size)
