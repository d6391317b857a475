"""Every error a user can meet: one sentence that says what is wrong and the way out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class LCAError(Exception):
    """Base of all errors raised on purpose; the command line prints its message without a traceback."""


class ShapeError(LCAError):
    """A tensor argument has the wrong shape."""


class NonFiniteError(LCAError):
    """A value that must be finite is NaN or infinite."""


class DataError(LCAError):
    """A data set, video, photo, calibration or motion file cannot be used."""


class ConfigError(LCAError):
    """A configuration value is unknown or contradicts another."""


class CheckpointError(LCAError):
    """A checkpoint or avatar file has another format, rig or size."""


class MissingAssetError(LCAError):
    """Weights, a package extra or an asset are not on this machine."""


class DeviceError(LCAError):
    """The device or renderer asked for does not exist here."""


class UsageError(LCAError):
    """The command line was used wrongly; exit status 2."""


def check_shape(name: str, tensor: Any, expected: Sequence[int | str | None]) -> None:
    """Refuse a tensor whose shape differs from the expected one.

    Args:
        name: Argument name as the caller knows it.
        tensor: Anything with a ``shape``.
        expected: One entry per dimension: an int is compared, a letter or ``None`` matches any size.

    Raises:
        ShapeError: Says the name, the expected shape and the one it got.
    """
    got = tuple(tensor.shape)
    matches = len(got) == len(expected) and all(
        not isinstance(want, int) or want == have for want, have in zip(expected, got, strict=True)
    )
    if not matches:
        wanted = ", ".join("any" if want is None else str(want) for want in expected)
        raise ShapeError(f"{name} must have shape ({wanted}), got {got}.")
