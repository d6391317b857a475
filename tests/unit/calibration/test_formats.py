"""The same cameras written in every format give the same pixels; broken files are refused in a sentence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lca_lightning.calibration.axes import UP_CHOICES, change_world, turn_to_y_up
from lca_lightning.calibration.camera import CalibratedCamera
from lca_lightning.calibration.colmap import read_colmap
from lca_lightning.calibration.lens import project_distorted
from lca_lightning.calibration.loading import load_calibration
from lca_lightning.calibration.own_json import save_calibration
from lca_lightning.errors import DataError
from tests.unit.calibration.files import (
    LENS,
    MODELS,
    opencv_K,
    write_colmap_binary,
    write_colmap_text,
    write_easymocap,
    write_single,
    write_toml,
)

COEFFICIENTS = (-0.05, 0.03, 0.001, -0.0005, 0.01, 0.02, -0.01, 0.004)


def make_cameras(
    coefficients: int = 5, square: bool = False, fisheye: bool = False
) -> list[CalibratedCamera]:
    """Three cameras around the origin, seen from about 3 m."""
    cameras = []
    for index in range(3):
        w2c = np.eye(4)
        turn = Rotation.from_euler("xyz", [0.1 + 0.03 * index, 2.0 * index, 0.05 * index - 0.05])
        w2c[:3, :3] = np.diag([1.0, -1.0, -1.0]) @ turn.as_matrix()
        w2c[:3, 3] = [0.1 * index, 0.2, 3.0]
        K = np.array([[700.0 + index, 0, 318.5], [0, 700.0 + index if square else 690.0, 240.25], [0, 0, 1]])
        lens = np.array(COEFFICIENTS[:coefficients])
        cameras.append(CalibratedCamera(f"cam{index}", 640, 480, K, lens, w2c, fisheye))
    return cameras


def points() -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.6, 0.6, (40, 3))


def assert_same_pixels(loaded: dict[str, CalibratedCamera], cameras: list[CalibratedCamera]) -> None:
    assert sorted(loaded) == [camera.name for camera in cameras]
    for camera in cameras:
        pixels, depth = project_distorted(loaded[camera.name], points())
        expected, expected_depth = project_distorted(camera, points())
        assert np.abs(pixels - expected).max() < 1e-6 and np.abs(depth - expected_depth).max() < 1e-6
        assert (loaded[camera.name].width, loaded[camera.name].height) == (640, 480)


def write_qualisys(path: Path, cameras: list[CalibratedCamera]) -> Path:
    """Qualisys Track Manager's export."""
    rows = ""
    for camera in cameras:
        w2c = camera.w2c_44.copy()
        w2c[:3, :3] = w2c[:3, :3] @ np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]).T
        rotation = np.diag([1.0, -1.0, -1.0]) @ w2c[:3, :3]
        center = -w2c[:3, :3].T @ w2c[:3, 3] * 1000
        K, d = opencv_K(camera) * 64, camera.distortion_8
        pose = " ".join(f'r{i + 1}{j + 1}="{float(rotation[i, j])!r}"' for i in range(3) for j in range(3))
        pose += " ".join(["", *(f'{axis}="{float(v)!r}"' for axis, v in zip("xyz", center, strict=True))])
        rows += f"""<camera active="1" serial="{camera.name}"><fov_video left="0" top="0"
          right="{camera.width - 1}" bottom="{camera.height - 1}"/><transform {pose}/>
          <intrinsic focalLengthU="{K[0, 0]}" focalLengthV="{K[1, 1]}" centerPointU="{K[0, 2]}"
          centerPointV="{K[1, 2]}" skew="0" sensorMinU="0" sensorMinV="0" radialDistortion1="{d[0]}"
          radialDistortion2="{d[1]}" radialDistortion3="{d[4]}" tangentalDistortion1="{d[2]}"
          tangentalDistortion2="{d[3]}"/></camera>"""
    path.write_text(f"<?xml version='1.0'?><calibration><cameras>{rows}</cameras></calibration>")
    return path


def _write_json(path: Path, cameras: list[CalibratedCamera]) -> Path:
    save_calibration(path, cameras)
    return path


