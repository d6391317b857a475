"""Bringing the world of a calibration to ours: y up, metres."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from lca_lightning.calibration.camera import CalibratedCamera, FloatArray
from lca_lightning.errors import DataError

# Rows are our axes (x right, y up) in terms of the file's axes.
_TO_Y_UP = {
    "y": np.eye(3),
    "z": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "x": np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]),
    "-y": np.array([[1.0, 0, 0], [0, -1, 0], [0, 0, -1]]),
    "-z": np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
    "-x": np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]]),
}
UP_CHOICES = (*_TO_Y_UP, "cameras")
"""Which axis of a file's world points up; ``"cameras"``: the mean of the cameras' own up directions."""


def turn_to_y_up(up: str, cameras: Mapping[str, CalibratedCamera]) -> FloatArray:
    """Rotation from the file's world to one with y up, ``(3, 3)``.

    Args:
        up: One of `UP_CHOICES`.
        cameras: The file's cameras, for ``"cameras"``.

    Raises:
        DataError: Unknown axis, or cameras whose up directions cancel out.
    """
    if up in _TO_Y_UP:
        return _TO_Y_UP[up]
    if up != "cameras":
        raise DataError(f"The up axis of a calibration must be one of {', '.join(UP_CHOICES)}, not {up!r}.")
    mean = np.mean([-camera.w2c_44[1, :3] for camera in cameras.values()], axis=0)
    length = float(np.linalg.norm(mean))
    if length < 0.1:
        raise DataError("The cameras hold no common up direction; name the axis that points up instead.")
    direction = mean / length
    aside = np.eye(3)[int(np.abs(direction).argmin())]
    first = np.cross(direction, aside)
    first /= np.linalg.norm(first)
    return np.stack([first, direction, np.cross(first, direction)])


def change_world(
    cameras: Mapping[str, CalibratedCamera], turn_33: FloatArray, scale: float = 1.0
) -> dict[str, CalibratedCamera]:
    """The same cameras in another world.

    Args:
        cameras: By name.
        turn_33: Rotation from the old world to the new one.
        scale: Metres of one unit of the old world.

    Returns:
        Cameras that see a point ``scale * turn @ x`` where they saw ``x``.

    Raises:
        DataError: The scale is not positive.
    """
    if not (np.isfinite(scale) and scale > 0):
        raise DataError(f"The scale of a calibration (metres of one unit) must be positive, got {scale}.")
    changed = {}
    for name, camera in cameras.items():
        w2c_44 = camera.w2c_44.copy()
        w2c_44[:3, :3] = camera.w2c_44[:3, :3] @ turn_33.T
        w2c_44[:3, 3] = camera.w2c_44[:3, 3] * scale
        changed[name] = replace(camera, w2c_44=w2c_44)
    return changed
