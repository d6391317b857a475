"""Qualisys XML: millimetres, z up, intrinsics in 1/64 pixels with centres at integers."""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree

import numpy as np

from lca_lightning.calibration.camera import CalibratedCamera, FloatArray, world_to_camera

QUALISYS_SUBPIXELS = 64.0


def parse_qualisys(text: str) -> tuple[dict[str, CalibratedCamera], str]:
    """Read the text of an export of Qualisys Track Manager.

    Args:
        text: The XML.

    Returns:
        Active cameras by serial number in the file's world (metres), and the axis that points up.

    Raises:
        ValueError, KeyError, ParseError: Not such a file.
    """
    root = ElementTree.fromstring(text)
    cameras = {}
    for element in root.iter("camera"):
        if element.get("active", "1") != "1":
            continue
        name = element.attrib["serial"]
        frame = _child(element, "fov_video")
        width = int(frame["right"]) - int(frame["left"]) + 1
        height = int(frame["bottom"]) - int(frame["top"]) + 1
        pose = _pose(_child(element, "transform"))
        K_33, distortion = _lens(_child(element, "intrinsic"))
        cameras[name] = CalibratedCamera(name, width, height, K_33, distortion, pose)
    if not cameras:
        raise ValueError("it names no camera")
    return cameras, "z"


def _child(element: ElementTree.Element, tag: str) -> dict[str, str]:
    child = element.find(tag)
    if child is None:
        raise KeyError(f"camera {element.get('serial')} has no <{tag}>")
    return dict(child.attrib)


def _pose(values: Mapping[str, str]) -> FloatArray:
    """``R_w2c = diag(1, -1, -1) R``, ``t = -R_w2c T / 1000`` (Qualisys: y up in the picture, millimetres)."""
    rotation = np.array([[float(values[f"r{row}{column}"]) for column in "123"] for row in "123"])
    center = np.array([float(values[axis]) for axis in "xyz"]) / 1000.0
    turned = np.diag([1.0, -1.0, -1.0]) @ rotation
    return world_to_camera(turned, -turned @ center)


def _lens(values: Mapping[str, str]) -> tuple[FloatArray, FloatArray]:
    """Intrinsics in 1/64 pixels with centres at integers (the sensor spans 0 to 64 (width - 1)), hence
    +0.5.
    """

    def number(name: str) -> float:
        return float(values.get(name, 0.0))

    K_33 = np.array(
        [
            [number("focalLengthU"), number("skew"), number("centerPointU")],
            [0.0, number("focalLengthV"), number("centerPointV")],
            [0.0, 0.0, QUALISYS_SUBPIXELS],
        ]
    )
    K_33 /= QUALISYS_SUBPIXELS
    K_33[:2, 2] += 0.5 - np.array([number("sensorMinU"), number("sensorMinV")]) / QUALISYS_SUBPIXELS
    tangential = [number("tangentalDistortion1"), number("tangentalDistortion2")]
    radial = [number(f"radialDistortion{order}") for order in (1, 2, 3)]
    return K_33, np.array([radial[0], radial[1], *tangential, radial[2]])