WRITERS: dict[str, Callable[[Path, list[CalibratedCamera]], Path]] = {
    "json": lambda folder, cameras: _write_json(folder / "c.json", cameras),
    "toml": lambda folder, cameras: write_toml(folder / "Calib.toml", cameras),
    "qualisys": lambda folder, cameras: write_qualisys(folder / "c.qca.txt", cameras),
    "easymocap": lambda folder, cameras: write_easymocap(folder / "e", cameras),
    "easymocap file": lambda folder, cameras: write_easymocap(folder / "e", cameras) / "extri.yml",
}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_gives_the_same_pixels(tmp_path: Path, kind: str) -> None:
    cameras = make_cameras()
    assert_same_pixels(load_calibration(WRITERS[kind](tmp_path, cameras)), cameras)


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_colmap_gives_the_same_pixels_for_every_lens(tmp_path: Path, model: str, binary: bool) -> None:
    single = model in ("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL")
    cameras = make_cameras(LENS[model], single, model == "OPENCV_FISHEYE")
    write = write_colmap_binary if binary else write_colmap_text
    write(tmp_path / "sparse" / "0", cameras, model)
    assert_same_pixels(load_calibration(tmp_path, up="y"), cameras)
    half = load_calibration(
        tmp_path / "sparse" / "0" / f"images.{'bin' if binary else 'txt'}", up="y", scale=0.5
    )
    pixels, depth = project_distorted(half["cam1"], 0.5 * points())
    expected, expected_depth = project_distorted(cameras[1], points())
    assert np.abs(pixels - expected).max() < 1e-6 and np.allclose(depth, 0.5 * expected_depth)


def test_fisheye_in_toml(tmp_path: Path) -> None:
    cameras = make_cameras(4, fisheye=True)
    loaded = load_calibration(write_toml(tmp_path / "Calib.toml", cameras))
    assert loaded["cam0"].fisheye
    assert_same_pixels(loaded, cameras)


def test_single_camera_and_stereo_yaml(tmp_path: Path) -> None:
    camera = replace(make_cameras()[1], name="left")
    assert_same_pixels(load_calibration(write_single(tmp_path / "left.yml", camera)), [camera])
    cv2 = pytest.importorskip("cv2")
    storage = cv2.FileStorage(str(tmp_path / "stereo.yaml"), cv2.FILE_STORAGE_WRITE)
    turn = Rotation.from_rotvec([0.1, 0.4, -0.2]).as_matrix()
    for key, value in {"M1": opencv_K(camera), "M2": opencv_K(camera), "R": turn}.items():
        storage.write(key, value)
    storage.write("D1", camera.distortion_8[None])
    storage.write("D2", camera.distortion_8[None, :5])
    storage.write("T", np.array([[-0.3], [0.01], [0.02]]))
    storage.write("image_size", np.array([640, 480]))
    storage.release()
    loaded = load_calibration(tmp_path / "stereo.yaml")
    point = np.array([0.2, -0.1, 2.5])  # in the first camera's axes; our world has y up
    ours = point * [1, -1, -1]
    assert np.allclose(loaded["cam1"].w2c_44[:3, :3] @ ours, point)
    assert np.allclose(
        loaded["cam2"].w2c_44[:3, :3] @ ours + loaded["cam2"].w2c_44[:3, 3],
        turn @ point + [-0.3, 0.01, 0.02],
    )


@pytest.mark.parametrize("fisheye", [False, True])
def test_projection_equals_opencv(tmp_path: Path, fisheye: bool) -> None:
    cv2 = pytest.importorskip("cv2")
    for camera in make_cameras(4 if fisheye else 8, fisheye=fisheye):
        pixels, _ = project_distorted(camera, points())
        vector, shift = cv2.Rodrigues(camera.w2c_44[:3, :3])[0], camera.w2c_44[:3, 3]
        if fisheye:
            found = cv2.fisheye.projectPoints(
                points()[:, None], vector, shift, opencv_K(camera), camera.distortion_8[:4]
            )[0]
        else:
            found = cv2.projectPoints(points(), vector, shift, opencv_K(camera), camera.distortion_8)[0]
        assert np.abs(found[:, 0] + 0.5 - pixels).max() < 1e-6


@pytest.mark.parametrize("up", ["x", "y", "z", "-x", "-y", "-z"])
def test_up_axes_are_rotations_that_turn_up_into_y(up: str) -> None:
    assert up in UP_CHOICES
    turn = turn_to_y_up(up, {})
    assert np.allclose(turn @ turn.T, np.eye(3)) and np.isclose(np.linalg.det(turn), 1)
    sign = -1.0 if up.startswith("-") else 1.0
    assert np.allclose(turn @ (sign * np.eye(3)["xyz".index(up[-1])]), [0, 1, 0])


def test_up_of_the_cameras_levels_an_arbitrary_world(tmp_path: Path) -> None:
    cameras = {camera.name: camera for camera in make_cameras(0)}
    tilted = change_world(cameras, Rotation.from_rotvec([0.9, 0.3, -1.2]).as_matrix())
    write_colmap_text(tmp_path, list(tilted.values()), "PINHOLE")
    loaded = load_calibration(tmp_path)
    up = np.mean([-camera.w2c_44[1, :3] for camera in loaded.values()], axis=0)
    assert np.allclose(up / np.linalg.norm(up), [0, 1, 0], atol=1e-9)


