"""Calibration files against hand-written formulas and OpenCV's lens model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from lca_lightning.calibration.camera import CalibratedCamera
from lca_lightning.calibration.lens import distort_points, undistort_pixels, undistortion_maps
from lca_lightning.calibration.loading import load_calibration
from lca_lightning.calibration.own_json import save_calibration
from lca_lightning.errors import DataError

QUALISYS = """<?xml version='1.0'?>
<calibration><cameras>
 <camera active="1" serial="c1"><fov_video left="0" top="0" right="1087" bottom="1919"/>
  <transform {rotation} x="{x}" y="{y}" z="{z}"/>
  <intrinsic focalLengthU="107599.67" focalLengthV="107588.83" centerPointU="34110.3" centerPointV="60680.8"
   skew="0" sensorMinU="0" sensorMinV="0" radialDistortion1="-0.046" radialDistortion2="0.14"
   radialDistortion3="0" tangentalDistortion1="0.0006" tangentalDistortion2="0.0007"/></camera>
 <camera active="0" serial="off"/>
</cameras></calibration>"""


def qualisys_file(folder: Path, rotation: np.ndarray, center_mm: np.ndarray) -> Path:
    entries = " ".join(f'r{i + 1}{j + 1}="{rotation[i, j]!r}"' for i in range(3) for j in range(3))
    path = folder / "calibration.qca.txt"
    x, y, z = (repr(float(value)) for value in center_mm)
    path.write_text(
        QUALISYS.format(rotation=entries, x=x, y=y, z=z).replace("np.float64(", "").replace(')"', '"')
    )
    return path


def test_qualisys_follows_its_formulas_and_turns_z_up_into_y_up(tmp_path: Path) -> None:
    rotation = Rotation.from_euler("xyz", [0.4, -0.7, 1.1]).as_matrix()
    center = np.array([1460.0, -1909.0, 1896.0])
    camera = load_calibration(qualisys_file(tmp_path, rotation, center))["c1"]
    assert (camera.width, camera.height) == (1088, 1920)
    # A point of the lab (z up, metres) is (x, z, -y) in our world (y up).
    lab = np.array([0.3, 0.8, 1.5])
    ours = np.array([lab[0], lab[2], -lab[1]])
    expected = np.diag([1, -1, -1]) @ rotation @ (lab - center / 1000)
    assert np.allclose(camera.w2c_44[:3, :3] @ ours + camera.w2c_44[:3, 3], expected, atol=1e-9)
    assert np.allclose(camera.K_33[0], [107599.67 / 64, 0, 34110.3 / 64 + 0.5])
    assert np.allclose(camera.K_33[1], [0, 107588.83 / 64, 60680.8 / 64 + 0.5])
    assert np.allclose(camera.distortion_8[:5], [-0.046, 0.14, 0.0006, 0.0007, 0])


def random_camera(
    seed: int, distortion: tuple[float, ...] = (-0.05, 0.13, 0.001, -0.0005, 0.0)
) -> CalibratedCamera:
    generator = np.random.default_rng(seed)
    w2c = np.eye(4)
    w2c[:3, :3] = Rotation.random(random_state=seed).as_matrix()
    w2c[:3, 3] = generator.normal(size=3)
    K = np.array([[1650.0, 0, 530.5], [0, 1640.0, 950.5], [0, 0, 1]])
    return CalibratedCamera(f"cam{seed}", 1080, 1920, K, np.array(distortion), w2c)


def test_own_json_returns_what_was_saved(tmp_path: Path) -> None:
    cameras = [random_camera(1), random_camera(2)]
    save_calibration(tmp_path / "c.json", cameras)
    loaded = load_calibration(tmp_path / "c.json")
    for camera in cameras:
        again = loaded[camera.name]
        assert np.allclose(again.projection_34, camera.projection_34) and again.width == camera.width
        assert np.allclose(again.distortion_8, camera.distortion_8)


def test_json_with_z_up_and_opencv_pixel_centers(tmp_path: Path) -> None:
    camera = random_camera(3)
    entry = {"width": 10, "height": 20, "K": camera.K_33.tolist(), "w2c": camera.w2c_44.tolist()}
    content = {
        "format": "lca-calibration",
        "version": 1,
        "up": "z",
        "pixel_center": 0,
        "cameras": {"a": entry},
    }
    path = tmp_path / "c.json"
    path.write_text(json.dumps(content))
    loaded = load_calibration(path)["a"]
    assert np.allclose(loaded.K_33[:2, 2], camera.K_33[:2, 2] + 0.5)
    lab, ours = np.array([0.1, 0.2, 0.3, 1]), np.array([0.1, 0.3, -0.2, 1])
    assert np.allclose(loaded.w2c_44 @ ours, camera.w2c_44 @ lab)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("{}", "not a calibration"),
        ("<calibration><cameras/></calibration>", "names no camera"),
        ("hello", "not a calibration"),
        ('{"format": "lca-calibration", "version": 2, "cameras": {}}', "not a calibration"),
    ],
)
def test_unusable_files_are_refused_in_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=said):
        load_calibration(path)


def test_missing_file_and_mirrored_rotation_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        load_calibration(tmp_path / "none.xml")
    with pytest.raises(DataError, match="right-handed"):
        load_calibration(qualisys_file(tmp_path, np.diag([1.0, 1.0, -1.0]), np.zeros(3)))


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1080), st.floats(0, 1920))
def test_undistorting_inverts_distorting(x: float, y: float) -> None:
    camera = random_camera(4)
    pixel = np.array([[x, y]])
    ideal = undistort_pixels(pixel, camera)
    rays = np.concatenate([ideal, np.ones((1, 1))], 1) @ np.linalg.inv(camera.K_33).T
    bent = distort_points(rays[:, :2], camera.distortion_8)
    again = np.concatenate([bent, np.ones((1, 1))], 1) @ camera.K_33.T
    assert np.allclose(again[:, :2], pixel, atol=1e-4)


def test_lens_model_equals_opencv() -> None:
    cv2 = pytest.importorskip("cv2")
    camera = random_camera(5)
    pixels = np.random.default_rng(0).uniform([0, 0], [1080, 1920], (50, 2))
    opencv_K = camera.K_33.copy()
    opencv_K[:2, 2] -= 0.5
    expected = (
        cv2.undistortPoints((pixels - 0.5)[:, None], opencv_K, camera.distortion_8, P=opencv_K)[:, 0] + 0.5
    )
    assert np.abs(undistort_pixels(pixels, camera) - expected).max() < 0.05
    maps = undistortion_maps(camera)
    assert maps is not None
    first, second = cv2.initUndistortRectifyMap(
        opencv_K, camera.distortion_8, None, opencv_K, (1080, 1920), cv2.CV_32FC1
    )
    assert np.abs(maps[0] - first).max() < 1e-2 and np.abs(maps[1] - second).max() < 1e-2


def test_adapting_to_a_crop_and_scale_moves_projections_alike() -> None:
    camera = random_camera(6)
    point = np.linalg.inv(camera.w2c_44) @ np.array([0.1, 0.2, 3.0, 1.0])
    before = camera.projection_34 @ point
    after = camera.adapted((0.5, 0.25), (8, 3), (500, 400)).projection_34 @ point
    assert np.allclose(after[:2] / after[2], before[:2] / before[2] * [0.5, 0.25] - [8, 3])
