"""Camera calibrations: Qualisys XML and our own JSON, brought to one convention (metres, y up, pixel
centres +0.5).

Our JSON, version 1::

    {"format": "lca-calibration", "version": 1, "up": "y", "pixel_center": 0.5,
     "cameras": {"NAME": {"width": 1088, "height": 1920, "K": [[..],[..],[..]],
                          "distortion": [k1, k2, p1, p2, k3], "w2c": 4x4 rows}}}

``w2c`` is OpenCV world to camera in metres; ``up`` names the world axis that points up (``y``, ``z``,
``-y``);
``pixel_center`` is 0 for calibrations whose pixel centres lie at integers (OpenCV's own), 0.5 for ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from scipy.spatial.transform import Rotation

from lca_lightning.errors import DataError
from lca_lightning.preprocessing.landmarks import FloatArray
from lca_lightning.writing import write_text

QUALISYS_SUBPIXELS = 64.0
# Rows are our axes (x right, y up) in terms of the file's axes.
_TO_Y_UP = {
    "y": np.eye(3),
    "z": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "-y": np.array([[1.0, 0, 0], [0, -1, 0], [0, 0, -1]]),
}


@dataclass(frozen=True)
class CalibratedCamera:
    """One camera with its lens.

    Attributes:
        name: Matched with the stem of the video's file name.
        width: Pixels of the pictures the calibration is for.
        height: Pixels.
        K_33: Intrinsics in pixels, centres at +0.5.
        distortion_5: OpenCV's k1, k2, p1, p2, k3.
        w2c_44: World (metres, y up) to camera (OpenCV axes).
    """

    name: str
    width: int
    height: int
    K_33: FloatArray
    distortion_5: FloatArray
    w2c_44: FloatArray

    @property
    def projection_34(self) -> FloatArray:
        """World to homogeneous undistorted pixels, ``(3, 4)``."""
        return self.K_33 @ self.w2c_44[:3]

    def degrees_from(self, other: CalibratedCamera) -> float:
        """Angle between the orientations of two cameras."""
        turn = Rotation.from_matrix(self.w2c_44[:3, :3] @ other.w2c_44[:3, :3].T)
        return float(np.degrees(turn.magnitude()))

    def adapted(
        self, scale: tuple[float, float], offset: tuple[float, float], size: tuple[int, int]
    ) -> CalibratedCamera:
        """The same camera for pictures that were scaled, then lost ``offset`` pixels at the left and top."""
        K_33 = self.K_33.copy()
        K_33[0] *= scale[0]
        K_33[1] *= scale[1]
        K_33[0, 2] -= offset[0]
        K_33[1, 2] -= offset[1]
        return replace(self, K_33=K_33, width=size[0], height=size[1])


def pinhole_camera(name: str, width: int, height: int, focal: float) -> CalibratedCamera:
    """A camera at the world's origin that looks along -z with y up: for clips without a calibration."""
    K_33 = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return CalibratedCamera(name, width, height, K_33, np.zeros(5), np.diag([1.0, -1.0, -1.0, 1.0]))


