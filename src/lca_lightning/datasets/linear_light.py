"""Pictures of linear light in 16 bits, and the sRGB pictures they are seen as."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

DEEPEST = 65535  # largest value of a channel


def linear_to_srgb(linear: np.ndarray) -> np.ndarray:
    """The sRGB curve of IEC 61966-2-1, for values clipped to [0, 1]."""
    clipped = np.clip(linear, 0.0, 1.0)
    return np.where(clipped <= 0.0031308, 12.92 * clipped, 1.055 * clipped ** (1 / 2.4) - 0.055)


@lru_cache(maxsize=8)
def _srgb_of_value(linear_white: float) -> np.ndarray:
    values = np.arange(DEEPEST + 1) / DEEPEST * linear_white
    return np.round(255 * linear_to_srgb(values)).astype(np.uint8)


def linear_to_srgb8(deep: np.ndarray, linear_white: float) -> np.ndarray:
    """Show linear light as a photo would: radiance 1 is white, what is brighter is clipped.

    Args:
        deep: uint16 of any shape, 65535 is ``linear_white``.
        linear_white: Radiance.

    Returns:
        uint8 sRGB of the same shape.
    """
    return _srgb_of_value(float(linear_white))[deep]


def linear_to_deep(linear: np.ndarray, linear_white: float) -> np.ndarray:
    """Store linear light in 16 bits; the inverse of :func:`deep_to_linear`, brighter values are clipped.

    Args:
        linear: Radiance, any shape.
        linear_white: Radiance that becomes 65535.

    Returns:
        uint16 of the same shape.
    """
    return np.round(np.clip(linear / linear_white, 0.0, 1.0) * DEEPEST).astype(np.uint16)


def deep_to_linear(deep: np.ndarray, linear_white: float) -> np.ndarray:
    """Radiance of stored values, float32; see :func:`linear_to_deep`."""
    return deep.astype(np.float32) * np.float32(linear_white / DEEPEST)
