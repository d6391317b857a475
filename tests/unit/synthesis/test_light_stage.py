"""The light stage against closed forms: Lambert's law, the inverse square, light adds up, surface truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from lca_lightning.datasets.format import Dataset, StageLights
from lca_lightning.geometry.cameras import look_at
from lca_lightning.synthesis.attachment import Part
from lca_lightning.synthesis.body_atlas import vertex_normals
from lca_lightning.synthesis.hair import unit_sphere

torch = pytest.importorskip("torch")
pytest.importorskip("mitsuba")

from lca_lightning.synthesis.capture import synthesize  # noqa: E402
from lca_lightning.synthesis.light_stage import StageScene, stage_lights  # noqa: E402
from lca_lightning.synthesis.sensor import pixel_rays  # noqa: E402

ALBEDO = np.array([0.8, 0.5, 0.2])
SIDE = 64
K_33 = np.array([[300.0, 0, 32], [0, 300.0, 32], [0, 0, 1]])
EYE = np.array([0.4, 0.3, 3.0])


@dataclass(frozen=True)
class Ball:
    """A sphere of radius 0.3 m at the origin with what a scene asks of a person."""

    parts: tuple[Part, ...]
    faces_F3: np.ndarray

    def normals(self, points_N3: np.ndarray) -> np.ndarray:
        return vertex_normals(points_N3, self.faces_F3)


@pytest.fixture(scope="module")
def ball() -> tuple[Ball, np.ndarray]:
    points, faces = unit_sphere(96, 192)
    colors = np.tile(ALBEDO, (len(points), 1)).astype(np.float32)
    return Ball((Part("body", np.arange(len(points)), faces, colors_N3=colors),), faces), 0.3 * points


@pytest.fixture(scope="module")
def w2c_44() -> np.ndarray:
    return look_at(torch.from_numpy(EYE), torch.zeros(3).double()).numpy()


def lamps(intensities_TL3: np.ndarray) -> StageLights:
    positions = np.array([[1.5, 1.0, 1.2], [-0.8, 0.3, 2.0]])
    return StageLights(positions, intensities_TL3, np.zeros(len(intensities_TL3), bool), 2.0)


def lambert(w2c_44: np.ndarray, lights: StageLights, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Radiance through the pixel centres of a perfect sphere, and its normals; NaN beside it."""
    rays = pixel_rays(K_33, w2c_44, SIDE, SIDE)
    along = rays @ EYE
    inside = along**2 - (EYE @ EYE - 0.09)
    hit = EYE + rays * (-along - np.sqrt(np.where(inside > 0, inside, np.nan)))[..., None]
    normal = hit / 0.3
    total = np.zeros_like(hit)
    for position, intensity in zip(lights.positions_L3, lights.intensities_TL3[frame], strict=True):
        towards = position - hit
        distance = np.linalg.norm(towards, axis=-1, keepdims=True)
        cosine = np.clip((normal * towards).sum(-1, keepdims=True) / distance, 0, None)
        total = total + ALBEDO / np.pi * intensity * (lights.reference_distance / distance) ** 2 * cosine
    return total, normal


def test_a_lambert_sphere_has_the_radiance_of_the_closed_form(
    ball: tuple[Ball, np.ndarray], w2c_44: np.ndarray
) -> None:
    strengths = np.array([[[2.0, 1.5, 1.0], [0, 0, 0]], [[0, 0, 0], [1.0, 2.0, 3.0]],
                          [[2.0, 1.5, 1.0], [1.0, 2.0, 3.0]]])  # fmt: skip
    lights = lamps(strengths)
    scene = StageScene(ball[0], lights, 16)  # type: ignore[arg-type]
    scene.move_to(ball[1])
    pictures = [scene.render(frame, K_33, w2c_44, SIDE, SIDE, 0) for frame in range(3)]
    for frame, picture in enumerate(pictures):
        expected, normal = lambert(w2c_44, lights, frame)
        view = -pixel_rays(K_33, w2c_44, SIDE, SIDE)
        bright = (picture.alpha_HW == 1) & (expected[..., 0] > 0.15 * np.nanmax(expected[..., 0]))
        bright &= (normal * view).sum(-1) > 0.5
        error = picture.radiance_HW3[bright] / expected[bright] - 1
        assert bright.sum() > 500
        assert np.abs(error).mean() < 0.01 and np.quantile(np.abs(error), 0.95) < 0.02
        assert np.abs(error.mean(0)).max() < 0.005
    both = pictures[0].radiance_HW3 + pictures[1].radiance_HW3
    lit = pictures[2].alpha_HW == 1
    difference = np.abs(pictures[2].radiance_HW3 - both)[lit]
    assert difference.mean() < 0.005 * both[lit].mean()