def test_pictures_in_folders_are_standing_cameras(tmp_path: Path) -> None:
    first, second, _ = make_cameras(0)
    names = ["a/000.jpg", "a/001.jpg", "b/000.jpg"]
    write_colmap_text(tmp_path, [first, first, second], "PINHOLE", names)
    assert sorted(load_calibration(tmp_path)) == ["a", "b"]
    assert len(read_colmap(tmp_path)) == 3
    write_colmap_text(tmp_path, [first, second, second], "PINHOLE", names)
    with pytest.raises(DataError, match="different places"):
        load_calibration(tmp_path)


def _spoil(old: str, new: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = write_toml(folder / "Calib.toml", make_cameras())
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        return path

    return write


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (_spoil("matrix = [[700.0", "matrix = [[-700.0"), "cam0 has focal lengths -700 and 690"),
        (_spoil("size = [ 640.0", "size = [ 0.0"), "no picture size for camera cam0"),
        (_spoil("rotation", "turn"), "not a calibration this command reads .KeyError: rotation"),
        (_spoil("matrix = [[700.0", "matrix = [[nan"), "not a number for camera cam0"),
        (_spoil("[cam_01]", "[cam_01"), "not a calibration"),
        (lambda folder: write_easymocap(folder, make_cameras(), sizes=False), "no picture size for camera"),
        (lambda folder: folder, "neither a COLMAP model nor intri.yml"),
    ],
)
def test_what_cannot_be_a_camera_is_refused(tmp_path: Path, write: Callable[[Path], Path], said: str) -> None:
    with pytest.raises(DataError, match=said):
        load_calibration(write(tmp_path))


def test_broken_yaml_and_colmap_are_refused(tmp_path: Path) -> None:
    folder = write_easymocap(tmp_path / "e", make_cameras())
    sizes = {f"cam{index}": (640, 480) for index in range(3)}
    write_easymocap(folder, make_cameras(), sizes=False)
    assert len(load_calibration(folder, sizes=sizes)) == 3
    text = (folder / "extri.yml").read_text()
    (folder / "extri.yml").write_text(text.replace("Rot_cam1", "Bot_cam1").replace("R_cam1", "B_cam1"))
    with pytest.raises(DataError, match="Rot_cam1 is missing"):
        load_calibration(folder, sizes=sizes)
    (folder / "extri.yml").unlink()
    with pytest.raises(DataError, match="missing beside its other half"):
        load_calibration(folder)
    (tmp_path / "evil.yml").write_text("camera_matrix: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(DataError, match="not a calibration"):
        load_calibration(tmp_path / "evil.yml")
    model = write_colmap_binary(tmp_path / "m", make_cameras(0), "PINHOLE")
    (model / "images.bin").write_bytes((model / "images.bin").read_bytes()[:-20])
    with pytest.raises(DataError, match="truncated"):
        load_calibration(model)
    model = write_colmap_text(tmp_path / "t", make_cameras(0), "PINHOLE")
    text = (model / "cameras.txt").read_text().replace("PINHOLE", "FOV")
    (model / "cameras.txt").write_text(text)
    with pytest.raises(DataError, match="lens model FOV of cam0.png is not supported"):
        load_calibration(model)
    with pytest.raises(DataError, match="must be positive"):
        load_calibration(write_toml(tmp_path / "c.toml", make_cameras()), scale=0.0)
    with pytest.raises(DataError, match="must be one of"):
        load_calibration(tmp_path / "c.toml", up="w")


@pytest.mark.parametrize(
    ("name", "text"), [("a.json", '{"a":' * 20000), ("a.yml", "%YAML:1.0\n" + "[" * 5000)]
)
def test_files_nested_beyond_reason_are_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=name):
        load_calibration(tmp_path / name)


def test_a_rotation_with_few_digits_is_made_exact(tmp_path: Path) -> None:
    camera = make_cameras()[0]
    w2c = camera.w2c_44.round(4)
    save_calibration(tmp_path / "c.json", [replace(camera, w2c_44=w2c)])
    rotation = load_calibration(tmp_path / "c.json")["cam0"].w2c_44[:3, :3]
    assert np.abs(rotation @ rotation.T - np.eye(3)).max() < 1e-12


def test_real_qualisys_file_survives_conversion(samples: Path, tmp_path: Path) -> None:
    real = load_calibration(samples / "pose2sim_multiview" / "Calib.qca.txt")
    again = load_calibration(write_toml(tmp_path / "Calib.toml", list(real.values())))
    assert sorted(real) == ["cam01", "cam02", "cam03", "cam04"]
    body = np.array([[0.0, 1.0, 0.0], [0.2, 1.5, 0.1]])
    for name, camera in real.items():
        pixels, depth = project_distorted(camera, body)
        assert depth.min() > 1 and np.abs(pixels - project_distorted(again[name], body)[0]).max() < 1e-6
