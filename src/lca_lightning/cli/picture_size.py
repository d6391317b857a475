"""Picture sizes on the command line."""

from __future__ import annotations

import re

from lca_lightning.errors import UsageError


def parse_size(text: str) -> tuple[int, int]:
    """Height and width from ``"HxW"``.

    Raises:
        UsageError: Another form, or sides outside 16 to 8192 pixels.
    """
    match = re.fullmatch(r"(\d+)[xX](\d+)", text)
    if match is None or not all(16 <= int(side) <= 8192 for side in match.groups()):
        raise UsageError(
            f"--size must be HEIGHTxWIDTH in pixels, from 16x16 to 8192x8192, like 512x384, got {text!r}."
        )
    return int(match[1]), int(match[2])
