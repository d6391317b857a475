"""Pictures of linear light in 16 bits, and the sRGB pictures they are seen as."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

DEEPEST = 65535  # largest value of a channel


def srgb_to_linear(colors: np.ndarray) -> np.ndarray:
    """sRGB values in [0, 1] to linear light, the curve of IEC 61966-2-1."""
    colors = np.asarray(colors)
    return np.where(colors <= 0.04045, colors / 12.92, ((np.maximum(colors, 0.04045) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(colors: np.ndarray) -> np.ndarray:
    """Linear light to sRGB values, clipped to [0, 1]."""
    colors = np.clip(colors, 0.0, 1.0)
    return np.where(
        colors <= 0.0031308, colors * 12.92, 1.055 * np.maximum(colors, 0.0031308) ** (1 / 2.4) - 0.055
    )


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
