"""Picture sizes on the command line."""

from __future__ import annotations

import re

from lca_lightning.errors import UsageError


def parse_size(text: str) -> tuple[int, int]:
    """Height and width from ``"HxW"``.

    Raises:
        UsageError: Another form, or smaller than 16 pixels.
    """
    match = re.fullmatch(r"(\d+)[xX](\d+)", text)
    if match is None or min(int(match[1]), int(match[2])) < 16:
        raise UsageError(
            f"--size must be HEIGHTxWIDTH in pixels, at least 16x16, like 512x384, got {text!r}."
        )
    return int(match[1]), int(match[2])
