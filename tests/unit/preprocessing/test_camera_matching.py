"""Size rules, knocked cameras and wrong calibrations on made-up captures with known answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lca_lightning.errors import DataError
from lca_lightning.preprocessing.camera_matching import (
    MatchReport,
    choose_size_rules,
    match_names,
    picture_inside_borders,
    settle_orientations,
    size_rules,
)
from tests.unit.preprocessing.views import project_all, ring_of_cameras, walking_points

STATURE = 750.0


def capture(noise: float = 1.0) -> tuple[list, np.ndarray, np.ndarray]:
    cameras = ring_of_cameras(4)
    points = walking_points(20).reshape(-1, 3)
    pixels = project_all(points, np.stack([camera.projection_34 for camera in cameras]))
    pixels += np.random.default_rng(3).normal(scale=noise, size=pixels.shape)
    return cameras, pixels, np.ones(pixels.shape[:2])


@pytest.mark.parametrize(
    ("offset", "name"), [(8.0, "cropped by 8 left, 0 top"), (0.0, "cropped by 0 left, 0 top")]
)
def test_a_cropped_video_is_recognised_by_the_residual(offset: float, name: str) -> None:
    cameras, pixels, confidence = capture()
    pixels[0, :, 0] -= offset
    sizes = [(1080, 1920)] + [(1088, 1920)] * 3
    report = MatchReport()
    adapted = choose_size_rules(cameras, sizes, [None] * 4, pixels, confidence, 60.0, report)
    assert report.rules["cam0"] == name and report.rules["cam1"] == "same"
    assert adapted[0].width == 1080 and adapted[0].K_33[0, 2] == cameras[0].K_33[0, 2] - offset
    assert report.residuals[f"cam0: {name}"] == min(report.residuals.values())


def test_a_scaled_and_padded_video_is_recognised_by_residual_and_by_its_borders() -> None:
    cameras, pixels, confidence = capture(noise=0.3)
    scale = 1080 / 1088
    pad = (1920 - 1920 * scale) / 2
    pixels[0] = pixels[0] * scale + [0, pad]
    sizes = [(1080, 1920)] + [(1088, 1920)] * 3
    for content in (None, (0, 7, 1080, 1913)):
        report = MatchReport()
        adapted = choose_size_rules(
            cameras, sizes, [content, None, None, None], pixels, confidence, 60.0, report
        )
        assert report.rules["cam0"] == "scaled and padded"
        assert adapted[0].K_33[1, 2] == pytest.approx(cameras[0].K_33[1, 2] * scale + pad)


def test_same_aspect_is_scaled_without_a_question_and_one_camera_alone_is_refused() -> None:
    camera = ring_of_cameras(1)[0]
    (rule,) = size_rules(camera, 544, 960)
    assert rule.scale == (0.5, 0.5) and rule.name == "scaled"
    empty = np.zeros((1, 0, 2)), np.zeros((1, 0))
    with pytest.raises(DataError, match="Wrong calibration"):
        choose_size_rules([camera], [(1000, 1920)], [None], *empty, 1.0, MatchReport())


def test_black_borders_are_found_only_when_symmetric() -> None:
    image = np.full((192, 108, 3), 120, np.uint8)
    assert picture_inside_borders(image) is None
    image[:7], image[-6:] = 0, 0
    assert picture_inside_borders(image) == (0, 7, 108, 186)
    image[-40:] = 0
    assert picture_inside_borders(image) is None


def test_a_knocked_camera_is_turned_back_and_good_ones_stay() -> None:
    cameras, pixels, confidence = capture(noise=2.0)
    knocked = np.eye(4)
    knocked[:3, :3] = Rotation.from_rotvec(np.radians([0.9, 0.6, 0.2])).as_matrix()
    wrong = [*cameras[:2], replace(cameras[2], w2c_44=knocked @ cameras[2].w2c_44), cameras[3]]
    report = MatchReport()
    settled = settle_orientations(wrong, pixels, confidence, STATURE, report)
    assert list(report.turned_degrees) == ["cam2"]
    turn = settled[2].w2c_44[:3, :3] @ cameras[2].w2c_44[:3, :3].T
    assert np.degrees(Rotation.from_matrix(turn).magnitude()) < 0.15
    assert report.residual < 4 < report.residual_before
    untouched = MatchReport()
    same = settle_orientations(cameras, pixels, confidence, STATURE, untouched)
    assert untouched.turned_degrees == {} and all(a is b for a, b in zip(same, cameras, strict=True))


def test_exchanged_cameras_are_refused() -> None:
    cameras, pixels, confidence = capture()
    with pytest.raises(DataError, match="Wrong calibration"):
        settle_orientations(
            [cameras[1], cameras[0], *cameras[2:]], pixels, confidence, STATURE, MatchReport()
        )


def test_videos_are_matched_by_name() -> None:
    cameras = {camera.name: camera for camera in ring_of_cameras(2)}
    matched = match_names([Path("x/cam1.mp4"), Path("x/cam0.mp4")], cameras, Path("c.xml"))
    assert [camera.name for camera in matched] == ["cam1", "cam0"]
    with pytest.raises(DataError, match=r"'left'.*cam0, cam1"):
        match_names([Path("left.mp4")], cameras, Path("c.xml"))
    with pytest.raises(DataError, match="same file name"):
        match_names([Path("a/cam1.mp4"), Path("b/cam1.mp4")], cameras, Path("c.xml"))


def test_small_drifts_of_all_cameras_are_taken_out() -> None:
    cameras, pixels, confidence = capture(noise=2.0)
    drifted = []
    for camera, vector in zip(cameras, np.random.default_rng(3).normal(0, 0.35, (4, 3)), strict=True):
        turn = np.eye(4)
        turn[:3, :3] = Rotation.from_rotvec(np.radians(vector)).as_matrix()
        drifted.append(replace(camera, w2c_44=turn @ camera.w2c_44))
    report = MatchReport()
    settle_orientations(drifted, pixels, confidence, STATURE, report)
    assert report.residual < 0.6 * report.residual_before
