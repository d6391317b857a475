"""Which frames a report shows: the best, the median and the worst of each set under each protocol."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lca_lightning.reports.results import FrameResult, TestResults

RANKED_BY = "psnr"  # every protocol has it
RANKS = ("best", "median", "worst")


@dataclass(frozen=True)
class ShownFrame:
    """A frame and its pictures.

    Args:
        rank: One of ``RANKS``.
        protocol: Under which it holds that rank.
        result: The frame.
        pictures: uint8 sRGB pictures ``(H, W, 3)`` by what they show, in order.
    """

    rank: str
    protocol: str
    result: FrameResult
    pictures: dict[str, np.ndarray] = field(default_factory=dict)


def chosen_frames(results: TestResults) -> list[ShownFrame]:
    """Best, median and worst frame by PSNR of each protocol, set and number of references, without pictures.

    Args:
        results: Of a test.

    Returns:
        Fewer than three where a set has fewer frames with a mask.
    """
    return [
        ShownFrame(rank, protocol, frame)
        for protocol in results.protocols
        for frames in results.groups().values()
        for rank, frame in ranked(frames, protocol).items()
    ]


def ranked(frames: Sequence[FrameResult], protocol: str) -> dict[str, FrameResult]:
    """Best, median (the lower one of an even number) and worst frame under a protocol, all different."""
    scored = [frame for frame in frames if not math.isnan(frame.scores[protocol].get(RANKED_BY, math.nan))]
    order = sorted(scored, key=lambda frame: (-frame.scores[protocol][RANKED_BY], frame.key))
    if not order:
        return {}
    places = {"best": 0, "worst": len(order) - 1, "median": len(order) // 2}
    taken: dict[int, str] = {}
    for rank, place in places.items():
        taken.setdefault(place, rank)
    return {rank: order[place] for place, rank in sorted(taken.items())}
