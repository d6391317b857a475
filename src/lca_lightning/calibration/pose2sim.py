"""Pose2Sim's TOML (also Anipose's): OpenCV lens, rotation vector, metres, z up."""

from __future__ import annotations

import tomllib

import numpy as np
from scipy.spatial.transform import Rotation

from lca_lightning.calibration.camera import CalibratedCamera, world_to_camera


def parse_pose2sim(text: str) -> tuple[dict[str, CalibratedCamera], str]:
    """Read the text of a ``Calib*.toml``.

    Every table with a ``matrix`` is a camera: ``name``, ``size`` (width, height), ``matrix``,
    ``distortions``, ``rotation`` (a rotation vector, world to camera), ``translation`` (metres) and
    ``fisheye``. Its pixel centres lie at integers, as OpenCV's do.

    Args:
        text: The TOML.

    Returns:
        Cameras in the file's world, and the axis that points up (Pose2Sim turns z up to y up itself when it
        writes its results).

    Raises:
        ValueError, KeyError, TypeError: Not such a file.
    """
    cameras = {}
    for table, entry in tomllib.loads(text).items():
        if not isinstance(entry, dict) or "matrix" not in entry:
            continue
        name = str(entry.get("name", table))
        width, height = (round(float(value)) for value in entry["size"])
        K_33 = np.array(entry["matrix"], np.float64).reshape(3, 3)
        K_33[:2, 2] += 0.5
        rotation = np.array(entry["rotation"], np.float64).reshape(3)
        pose = world_to_camera(Rotation.from_rotvec(rotation).as_matrix(), entry["translation"])
        distortion = np.array(entry.get("distortions", []), np.float64)
        if name in cameras:
            raise ValueError(f"two cameras are called {name!r}")
        fisheye = bool(entry.get("fisheye", False))
        cameras[name] = CalibratedCamera(name, width, height, K_33, distortion, pose, fisheye)
    if not cameras:
        raise ValueError("it names no camera")
    return cameras, "z"
