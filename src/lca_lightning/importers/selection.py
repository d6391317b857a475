"""Choosing takes, cameras and frames by what the user writes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

import numpy as np

from lca_lightning.errors import DataError, UsageError
from lca_lightning.importers.source import SourceCamera


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name is one of the names or patterns (``*``, ``?``, ``[..]``)."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def sequence_name(importer: str, take: str) -> str:
    """The id of a take's sequence: only letters, digits, dot, dash and underscore."""
    return f"{importer}-{re.sub(r'[^A-Za-z0-9._-]+', '-', take).strip('-')}"


def parse_frames(text: str) -> slice:
    """Read ``start:stop:step``, each part optional, as Python does.

    Raises:
        UsageError: It is no such text, or the step is not positive.
    """
    parts = text.split(":")
    try:
        numbers = [int(part) if part else None for part in parts]
    except ValueError:
        numbers = []
    if not 2 <= len(numbers) <= 3 or (len(numbers) == 3 and numbers[2] is not None and numbers[2] < 1):
        raise UsageError(f"--frames takes START:STOP or START:STOP:STEP such as 0:300:2, not {text!r}.")
    return slice(*numbers)


def choose_frames(count: int, frames: slice) -> list[int]:
    """Frame indices of a take.

    Raises:
        DataError: None is left.
    """
    chosen = list(range(count))[frames]
    if not chosen:
        raise DataError(f"none of its {count} frames is among those asked for")
    return chosen


def choose_cameras(cameras: Sequence[SourceCamera], wanted: Sequence[str]) -> list[SourceCamera]:
    """Cameras by name or pattern, or so many spread as far apart as possible.

    Args:
        cameras: All cameras of a take.
        wanted: Names and patterns, or one number, or nothing for all.

    Returns:
        At least one camera, in the source's order.

    Raises:
        DataError: None matches.
    """
    if not cameras:
        raise DataError("it has no camera with pictures and a calibration")
    names = {camera.name for camera in cameras}
    if len(wanted) == 1 and wanted[0].isdigit() and wanted[0] not in names:
        return _spread(cameras, int(wanted[0]))
    chosen = [camera for camera in cameras if not wanted or matches(camera.name, wanted)]
    if not chosen:
        raise DataError(f"it has no camera {', '.join(wanted)}; it has {', '.join(sorted(names)[:8])}")
    return chosen


def _spread(cameras: Sequence[SourceCamera], count: int) -> list[SourceCamera]:
    """Farthest-point choice over the camera centres, from the first camera on."""
    if count < 1:
        raise DataError("at least one camera must be asked for")
    centers = np.stack([-camera.w2c_44[:3, :3].T @ camera.w2c_44[:3, 3] for camera in cameras])
    chosen = [0]
    distance = np.linalg.norm(centers - centers[0], axis=1)
    while len(chosen) < min(count, len(cameras)):
        distance[chosen] = -1.0
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(centers - centers[chosen[-1]], axis=1))
    return [cameras[index] for index in sorted(chosen)]
