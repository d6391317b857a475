"""Which way a score is better. Standard library only, for commands that must start at once."""

from __future__ import annotations

HIGHER_IS_BETTER = ("psnr", "ssim", "alpha_iou")


def is_better_high(score: str) -> bool:
    """Whether a larger value of a score is the better one.

    Args:
        score: Without its set and protocol, such as ``psnr`` or ``l1_full``.
    """
    return score.startswith(HIGHER_IS_BETTER)
