"""Environment maps: captured ones read right, seen where Mitsuba puts their light, refused when unusable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lca_lightning.errors import DataError
from lca_lightning.geometry.cameras import look_at
from lca_lightning.synthesis.backgrounds import PLACES, drawn_background, wild_background
from lca_lightning.synthesis.environments import (
    captured_environment,
    directions,
    environment_files,
    look_around,
    read_environment,
    resampled,
)

mitsuba_module = pytest.importorskip("mitsuba")

from lca_lightning.synthesis.scene import environment_light  # noqa: E402
from lca_lightning.synthesis.sensor import load_mitsuba, pixel_rays, sensor_description  # noqa: E402

K_33 = np.array([[40.0, 0, 24], [0, 40.0, 18], [0, 0, 1]])


def write_map(path: Path, radiance: np.ndarray) -> Path:
    load_mitsuba().Bitmap(radiance.astype(np.float32)).write(str(path))
    return path


@pytest.mark.parametrize("eye", [(0.0, 0.2, 3.0), (2.0, 1.0, -1.0), (-2.0, -0.5, 0.3)])
def test_the_background_is_what_mitsuba_shows_of_the_map(eye: tuple[float, float, float]) -> None:
    towards = directions(64, 128)
    radiance = (0.5 + 0.4 * np.sin(3 * towards) + 0.1 * towards[..., ::-1]).astype(np.float32)
    w2c_44 = look_at(torch.tensor(eye).double(), torch.zeros(3).double()).numpy()
    mitsuba = load_mitsuba()
    scene = mitsuba.load_dict({"type": "scene", "integrator": {"type": "direct"},
                               "light": environment_light(radiance)})  # fmt: skip
    sensor = mitsuba.load_dict(sensor_description(mitsuba, K_33, w2c_44, 48, 36, 16, (0, 0, 48, 36)))
    expected = np.array(mitsuba.render(scene, sensor=sensor, spp=16))[..., :3]
    seen = look_around(radiance, pixel_rays(K_33, w2c_44, 48, 36), 0.0)
    assert np.abs(seen - expected).max() < 0.02
    by_formula = 0.5 + 0.4 * np.sin(3 * pixel_rays(K_33, w2c_44, 48, 36))
    assert np.abs(seen - by_formula).max() < 0.13


def test_captured_maps_are_averaged_turned_and_normalised(tmp_path: Path) -> None:
    radiance = np.ones((64, 128, 3))
    radiance[10:14, 20:24] = 500.0
    path = write_map(tmp_path / "lamp.exr", radiance)
    whole = read_environment(path)
    assert whole.shape == (256, 512, 3)
    weight = np.sin((np.arange(256) + 0.5) * np.pi / 256)[:, None, None]
    assert (whole * weight).sum() / (weight.sum() * 512 * 3) == pytest.approx(1, abs=1e-3)
    lit, seen = captured_environment(path, np.random.default_rng(1))
    assert lit.shape == (32, 64, 3)
    brightest = [np.unravel_index(image[..., 0].argmax(), image.shape[:2]) for image in (lit, seen)]
    assert abs(brightest[0][0] * 8 - brightest[1][0]) <= 8 and abs(brightest[0][1] * 8 - brightest[1][1]) <= 8
    assert lit.mean() == pytest.approx(seen.mean(), rel=0.1)


def test_resampling_keeps_means_and_repeats_texels() -> None:
    values = np.random.default_rng(0).random((6, 10, 3))
    assert resampled(values, 3, 5) == pytest.approx(values.reshape(3, 2, 5, 2, 3).mean((1, 3)))
    assert np.array_equal(resampled(values, 12, 10)[::2], values)
    assert resampled(values, 4, 10).shape == (4, 10, 3)


def test_unusable_folders_and_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder"):
        environment_files(tmp_path / "none")
    with pytest.raises(DataError, match="holds no environment map"):
        environment_files(tmp_path)
    (tmp_path / "broken.hdr").write_bytes(b"#?RADIANCE")
    assert environment_files(tmp_path) == [tmp_path / "broken.hdr"]
    with pytest.raises(DataError, match="cannot be read"):
        read_environment(tmp_path / "broken.hdr")
    with pytest.raises(DataError, match="twice as wide"):
        read_environment(write_map(tmp_path / "square.exr", np.ones((32, 32, 3))))


def test_real_maps_are_read(samples: Path) -> None:
    files = environment_files(samples / "hdri_cc0")
    assert len(files) == 2
    for path in files:
        radiance = read_environment(path)
        assert radiance.shape == (256, 512, 3) and np.isfinite(radiance).all() and radiance.max() > 5


@pytest.mark.parametrize("place", PLACES)
def test_every_place_gives_different_backgrounds(place: str) -> None:
    first, second = (wild_background(40, 30, np.random.default_rng(seed), place) for seed in (0, 1))
    assert first.shape == (40, 30, 3) and first.min() > 0 and first.max() <= 1
    assert np.abs(first - second).mean() > 0.01 and first.std() > 0.01
    drawn = drawn_background(40, 30, np.random.default_rng(0))
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) <= 3
