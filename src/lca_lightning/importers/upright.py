"""Which way is up in the worlds of data sets, and picture files by their frame number."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from lca_lightning.calibration.axes import turn_to_y_up
from lca_lightning.errors import DataError

FloatArray = NDArray[np.floating]
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")


def nearest_axis(direction_3: FloatArray) -> str:
    """The signed world axis nearest to a direction: ``"y"``, ``"-z"`` and so on."""
    axis = int(np.abs(direction_3).argmax())
    return ("-" if direction_3[axis] < 0 else "") + "xyz"[axis]


def up_axis_of_bodies(orientations_T3: FloatArray) -> str:
    """The world axis along which bodies of the SMPL family mostly stand.

    Args:
        orientations_T3: Global orientations, rotation vectors; the models' own up is y.
    """
    turns = Rotation.from_rotvec(np.asarray(orientations_T3, np.float64).reshape(-1, 3))
    return nearest_axis(np.median(turns.apply([0.0, 1.0, 0.0]), axis=0))


def world_turn(up: str) -> FloatArray:
    """Rigid ``(4, 4)`` that turns a world with the given up axis into ours."""
    turn_44 = np.eye(4)
    turn_44[:3, :3] = turn_to_y_up(up, {})
    return turn_44


def turned_camera(w2c_44: FloatArray, up: str) -> FloatArray:
    """World to camera from our world, given the one from a world with another up axis."""
    return np.asarray(w2c_44) @ world_turn(up).T


def numbered_pictures(folder: Path) -> dict[int, Path]:
    """Pictures of a folder by the first number in their names, rising.

    Args:
        folder: Holds pictures such as ``000012.jpg`` or ``0380_img.jpg``.

    Raises:
        DataError: Two pictures share a number.
    """
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        match = re.match(r"\D*?(\d+)", path.stem)
        if path.suffix.lower() not in PICTURE_SUFFIXES or match is None or path.name.startswith("A-"):
            continue
        if (number := int(match[1])) in found:
            raise DataError(
                f"{folder} holds two pictures of frame {number}: {found[number].name} and {path.name}."
            )
        found[number] = path
    return dict(sorted(found.items()))


def common_frames(folders: dict[str, Path]) -> list[int]:
    """Numbers of the frames of which every camera has a picture.

    Args:
        folders: Folder of pictures by camera.
    """
    numbers = [set(numbered_pictures(folder)) for folder in folders.values()]
    return sorted(set.intersection(*numbers)) if numbers else []


def safe_camera_name(name: str) -> str:
    """A name with letters, digits, dot, dash and underscore only: ``Camera_1`` for ``Camera (1)``."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-") or "camera"
