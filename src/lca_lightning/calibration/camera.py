"""One camera with its lens, in the project's convention (metres, y up, pixel centres +0.5)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from lca_lightning.errors import DataError

FloatArray = NDArray[np.floating]
# Rotations given with few digits are made exact; anything farther from a rotation is refused.
ROTATION_TOLERANCE = 1e-3


@dataclass(frozen=True)
class CalibratedCamera:
    """One camera with its lens.

    Attributes:
        name: Matched with the stem of the video's file name.
        width: Pixels of the pictures the calibration is for.
        height: Pixels.
        K_33: Intrinsics in pixels, centres at +0.5.
        distortion_8: OpenCV's k1, k2, p1, p2, k3, k4, k5, k6; fewer are filled up with zeros. Of a fisheye
            lens the first four are OpenCV's k1, k2, k3, k4.
        w2c_44: World (metres, y up) to camera (OpenCV axes).
        fisheye: Whether the lens follows OpenCV's fisheye (equidistant) model.
    """

    name: str
    width: int
    height: int
    K_33: FloatArray
    distortion_8: FloatArray
    w2c_44: FloatArray
    fisheye: bool = False

    def __post_init__(self) -> None:
        given = np.asarray(self.distortion_8, np.float64).reshape(-1)
        most = 4 if self.fisheye else 8
        if given[most:].any():
            raise DataError(
                f"Camera {self.name} has {len(given)} distortion coefficients; a "
                f"{'fisheye' if self.fisheye else 'perspective'} lens takes at most {most}."
            )
        filled = np.zeros(8)
        filled[: min(len(given), most)] = given[:most]
        object.__setattr__(self, "distortion_8", filled)

    @property
    def distorted(self) -> bool:
        """Whether the lens differs from a pinhole; a fisheye does so even with zero coefficients."""
        return self.fisheye or bool(self.distortion_8.any())

    @property
    def projection_34(self) -> FloatArray:
        """World to homogeneous undistorted pixels, ``(3, 4)``."""
        return self.K_33 @ self.w2c_44[:3]

    @property
    def center_3(self) -> FloatArray:
        """Position of the camera in the world, metres, ``(3,)``."""
        return -self.w2c_44[:3, :3].T @ self.w2c_44[:3, 3]

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
    return CalibratedCamera(name, width, height, K_33, np.zeros(8), np.diag([1.0, -1.0, -1.0, 1.0]))


def intrinsic_matrix(fx: float, fy: float, cx: float, cy: float) -> FloatArray:
    """``(3, 3)`` of focal lengths and principal point in pixels."""
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def world_to_camera(rotation_33: FloatArray, translation_3: FloatArray) -> FloatArray:
    """``(4, 4)`` of a rotation matrix and a translation."""
    w2c_44 = np.eye(4)
    w2c_44[:3, :3] = np.asarray(rotation_33, np.float64).reshape(3, 3)
    w2c_44[:3, 3] = np.asarray(translation_3, np.float64).reshape(3)
    return w2c_44


def check_camera(source: object, camera: CalibratedCamera) -> CalibratedCamera:
    """Refuse a camera that cannot exist; make a rotation given with few digits exact.

    Args:
        source: The file, for the message.
        camera: What was read from it.

    Returns:
        The camera with an exact rotation.

    Raises:
        DataError: A value is not finite, the rotation is none, or focal length or size is not positive.
    """
    values = np.concatenate([camera.K_33.ravel(), camera.w2c_44.ravel(), camera.distortion_8])
    if not np.isfinite(values).all():
        raise DataError(
            f"Calibration {source} holds a value that is not a number for camera {camera.name}; export it "
            f"again."
        )
    rotation = camera.w2c_44[:3, :3]
    error = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
    if error > ROTATION_TOLERANCE or np.linalg.det(rotation) < 0:
        raise DataError(
            f"Calibration {source}: the rotation of camera {camera.name} is not a right-handed rotation; "
            "check that the matrix is world to camera with OpenCV axes."
        )
    if camera.K_33[0, 0] <= 0 or camera.K_33[1, 1] <= 0:
        raise DataError(
            f"Calibration {source}: camera {camera.name} has focal lengths {camera.K_33[0, 0]:g} and "
            f"{camera.K_33[1, 1]:g}, which must be positive; calibrate it again."
        )
    if camera.width <= 0 or camera.height <= 0:
        raise DataError(
            f"Calibration {source} gives no picture size for camera {camera.name}; write the size into it "
            "or convert it with the pictures at hand."
        )
    if error < 1e-12:
        return camera
    w2c_44 = camera.w2c_44.copy()
    w2c_44[:3, :3] = Rotation.from_matrix(rotation).as_matrix()
    return replace(camera, w2c_44=w2c_44)
