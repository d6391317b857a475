"""Our cameras in Mitsuba: pixels, coverage and crops agree with projections of the vertices."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lca_lightning.errors import DataError
from lca_lightning.geometry.cameras import look_at
from lca_lightning.rig.anny import AnnyRig

pytest.importorskip("mitsuba")

from lca_lightning.synthesis.atlas import load_template  # noqa: E402
from lca_lightning.synthesis.person import Person, create_person  # noqa: E402
from lca_lightning.synthesis.scene import PersonScene  # noqa: E402
from lca_lightning.synthesis.sensor import load_mitsuba, person_crop, sensor_description  # noqa: E402

WIDTH, HEIGHT = 120, 160
K_33 = np.array([[150.0, 0.0, 71.0], [0.0, 150.0, 70.5], [0.0, 0.0, 1.0]])


@pytest.fixture(scope="module")
def person(rig: AnnyRig) -> Person:
    return create_person(load_template(rig, 128), np.random.default_rng(0))


@pytest.fixture(scope="module")
def posed(person: Person, rig: AnnyRig) -> np.ndarray:
    return person.posed_points(rig.reference_pose(), torch.zeros(1, rig.expression_size))[0]


@pytest.fixture(scope="module")
def scene(person: Person, posed: np.ndarray) -> PersonScene:
    built = PersonScene(person, np.ones((8, 16, 3), np.float32), 16)
    built.move_to(posed)
    return built


@pytest.fixture(scope="module")
def w2c_44() -> np.ndarray:
    eye, target = torch.tensor([1.1, 0.7, 2.9]), torch.tensor([0.1, -0.05, 0.0])
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]
    return turn @ look_at(eye.double(), target.double()).numpy()


def project(points_N3: np.ndarray, w2c_44: np.ndarray) -> np.ndarray:
    pixels = (points_N3 @ w2c_44[:3, :3].T + w2c_44[:3, 3]) @ K_33.T
    return pixels[:, :2] / pixels[:, 2:]


def test_surface_points_project_to_the_pixels_that_show_them(scene: PersonScene, w2c_44: np.ndarray) -> None:
    mitsuba = load_mitsuba()
    crop = (20, 10, 90, 140)
    sensor = mitsuba.load_dict(sensor_description(mitsuba, K_33, w2c_44, WIDTH, HEIGHT, 32, crop))
    positions = mitsuba.load_dict({"type": "aov", "aovs": "position:position"})
    picture = np.array(mitsuba.render(scene._scene, sensor=sensor, integrator=positions, spp=32))[..., -3:]
    alpha = scene.render(K_33, w2c_44, WIDTH, HEIGHT, 0).alpha_HW[10:150, 20:110]
    solid = alpha == 1.0
    rows, columns = np.nonzero(solid)
    error = project(picture[solid], w2c_44) - np.stack([columns + 20.5, rows + 10.5], -1)
    assert solid.sum() > 1000
    assert np.abs(error).mean() < 0.1
    assert np.abs(error.mean(0)).max() < 0.03


def test_silhouette_bounds_agree_with_the_vertices(
    scene: PersonScene, person: Person, posed: np.ndarray, w2c_44: np.ndarray
) -> None:
    alpha = scene.render(K_33, w2c_44, WIDTH, HEIGHT, 0).alpha_HW
    drawn = np.unique(np.concatenate([part.points for part in person.parts]))
    pixels = project(posed[drawn], w2c_44)
    rows, columns = np.flatnonzero((alpha > 0.5).any(1)), np.flatnonzero((alpha > 0.5).any(0))
    mask_bounds = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    assert np.abs(mask_bounds - np.concatenate([pixels.min(0), pixels.max(0)])).max() < 1.0


def test_cropping_does_not_move_the_picture(
    scene: PersonScene, monkeypatch: pytest.MonkeyPatch, w2c_44: np.ndarray
) -> None:
    cropped = scene.render(K_33, w2c_44, WIDTH, HEIGHT, 0)
    monkeypatch.setattr("lca_lightning.synthesis.scene.person_crop", lambda *arguments: (0, 0, WIDTH, HEIGHT))
    whole = scene.render(K_33, w2c_44, WIDTH, HEIGHT, 1)
    assert np.abs(cropped.alpha_HW - whole.alpha_HW).mean() < 0.003
    solid = (cropped.alpha_HW == 1) & (whole.alpha_HW == 1)
    assert np.abs(cropped.color_HW3 - whole.color_HW3)[solid].mean() < 0.03


def test_the_same_seed_renders_the_same_picture(scene: PersonScene, w2c_44: np.ndarray) -> None:
    first, second, other = (scene.render(K_33, w2c_44, WIDTH, HEIGHT, seed) for seed in (3, 3, 4))
    assert np.array_equal(first.color_HW3, second.color_HW3)
    assert not np.array_equal(first.color_HW3, other.color_HW3)


def test_nobody_in_the_picture_gives_empty_coverage(scene: PersonScene, w2c_44: np.ndarray) -> None:
    aside = w2c_44.copy()
    aside[0, 3] += 50.0
    assert scene.render(K_33, aside, WIDTH, HEIGHT, 0).alpha_HW.max() == 0.0
    assert person_crop(np.zeros((1, 3)), K_33, aside, WIDTH, HEIGHT) is None


def test_white_people_in_white_light_are_white(rig: AnnyRig, person: Person, posed: np.ndarray) -> None:
    from dataclasses import replace

    white = np.ones((4, 4, 3), np.float32)
    parts = tuple(
        replace(part, texture=None if part.texture is None else white,
                colors_N3=None if part.colors_N3 is None else np.ones_like(part.colors_N3))
        for part in person.parts
    )  # fmt: skip
    furnace = PersonScene(replace(person, parts=parts), np.ones((8, 16, 3), np.float32), 32)
    furnace.move_to(posed)
    w2c = look_at(torch.tensor([0.0, 0.0, 3.0]), torch.zeros(3)).numpy()
    picture = furnace.render(K_33, w2c, WIDTH, HEIGHT, 0)
    light = picture.color_HW3[picture.alpha_HW == 1].mean(-1)
    assert light.max() < 1.08  # sampling noise
    assert np.quantile(light, 0.9) > 0.95


def test_pixels_that_are_not_square_are_refused(w2c_44: np.ndarray) -> None:
    wide = K_33 * [[1.1], [1.0], [1.0]]
    with pytest.raises(DataError, match="square pixels"):
        sensor_description(load_mitsuba(), wide, w2c_44, WIDTH, HEIGHT, 1, (0, 0, WIDTH, HEIGHT))
