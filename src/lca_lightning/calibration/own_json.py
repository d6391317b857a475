"""Our own JSON, version 1.

::

    {"format": "lca-calibration", "version": 1, "up": "y", "pixel_center": 0.5,
     "cameras": {"NAME": {"width": 1088, "height": 1920, "K": [[..],[..],[..]],
                          "distortion": [k1, k2, p1, p2, k3, k4, k5, k6], "fisheye": false,
                          "w2c": 4x4 rows}}}

``w2c`` is OpenCV world to camera in metres; ``up`` names the world axis that points up (``y``, ``z``,
``-y``);
``pixel_center`` is 0 for calibrations whose pixel centres lie at integers (OpenCV's own), 0.5 for ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lca_lightning.calibration.camera import CalibratedCamera
from lca_lightning.writing import write_text


def parse_own_json(text: str) -> tuple[dict[str, CalibratedCamera], str]:
    """Read the text of a file.

    Args:
        text: The JSON.

    Returns:
        Cameras in the file's world, and the axis that points up.

    Raises:
        ValueError, KeyError, TypeError: Not such a file.
    """
    content = json.loads(text)
    if content.get("format") != "lca-calibration" or content.get("version") != 1:
        raise ValueError('it lacks "format": "lca-calibration" and "version": 1')
    shift = 0.5 - float(content.get("pixel_center", 0.5))
    cameras = {}
    for name, entry in content["cameras"].items():
        K_33 = np.array(entry["K"], np.float64).reshape(3, 3)
        K_33[:2, 2] += shift
        distortion = np.array(entry.get("distortion", []), np.float64)
        w2c_44 = np.array(entry["w2c"], np.float64).reshape(4, 4)
        size, fisheye = (int(entry["width"]), int(entry["height"])), bool(entry.get("fisheye", False))
        cameras[name] = CalibratedCamera(name, *size, K_33, distortion, w2c_44, fisheye)
    return cameras, content.get("up", "y")


def save_calibration(path: Path, cameras: Iterable[CalibratedCamera]) -> None:
    """Write our JSON, through a temporary name."""
    entries = {
        camera.name: {
            "width": camera.width,
            "height": camera.height,
            "K": camera.K_33.tolist(),
            "distortion": camera.distortion_8.tolist(),
            "fisheye": camera.fisheye,
            "w2c": camera.w2c_44.tolist(),
        }
        for camera in cameras
    }
    content = {"format": "lca-calibration", "version": 1, "up": "y", "pixel_center": 0.5, "cameras": entries}
    write_text(path, json.dumps(content, indent=1) + "\n")