def test_albedo_normals_and_coverage_are_those_of_the_surface(
    ball: tuple[Ball, np.ndarray], w2c_44: np.ndarray
) -> None:
    lights = lamps(np.ones((1, 2, 3)))
    scene = StageScene(ball[0], lights, 16)  # type: ignore[arg-type]
    scene.move_to(ball[1])
    surface = scene.render(0, K_33, w2c_44, SIDE, SIDE, 0).surface
    _, normal = lambert(w2c_44, lights, 0)
    solid = (surface.alpha_HW == 1) & np.isfinite(normal[..., 0])
    assert surface.albedo_HW3[solid] == pytest.approx(np.tile(ALBEDO, (solid.sum(), 1)), abs=1e-3)
    angle = np.degrees(np.arccos(np.clip((surface.normal_HW3 * normal)[solid].sum(-1), -1, 1)))
    assert np.median(angle) < 1.0 and np.quantile(angle, 0.95) < 5.0
    assert np.abs(surface.normal_HW3[surface.alpha_HW == 0]).max() == 0


def test_every_third_frame_is_fully_lit_and_the_others_by_few_lamps() -> None:
    lights = stage_lights(12, np.random.default_rng(0))
    burning = (lights.intensities_TL3.max(-1) > 0).sum(1)
    assert list(np.flatnonzero(lights.fully_lit_T)) == [0, 3, 6, 9]
    assert (burning[lights.fully_lit_T] == 16).all()
    assert burning[~lights.fully_lit_T].max() <= 4 and burning[~lights.fully_lit_T].min() >= 1
    distance = np.linalg.norm(lights.positions_L3 - [0.0, 0.15, 0.0], axis=1)
    assert distance == pytest.approx(lights.reference_distance, abs=1e-4)
    directions = (lights.positions_L3 - [0.0, 0.15, 0.0]) / distance[:, None]
    facing = np.random.default_rng(1).normal(size=(3, 50))
    cosine = np.clip(directions @ (facing / np.linalg.norm(facing, axis=0)), 0, None).sum(0)
    assert cosine == pytest.approx(16 / 4, rel=0.1)  # every surface gets a quarter of all lamps


def test_a_stage_reads_back_with_lights_and_layers(tmp_path: Path) -> None:
    synthesize(tmp_path, "light_stage", 1, 2, cameras=1, size=(96, 72), samples=16, seed=9, test_subjects=0,
               progress=False)  # fmt: skip
    dataset = Dataset(tmp_path)
    sequence = dataset.sequences()[0]
    assert dataset.kind == "light_stage" and sequence.color == "linear"
    assert set(sequence.layers) == {"albedo", "normal"}
    lights = sequence.signals.lights
    assert lights is not None and lights.fully_lit_T.tolist() == [True, False]
    linear = sequence.read_linear("camera00", [0, 1])
    _, masks = sequence.read_frames("camera00", [0, 1])
    albedo, normal = (sequence.read_layer("camera00", name, [0, 1]) for name in ("albedo", "normal"))
    person = masks == 255
    assert person.sum() > 300
    assert linear[1][masks[1] == 0].max() == 0 and linear[0][masks[0] == 0] == pytest.approx(0.2, abs=1e-3)
    assert np.linalg.norm(normal[person], axis=-1) == pytest.approx(1, abs=0.01)
    assert 0.005 < albedo[person].min() and albedo[person].max() <= 0.91
    # Under all lamps a surface is about as bright as its albedo; nothing is brighter than the lamps allow.
    ratio = linear[0][person[0]].mean() / albedo[0][person[0]].mean()
    assert 0.5 < ratio < 1.05
