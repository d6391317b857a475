"""Scores that a clip must pass before the rig is fitted to it; one tells photographs from drawings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lca_lightning.errors import ConfigError
from lca_lightning.plugins import find_plugin
from lca_lightning.preprocessing.clips import Clip, PreprocessOptions

GROUP = "lca_lightning.clip_scores"
SHIPPED = {"photographic": "lca_lightning.preprocessing.photographic:PhotographicScore"}
NO_SCORE = "none"
# Frames a score looks at, evenly spread over those with the person.
FRAMES_SCORED = 6
Image = NDArray[np.uint8]


class ClipScore(Protocol):
    """Judges some frames of a clip.

    Attributes:
        name: For the quality block of the data.
        threshold: Smallest score that is kept, unless the user gives another.
        reason: Why a clip below it is dropped, in a few words.
    """

    name: str
    threshold: float
    reason: str

    def score(self, images: Sequence[Image], masks: Sequence[Image]) -> float:
        """Higher is better; RGB pictures ``(H, W, 3)`` and person masks 0..255 ``(H, W)``."""
        ...


def make_score(name: str, threshold: float | None = None) -> tuple[ClipScore, float] | None:
    """A score and the least value to keep, or None for ``none``.

    Args:
        name: ``photographic``, an entry point of the group ``lca_lightning.clip_scores``, ``module:Class``,
            or ``none``.
        threshold: Instead of the score's own.

    Raises:
        ConfigError: There is none of that name.
    """
    if name == NO_SCORE:
        return None
    score = find_plugin(name, SHIPPED, GROUP, "clip score")()
    missing = [part for part in ("name", "threshold", "reason", "score") if not hasattr(score, part)]
    if missing:
        raise ConfigError(
            f"The clip score {name!r} lacks {', '.join(missing)}; lca_lightning.preprocessing.scores lists "
            "what it needs."
        )
    return score, score.threshold if threshold is None else threshold


def score_reason(
    clip: Clip, prepared: Any, options: PreprocessOptions
) -> tuple[str | None, dict[str, object]]:
    """Why a clip is dropped by its score, or None; and the score for the quality block.

    Args:
        clip: Its first camera is looked at.
        prepared: A ``PreparedClip``: masks and frame numbers.
        options: Name and threshold of the score.
    """
    made = make_score(options.clip_score, options.score_threshold)
    if made is None:
        return None, {}
    score, least = made
    images, masks = scored_frames(clip, prepared.detections[0])
    value = score.score(images, masks)
    noted: dict[str, object] = {f"score_{score.name}": round(float(value), 3)}
    if value >= least:
        return None, noted
    reason = (
        f"{score.reason}: its {score.name} score is {value:.2f}, at least {least:.2f} is wanted; pass "
        "--clip-score none or a lower --score-threshold to keep such clips"
    )
    return reason, noted


def scored_frames(clip: Clip, detection: Any) -> tuple[list[Image], list[Image]]:
    """Some frames of the first camera with the person's masks."""
    from lca_lightning.preprocessing.frames import SourceVideo

    found = np.flatnonzero(detection.found_T)
    chosen = found[np.linspace(0, len(found) - 1, min(FRAMES_SCORED, len(found))).astype(int)]
    wanted = {int(detection.frames_T[position]): int(position) for position in chosen}
    images, masks = [], []
    for index, image in enumerate(SourceVideo(clip.videos[0])):
        if index in wanted:
            images.append(image)
            masks.append(detection.mask(wanted[index]))
            if len(images) == len(wanted):
                break
    return images, masks
