"""Writers of calibration files for tests: the same cameras in every format, as their makers write them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from lca_lightning.calibration.camera import CalibratedCamera

Cameras = Sequence[CalibratedCamera]
# Our y-up world in the axes of a z-up file.
TO_Z_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
LENS = {
    "SIMPLE_PINHOLE": 0, "PINHOLE": 0, "SIMPLE_RADIAL": 1, "RADIAL": 2, "OPENCV": 4, "FULL_OPENCV": 8,
    "OPENCV_FISHEYE": 4,
}  # fmt: skip
MODELS = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE", "FULL_OPENCV")


def z_up_pose(camera: CalibratedCamera) -> np.ndarray:
    """World to camera of a world whose z points up."""
    pose = camera.w2c_44.copy()
    pose[:3, :3] = pose[:3, :3] @ TO_Z_UP.T
    return pose


def opencv_K(camera: CalibratedCamera) -> np.ndarray:
    """Intrinsics whose pixel centres lie at integers."""
    K = camera.K_33.copy()
    K[:2, 2] -= 0.5
    return K


def write_toml(path: Path, cameras: Cameras) -> Path:
    """Pose2Sim's file."""
    text = ""
    for index, camera in enumerate(cameras):
        pose = z_up_pose(camera)
        vector = Rotation.from_matrix(pose[:3, :3]).as_rotvec()
        text += f'[cam_{index:02d}]\nname = "{camera.name}"\nsize = [ {camera.width}.0, {camera.height}.0]\n'
        text += f"matrix = {opencv_K(camera).tolist()}\n"
        text += f"distortions = {camera.distortion_8[: 4 if camera.fisheye else 5].tolist()}\n"
        text += f"rotation = {vector.tolist()}\ntranslation = {pose[:3, 3].tolist()}\n"
        text += f"fisheye = {str(camera.fisheye).lower()}\n\n"
    path.write_text(text + "[metadata]\nadjusted = false\nerror = 0.0\n")
    return path


def _matrix(name: str, value: np.ndarray) -> str:
    rows, columns = value.shape
    data = ", ".join(repr(float(number)) for number in value.ravel())
    return f"{name}: !!opencv-matrix\n   rows: {rows}\n   cols: {columns}\n   dt: d\n   data: [ {data} ]\n"


def write_easymocap(folder: Path, cameras: Cameras, sizes: bool = True) -> Path:
    """``intri.yml`` and ``extri.yml``."""
    names = "names:\n" + "".join(f'  - "{camera.name}"\n' for camera in cameras)
    inner = outer = "%YAML:1.0\n---\n" + names
    for camera in cameras:
        pose = z_up_pose(camera)
        vector = Rotation.from_matrix(pose[:3, :3]).as_rotvec()
        inner += _matrix(f"K_{camera.name}", opencv_K(camera))
        inner += _matrix(f"dist_{camera.name}", camera.distortion_8[None, :5])
        if sizes:
            inner += f"H_{camera.name}: {camera.height}.\nW_{camera.name}: {camera.width}.\n"
        outer += _matrix(f"R_{camera.name}", vector[:, None])
        outer += _matrix(f"Rot_{camera.name}", pose[:3, :3]) + _matrix(f"T_{camera.name}", pose[:3, 3:])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "intri.yml").write_text(inner)
    (folder / "extri.yml").write_text(outer)
    return folder


def write_single(path: Path, camera: CalibratedCamera) -> Path:
    """OpenCV's calibration sample's file of one camera, with its pose in the camera's kind of world."""
    pose = camera.w2c_44.copy()
    pose[:3, :3] = pose[:3, :3] @ np.diag([1.0, -1.0, -1.0])
    text = f"%YAML:1.0\n---\nimage_width: {camera.width}\nimage_height: {camera.height}\n"
    text += _matrix("camera_matrix", opencv_K(camera))
    text += _matrix("distortion_coefficients", camera.distortion_8[None, :5])
    text += _matrix("R", pose[:3, :3]) + _matrix("T", pose[:3, 3:])
    path.write_text(text)
    return path


def colmap_parameters(camera: CalibratedCamera, model: str) -> list[float]:
    """Lens parameters in COLMAP's order; a single focal length needs fx = fy."""
    K = camera.K_33
    single = model in ("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL")
    focal = [K[0, 0]] if single else [K[0, 0], K[1, 1]]
    return [*focal, K[0, 2], K[1, 2], *camera.distortion_8[: LENS[model]]]


def write_colmap_text(folder: Path, cameras: Cameras, model: str, names: Sequence[str] = ()) -> Path:
    """``cameras.txt`` and ``images.txt`` in our own axes."""
    lenses = images = "# made by a test\n"
    for index, camera in enumerate(cameras):
        values = " ".join(repr(float(value)) for value in colmap_parameters(camera, model))
        lenses += f"{index + 1} {model} {camera.width} {camera.height} {values}\n"
        x, y, z, w = Rotation.from_matrix(camera.w2c_44[:3, :3]).as_quat()
        pose = " ".join(repr(float(value)) for value in (w, x, y, z, *camera.w2c_44[:3, 3]))
        name = names[index] if names else f"{camera.name}.png"
        images += f"{index + 1} {pose} {index + 1} {name}\n" + ("1.0 2.0 -1\n" if index % 2 else "\n")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cameras.txt").write_text(lenses)
    (folder / "images.txt").write_text(images)
    return folder


def write_colmap_binary(folder: Path, cameras: Cameras, model: str) -> Path:
    """``cameras.bin`` and ``images.bin``."""
    lenses = images = struct.pack("<Q", len(cameras))
    for index, camera in enumerate(cameras):
        values = colmap_parameters(camera, model)
        lenses += struct.pack("<iiQQ", index + 1, MODELS.index(model), camera.width, camera.height)
        lenses += struct.pack(f"<{len(values)}d", *values)
        x, y, z, w = Rotation.from_matrix(camera.w2c_44[:3, :3]).as_quat()
        images += struct.pack("<i7di", index + 1, w, x, y, z, *camera.w2c_44[:3, 3], index + 1)
        images += f"{camera.name}.png".encode() + b"\0" + struct.pack("<Q", index)
        images += struct.pack("<ddq", 1.0, 2.0, -1) * index
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cameras.bin").write_bytes(lenses)
    (folder / "images.bin").write_bytes(images)
    return folder
