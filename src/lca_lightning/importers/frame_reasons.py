"""Why frames cannot be used, in a few words."""

from __future__ import annotations

from collections.abc import Sequence

_MOST = 4


def left_out(reasons: Sequence[tuple[int, str]]) -> str:
    """The end of a sentence that lists frames and reasons, the first few of many.

    Args:
        reasons: Frame and reason.

    Returns:
        Text that starts with a semicolon; nothing where there is no reason.
    """
    if not reasons:
        return ""
    told = "; ".join(f"frame {frame}: {why}" for frame, why in reasons[:_MOST])
    more = f"; and {len(reasons) - _MOST} more" if len(reasons) > _MOST else ""
    return f"; left out: {told}{more}"
