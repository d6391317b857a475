"""OpenCV's YAML: EasyMocap's ``intri.yml`` and ``extri.yml``, stereo files, and single cameras.

Read without OpenCV. Pixel centres lie at integers there, hence +0.5.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import yaml
from scipy.spatial.transform import Rotation

from lca_lightning.calibration.camera import CalibratedCamera, FloatArray, world_to_camera

Sizes = Mapping[str, tuple[int, int]]
_MATRIX = ("camera_matrix", "cameraMatrix", "Camera_Matrix", "K", "intrinsic_matrix")
_LENS = ("distortion_coefficients", "Distortion_Coefficients", "distCoeffs", "dist", "D")
_WIDTH, _HEIGHT = ("image_width", "image_Width", "width"), ("image_height", "image_Height", "height")
_ROTATION, _TRANSLATION = ("rotation_matrix", "R", "rvec"), ("translation_vector", "T", "t", "tvec")


class _StorageLoader(yaml.SafeLoader):
    """Plain values and ``!!opencv-matrix``; nothing else is constructed."""


def _read_matrix(loader: yaml.SafeLoader, node: yaml.Node) -> FloatArray:
    if not isinstance(node, yaml.MappingNode):
        raise ValueError("a matrix is not a table of rows, cols and data")
    values = loader.construct_mapping(node, deep=True)
    data = np.array([float(value) for value in values["data"]], np.float64)
    return data.reshape(int(values["rows"]), -1)


_StorageLoader.add_constructor("tag:yaml.org,2002:opencv-matrix", _read_matrix)


def read_storage(text: str) -> dict[str, Any]:
    """Values of a file that ``cv2.FileStorage`` wrote as YAML, matrices as arrays.

    Args:
        text: The YAML, with or without OpenCV's first line ``%YAML:1.0``.

    Returns:
        Its values by name.

    Raises:
        ValueError: Not such a file.
    """
    text = re.sub(r"\A%YAML.*\n(---[^\n]*\n)?", "", text)
    try:
        values = yaml.load(text, Loader=_StorageLoader)  # a SafeLoader with one plain constructor
    except yaml.YAMLError as error:
        raise ValueError(str(error).replace("\n", " ")) from error
    if not isinstance(values, dict):
        raise ValueError("it holds no named values")
    return values


def parse_opencv_yaml(
    text: str, other: str | None = None, sizes: Sizes | None = None
) -> tuple[dict[str, CalibratedCamera], str]:
    """Read one file, or EasyMocap's pair of files.

    Args:
        text: ``intri.yml``, a stereo file or a single camera.
        other: ``extri.yml``.
        sizes: Width and height of the pictures by camera, for files without sizes.

    Returns:
        Cameras in the file's world; and the axis that points up: ``z`` for EasyMocap's board on the floor,
        ``-y`` where the world is that of the first camera.

    Raises:
        ValueError, KeyError: Not such a file.
    """
    values = read_storage(text)
    if other is not None:
        values = {**values, **read_storage(other)}
    names = [key[2:] for key in values if key.startswith("K_")]
    if names:
        return {name: _easymocap_camera(name, values, sizes or {}) for name in names}, "z"
    if _first(values, ("M1", "cameraMatrix1", "K1")) is not None:
        return _stereo_cameras(values, sizes or {}), "-y"
    if _first(values, _MATRIX) is not None:
        camera = _single_camera(values, sizes or {})
        return {camera.name: camera}, "-y"
    raise ValueError("it holds neither K_NAME, nor camera_matrix, nor the matrices of a stereo pair")


def _first(values: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((values[name] for name in names if name in values), None)


def _array(values: Mapping[str, Any], names: tuple[str, ...]) -> FloatArray:
    found = _first(values, names)
    if found is None:
        raise KeyError(f"{names[0]} is missing")
    return np.asarray(found, np.float64)


def _matrix(given: FloatArray) -> FloatArray:
    K_33 = given.reshape(3, 3).copy()
    K_33[:2, 2] += 0.5
    return K_33


def _rotation(given: FloatArray) -> FloatArray:
    """A matrix as it is, a rotation vector as a matrix."""
    return given if given.size == 9 else Rotation.from_rotvec(given.reshape(3)).as_matrix()


def _size(name: str, values: Mapping[str, Any], sizes: Sizes, suffix: str = "") -> tuple[int, int]:
    """From the pictures, else from the file; (0, 0), refused later, where neither tells."""
    if name in sizes:
        return sizes[name]
    width = _first(values, ("W" + suffix, *_WIDTH))
    height = _first(values, ("H" + suffix, *_HEIGHT))
    pair = _first(values, ("image_size", "imageSize", "img_size"))
    if width is None and pair is not None:
        width, height = np.asarray(pair, np.float64).ravel()[:2]
    return (0, 0) if width is None or height is None else (round(float(width)), round(float(height)))


def _easymocap_camera(name: str, values: Mapping[str, Any], sizes: Sizes) -> CalibratedCamera:
    lens = _first(values, (f"dist_{name}", f"D_{name}"))
    if f"Rot_{name}" not in values and f"R_{name}" not in values:
        raise KeyError(f"Rot_{name} is missing; give the folder that holds intri.yml and extri.yml together")
    rotation = _rotation(_array(values, (f"Rot_{name}", f"R_{name}")))
    return CalibratedCamera(
        name,
        *_size(name, values, sizes, f"_{name}"),
        _matrix(_array(values, (f"K_{name}",))),
        np.zeros(0) if lens is None else np.asarray(lens, np.float64),
        world_to_camera(rotation, _array(values, (f"T_{name}",))),
    )


def _stereo_cameras(values: Mapping[str, Any], sizes: Sizes) -> dict[str, CalibratedCamera]:
    """The world is the first camera; ``R`` and ``T`` lead from it to the second."""
    second = world_to_camera(_rotation(_array(values, ("R",))), _array(values, ("T",)))
    cameras = {}
    for name, number, pose in (("cam1", "1", np.eye(4)), ("cam2", "2", second)):
        K_33 = _matrix(_array(values, (f"M{number}", f"cameraMatrix{number}", f"K{number}")))
        lens = _array(values, (f"D{number}", f"distCoeffs{number}", f"dist{number}"))
        cameras[name] = CalibratedCamera(name, *_size(name, values, sizes), K_33, lens, pose)
    return cameras


def _single_camera(values: Mapping[str, Any], sizes: Sizes) -> CalibratedCamera:
    name = str(_first(values, ("camera_name", "name")) or "camera")
    lens = _first(values, _LENS)
    rotation, translation = _first(values, _ROTATION), _first(values, _TRANSLATION)
    pose = np.eye(4)
    if rotation is not None and translation is not None:
        pose = world_to_camera(_rotation(np.asarray(rotation, np.float64)), translation)
    fisheye = str(_first(values, ("distortion_model", "model")) or "").lower() in ("fisheye", "equidistant")
    return CalibratedCamera(
        name,
        *_size(name, values, sizes),
        _matrix(_array(values, _MATRIX)),
        np.zeros(0) if lens is None else np.asarray(lens, np.float64),
        pose,
        fisheye,
    )
