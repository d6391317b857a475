"""Pictures and pixels without lens distortion, against OpenCV."""

from __future__ import annotations

import numpy as np
import pytest

from lca_lightning.calibration.lens import (
    distort_points,
    undistort_image,
    undistort_pixels,
    undistortion_maps,
)
from lca_lightning.errors import DataError
from tests.unit.calibration.files import opencv_K
from tests.unit.calibration.test_formats import make_cameras

cv2 = pytest.importorskip("cv2")


@pytest.mark.parametrize("fisheye", [False, True])
def test_pictures_equal_those_of_opencv(fisheye: bool) -> None:
    camera = make_cameras(4 if fisheye else 8, fisheye=fisheye)[0]
    image = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    image = cv2.resize(image, (640, 480), interpolation=cv2.INTER_CUBIC)
    ours = undistort_image(image, camera)
    K = opencv_K(camera)
    if fisheye:
        theirs = cv2.fisheye.undistortImage(image, K, camera.distortion_8[:4], Knew=K)
    else:
        theirs = cv2.undistort(image, K, camera.distortion_8)
    difference = np.abs(ours.astype(int) - theirs.astype(int))
    assert difference.mean() < 0.1 and np.abs(ours.astype(int) - image.astype(int)).mean() > 1
    mask = np.full((480, 640), 255, np.uint8)
    assert undistort_image(mask, camera).dtype == np.uint8


def test_a_pinhole_leaves_pictures_alone() -> None:
    camera = make_cameras(0)[0]
    image = np.zeros((480, 640, 3), np.uint8)
    assert undistort_image(image, camera) is image and undistortion_maps(camera) is None


def test_fisheye_pixels_go_back_and_forth() -> None:
    camera = make_cameras(4, fisheye=True)[0]
    pixels = np.random.default_rng(1).uniform([0, 0], [640, 480], (60, 2))
    ideal = undistort_pixels(pixels, camera)
    rays = np.concatenate([ideal, np.ones((60, 1))], 1) @ np.linalg.inv(camera.K_33).T
    bent = distort_points(rays[:, :2], camera.distortion_8, fisheye=True)
    again = np.concatenate([bent, np.ones((60, 1))], 1) @ camera.K_33.T
    assert np.abs(again[:, :2] - pixels).max() < 1e-6
    theirs = cv2.fisheye.undistortPoints(
        (pixels - 0.5)[:, None], opencv_K(camera), camera.distortion_8[:4], P=opencv_K(camera)
    )
    assert np.abs(theirs[:, 0] + 0.5 - ideal).max() < 1e-3


def test_a_fisheye_with_tangential_terms_is_refused() -> None:
    with pytest.raises(DataError, match="at most 4"):
        make_cameras(5, fisheye=True)