def load_calibration(path: Path) -> dict[str, CalibratedCamera]:
    """Read a calibration file of either kind.

    Args:
        path: Qualisys XML (any extension) or our JSON.

    Returns:
        Cameras by name.

    Raises:
        DataError: The file is missing, of another kind, or inconsistent; says which.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"Calibration {path} does not exist; check the path.")
    text = path.read_text(encoding="utf-8", errors="replace").lstrip("\ufeff \r\n\t")
    if not text:
        raise DataError(f"Calibration {path} is empty; export it again.")
    try:
        cameras = _parse_json(text) if text.startswith("{") else _parse_qualisys(text)
    except (ValueError, KeyError, TypeError, ElementTree.ParseError) as error:
        raise DataError(
            f"{path} is not a calibration this command reads ({type(error).__name__}: {error}); "
            "give a Qualisys XML export or the JSON described in docs/preprocessing.md."
        ) from error
    for camera in cameras.values():
        _check(path, camera)
    return cameras


def save_calibration(path: Path, cameras: Iterable[CalibratedCamera]) -> None:
    """Write our JSON, through a temporary name."""
    entries = {
        camera.name: {
            "width": camera.width,
            "height": camera.height,
            "K": camera.K_33.tolist(),
            "distortion": camera.distortion_5.tolist(),
            "w2c": camera.w2c_44.tolist(),
        }
        for camera in cameras
    }
    content = {"format": "lca-calibration", "version": 1, "up": "y", "pixel_center": 0.5, "cameras": entries}
    write_text(path, json.dumps(content, indent=1) + "\n")


def _parse_json(text: str) -> dict[str, CalibratedCamera]:
    content = json.loads(text)
    if content.get("format") != "lca-calibration" or content.get("version") != 1:
        raise ValueError('it lacks "format": "lca-calibration" and "version": 1')
    to_ours = np.eye(4)
    to_ours[:3, :3] = _TO_Y_UP[content.get("up", "y")]
    shift = 0.5 - float(content.get("pixel_center", 0.5))
    cameras = {}
    for name, entry in content["cameras"].items():
        K_33 = np.array(entry["K"], np.float64).reshape(3, 3)
        K_33[:2, 2] += shift
        distortion = np.zeros(5)
        given = np.array(entry.get("distortion", []), np.float64).reshape(-1)
        distortion[: len(given)] = given
        w2c_44 = np.array(entry["w2c"], np.float64).reshape(4, 4) @ np.linalg.inv(to_ours)
        cameras[name] = CalibratedCamera(
            name, int(entry["width"]), int(entry["height"]), K_33, distortion, w2c_44
        )
    return cameras


def _parse_qualisys(text: str) -> dict[str, CalibratedCamera]:
    root = ElementTree.fromstring(text)
    to_ours = np.eye(4)
    to_ours[:3, :3] = _TO_Y_UP["z"]
    cameras = {}
    for element in root.iter("camera"):
        if element.get("active", "1") != "1":
            continue
        name = element.attrib["serial"]
        frame = _child(element, "fov_video")
        width = int(frame["right"]) - int(frame["left"]) + 1
        height = int(frame["bottom"]) - int(frame["top"]) + 1
        w2c_44 = _qualisys_pose(_child(element, "transform")) @ np.linalg.inv(to_ours)
        K_33, distortion = _qualisys_lens(_child(element, "intrinsic"))
        cameras[name] = CalibratedCamera(name, width, height, K_33, distortion, w2c_44)
    if not cameras:
        raise ValueError("it names no camera")
    return cameras


def _child(element: ElementTree.Element, tag: str) -> dict[str, str]:
    child = element.find(tag)
    if child is None:
        raise KeyError(f"camera {element.get('serial')} has no <{tag}>")
    return dict(child.attrib)


def _qualisys_pose(values: Mapping[str, str]) -> FloatArray:
    """``R_w2c = diag(1, -1, -1) R``, ``t = -R_w2c T / 1000`` (Qualisys: y up in the picture, millimetres)."""
    rotation = np.array([[float(values[f"r{row}{column}"]) for column in "123"] for row in "123"])
    center = np.array([float(values[axis]) for axis in "xyz"]) / 1000.0
    w2c_44 = np.eye(4)
    w2c_44[:3, :3] = np.diag([1.0, -1.0, -1.0]) @ rotation
    w2c_44[:3, 3] = -w2c_44[:3, :3] @ center
    return w2c_44


def _qualisys_lens(values: Mapping[str, str]) -> tuple[FloatArray, FloatArray]:
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


def _check(path: Path, camera: CalibratedCamera) -> None:
    rotation = camera.w2c_44[:3, :3]
    values = np.concatenate([camera.K_33.ravel(), camera.w2c_44.ravel(), camera.distortion_5])
    if not np.isfinite(values).all():
        raise DataError(
            f"Calibration {path} holds a value that is not a number for camera {camera.name}; export it "
            f"again."
        )
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-3 or np.linalg.det(rotation) < 0:
        raise DataError(
            f"Calibration {path}: the rotation of camera {camera.name} is not a right-handed rotation; "
            "check that the matrix is world to camera with OpenCV axes."
        )
    if camera.K_33[0, 0] <= 0 or camera.K_33[1, 1] <= 0 or camera.width <= 0 or camera.height <= 0:
        raise DataError(f"Calibration {path}: camera {camera.name} has no positive focal length or size.")


def distort_points(normalised_P2: FloatArray, distortion_5: FloatArray) -> FloatArray:
    """Apply OpenCV's radial and tangential lens model to points on the plane z = 1, ``(..., 2)``."""
    k1, k2, p1, p2, k3 = distortion_5
    x, y = normalised_P2[..., 0], normalised_P2[..., 1]
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    return np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        ],
        -1,
    )


def undistort_pixels(pixels_P2: FloatArray, camera: CalibratedCamera, iterations: int = 30) -> FloatArray:
    """Where pixels would lie in a picture of the same camera without lens distortion.

    Args:
        pixels_P2: Measured pixels, ``(..., 2)``; NaN stays NaN.
        camera: Intrinsics and distortion.
        iterations: Fixed-point steps.

    Returns:
        Undistorted pixels under the same ``K_33``, ``(..., 2)``.
    """
    if not camera.distortion_5.any():
        return np.array(pixels_P2, np.float64)
    inverse = np.linalg.inv(camera.K_33)
    homogeneous = np.concatenate([pixels_P2, np.ones_like(pixels_P2[..., :1])], -1) @ inverse.T
    measured = homogeneous[..., :2]
    # Far outside the picture the polynomial may fold over: such points keep their measured place.
    limit = 1.5 * np.linalg.norm(
        inverse @ np.array([camera.width, camera.height, 1.0]) - inverse @ np.array([0, 0, 1.0])
    )
    ideal = measured.copy()
    for _ in range(iterations):
        ideal = ideal + (measured - distort_points(ideal, camera.distortion_5))
    wild = ~(np.linalg.norm(ideal, axis=-1, keepdims=True) < limit)
    ideal = np.where(wild, measured, ideal)
    return (np.concatenate([ideal, np.ones_like(ideal[..., :1])], -1) @ camera.K_33.T)[..., :2]


def undistortion_maps(camera: CalibratedCamera) -> tuple[FloatArray, FloatArray] | None:
    """Look-up maps for ``cv2.remap`` that remove the lens distortion under the same ``K_33``; None without
    distortion.
    """
    if not camera.distortion_5.any():
        return None
    x, y = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    ideal = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(camera.K_33).T
    bent = distort_points(ideal[..., :2], camera.distortion_5)
    pixels = np.concatenate([bent, np.ones_like(bent[..., :1])], -1) @ camera.K_33.T
    return (pixels[..., 0] - 0.5).astype(np.float32), (pixels[..., 1] - 0.5).astype(np.float32)
