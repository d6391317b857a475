"""COLMAP's sparse model: cameras and images, as text or binary; pixel centres are at +0.5 already."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from scipy.spatial.transform import Rotation

from lca_lightning.calibration.camera import (
    CalibratedCamera,
    FloatArray,
    intrinsic_matrix,
    world_to_camera,
)
from lca_lightning.errors import DataError

# Name, number of parameters, one or two focal lengths, whether a fisheye; in the order of COLMAP's numbers.
_MODELS = (
    ("SIMPLE_PINHOLE", 3, 1, False),
    ("PINHOLE", 4, 2, False),
    ("SIMPLE_RADIAL", 4, 1, False),
    ("RADIAL", 5, 1, False),
    ("OPENCV", 8, 2, False),
    ("OPENCV_FISHEYE", 8, 2, True),
    ("FULL_OPENCV", 12, 2, False),
    ("FOV", 5, 2, False),
    ("SIMPLE_RADIAL_FISHEYE", 4, 1, True),
    ("RADIAL_FISHEYE", 5, 1, True),
    ("THIN_PRISM_FISHEYE", 12, 2, True),
)
_UNSUPPORTED = ("FOV", "THIN_PRISM_FISHEYE")
# Pictures of one standing camera agree within this turn (radians) and this share of its distance.
_STANDING = 0.01


@dataclass(frozen=True)
class _Lens:
    model: str
    width: int
    height: int
    parameters: tuple[float, ...]


def is_colmap(path: Path) -> bool:
    """Whether a folder holds a sparse model, itself or under ``sparse/0`` or ``sparse``."""
    return _model_folder(path) is not None


def _model_folder(path: Path) -> Path | None:
    for folder in (path, path / "sparse" / "0", path / "sparse", path / "colmap"):
        for suffix in ("bin", "txt"):
            if (folder / f"cameras.{suffix}").is_file() and (folder / f"images.{suffix}").is_file():
                return folder
    return None


def read_colmap(path: Path) -> dict[str, CalibratedCamera]:
    """Every registered picture as a camera, in COLMAP's own world and scale.

    Args:
        path: A folder with ``cameras`` and ``images`` as ``.bin`` or ``.txt``, or one above ``sparse/0``.

    Returns:
        Cameras by picture name as COLMAP stores it, in order of names.

    Raises:
        DataError: No such folder, a truncated file, or a lens model that is not supported.
    """
    folder = _model_folder(path)
    if folder is None:
        raise DataError(f"{path} holds no COLMAP model (cameras and images as .bin or .txt); check the path.")
    try:
        if (folder / "cameras.bin").is_file():
            lenses = _binary_lenses((folder / "cameras.bin").read_bytes())
            images = list(_binary_images((folder / "images.bin").read_bytes()))
        else:
            lenses = _text_lenses((folder / "cameras.txt").read_text(encoding="utf-8"))
            images = list(_text_images((folder / "images.txt").read_text(encoding="utf-8")))
        cameras = {name: _camera(name, lenses[lens], pose) for name, lens, pose in images}
    except (struct.error, ValueError, KeyError, IndexError) as error:
        raise DataError(
            f"The COLMAP model {folder} is truncated or of an unknown version ({type(error).__name__}: "
            f"{error}); export it again."
        ) from error
    if not cameras:
        raise DataError(f"The COLMAP model {folder} registers no picture; run the reconstruction again.")
    return dict(sorted(cameras.items()))


def standing_cameras(pictures: dict[str, CalibratedCamera]) -> dict[str, CalibratedCamera]:
    """One camera per folder of pictures (or per picture where there are no folders).

    Args:
        pictures: What `read_colmap` returned, by picture name such as ``cam01/000012.jpg``.

    Returns:
        Cameras by folder, or by picture name without suffix.

    Raises:
        DataError: The pictures of one folder were not taken from one place.
    """
    folders = {PurePosixPath(name).parent.as_posix() for name in pictures}
    if "." in folders or len(folders) == 1:
        return {_plain(name): replace(camera, name=_plain(name)) for name, camera in pictures.items()}
    size = float(np.ptp([camera.center_3 for camera in pictures.values()], axis=0).max())
    standing: dict[str, CalibratedCamera] = {}
    for name, camera in pictures.items():
        folder = PurePosixPath(name).parent.name
        first = standing.setdefault(folder, replace(camera, name=folder))
        moved = float(np.linalg.norm(first.center_3 - camera.center_3)) / max(size, 1e-9)
        if moved > _STANDING or np.radians(first.degrees_from(camera)) > _STANDING:
            raise DataError(
                f"The pictures of camera {folder} were taken from different places ({name} moved); import a "
                "moving camera as a sequence of its own."
            )
    return standing


def _plain(name: str) -> str:
    return PurePosixPath(name).stem


def _camera(name: str, lens: _Lens, pose_44: FloatArray) -> CalibratedCamera:
    known = {model: (count, focals, fisheye) for model, count, focals, fisheye in _MODELS}
    if lens.model not in known or lens.model in _UNSUPPORTED:
        supported = ", ".join(model for model in known if model not in _UNSUPPORTED)
        raise DataError(
            f"The lens model {lens.model} of {name} is not supported (known: {supported}); undistort with "
            "`colmap image_undistorter` first."
        )
    count, focals, fisheye = known[lens.model]
    values = lens.parameters
    if len(values) != count:
        raise ValueError(f"{lens.model} takes {count} parameters, got {len(values)}")
    K_33 = intrinsic_matrix(values[0], values[focals - 1], values[focals], values[focals + 1])
    # The lens coefficients follow in OpenCV's order: k1 k2 (p1 p2) k3 k4 k5 k6, or k1 to k4 of a fisheye.
    distortion = np.array(values[focals + 2 :], np.float64)
    return CalibratedCamera(name, lens.width, lens.height, K_33, distortion, pose_44, fisheye)


def _pose(quaternion_wxyz: tuple[float, ...], translation: tuple[float, ...]) -> FloatArray:
    w, x, y, z = quaternion_wxyz
    return world_to_camera(Rotation.from_quat([x, y, z, w]).as_matrix(), np.array(translation))


def _rows(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if not line.startswith("#")]


def _text_lenses(text: str) -> dict[int, _Lens]:
    lenses = {}
    for row in _rows(text):
        if row:
            number, model, width, height, *values = row.split()
            lenses[int(number)] = _Lens(model, int(width), int(height), tuple(map(float, values)))
    return lenses


def _text_images(text: str) -> Iterator[tuple[str, int, FloatArray]]:
    """Every second line lists points, and may be empty."""
    rows = _rows(text)
    while rows and not rows[0]:
        rows.pop(0)
    for row in rows[::2]:
        if row:
            fields = row.split(maxsplit=9)
            values = tuple(float(value) for value in fields[1:8])
            yield fields[9], int(fields[8]), _pose(values[:4], values[4:])


def _binary_lenses(data: bytes) -> dict[int, _Lens]:
    (count,), offset = struct.unpack_from("<Q", data), 8
    lenses = {}
    for _ in range(count):
        number, model, width, height = struct.unpack_from("<iiQQ", data, offset)
        name, size = _MODELS[model][:2]
        values = struct.unpack_from(f"<{size}d", data, offset + 24)
        lenses[number] = _Lens(name, width, height, values)
        offset += 24 + 8 * size
    return lenses


def _binary_images(data: bytes) -> Iterator[tuple[str, int, FloatArray]]:
    (count,), offset = struct.unpack_from("<Q", data), 8
    for _ in range(count):
        _, *values, lens = struct.unpack_from("<i7di", data, offset)
        end = data.index(b"\0", offset + 64)
        name = data[offset + 64 : end].decode("utf-8")
        (points,) = struct.unpack_from("<Q", data, end + 1)
        offset = end + 9 + 24 * points
        if offset > len(data):
            raise ValueError("the list of points ends early")
        yield name, lens, _pose(tuple(values[:4]), tuple(values[4:]))
