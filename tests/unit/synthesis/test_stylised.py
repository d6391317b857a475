"""Drawn figures: flat light, lines, big heads, eyes and hands; all of them for testing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lca_lightning.datasets.format import Dataset
from lca_lightning.rig.anny import AnnyRig
from lca_lightning.synthesis.atlas import load_template
from lca_lightning.synthesis.person import create_person
from lca_lightning.synthesis.proportions import Proportions, random_proportions
from lca_lightning.synthesis.scene import SurfaceLayers
from lca_lightning.synthesis.stylised import Toon, outlines, random_toon, shade

pytest.importorskip("mitsuba")

from lca_lightning.synthesis.capture import synthesize  # noqa: E402


def disc(side: int = 48) -> SurfaceLayers:
    """A ball before nothing, seen from +z."""
    y, x = (np.mgrid[0:side, 0:side] + 0.5) / side * 2 - 1
    height = np.sqrt(np.clip(1 - (x**2 + y**2) / 0.64, 0, None))
    alpha = (height > 0).astype(np.float32)
    normal = np.stack([x / 0.8, -y / 0.8, height], -1) * alpha[..., None]
    albedo = np.full((side, side, 3), 0.5, np.float32) * alpha[..., None]
    return SurfaceLayers(alpha, albedo, normal.astype(np.float32), (3 - 0.3 * height).astype(np.float32))


def test_light_comes_in_a_few_flat_steps() -> None:
    surface = disc()
    toon = Toon(np.array([0.0, 0.0, 1.0]), (0.6, 0.2), (1.0, 0.7, 0.4), 0.0, 1.0)
    picture = shade(surface, toon).color_HW3[..., 0]
    flat = [np.isclose(picture, 0.5 * tone, atol=1e-3).sum() for tone in toon.tones]
    assert min(flat) > 20 and sum(flat) > 0.8 * surface.alpha_HW.sum()
    assert picture[24, 24] == pytest.approx(0.5)


def test_lines_run_along_the_silhouette_and_jumps_in_depth() -> None:
    surface = disc()
    lines = outlines(surface)
    assert lines[surface.alpha_HW == 0].max() == 0
    assert lines[24, 24] == 0 and lines[24].sum() >= 2
    solid = SurfaceLayers(np.ones((8, 8)), np.ones((8, 8, 3)), np.tile([0.0, 0, 1], (8, 8, 1)),
                          np.where(np.arange(8) < 4, 2.0, 3.0) * np.ones((8, 1)))  # fmt: skip
    assert outlines(solid)[4].tolist()[2:6] == [0, 1, 0, 0] and random_toon(np.random.default_rng(0)).steps


def test_heads_eyes_and_hands_grow_and_the_rest_stays(rig: AnnyRig) -> None:
    template = load_template(rig, 128)
    plain = Proportions(1.0, 1.0, 1.0, {})
    grown = Proportions(1.5, 1.4, 1.3, {})
    people = [create_person(template, np.random.default_rng(0), "tight", size) for size in (plain, grown)]
    pose, expression = rig.reference_pose(), torch.zeros(1, rig.expression_size)
    first, second = (person.posed_points(pose, expression)[0] for person in people)
    fields = template.fields

    def size(points: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        return np.ptp(points[: len(chosen)][chosen], axis=0)

    scalp = (fields.head > 0.99) & (fields.position[:, 1] > template.marks.eye_left[1])
    assert size(second, scalp) / size(first, scalp) == pytest.approx(1.5, rel=0.05)
    hand = (rig.regions_V.numpy() == 2) & (fields.position[:, 0] > 0)
    assert size(second, hand).max() / size(first, hand).max() == pytest.approx(1.3, rel=0.1)
    torso = (fields.head < 0.01) & (fields.arm < 0.5)
    assert np.abs(second[: len(torso)][torso] - first[: len(torso)][torso]).max() < 1e-6
    drawn = random_proportions(np.random.default_rng(1))
    pushed = drawn.push(rig, rig.neutral_identity())
    bounds = rig.identity_bounds()
    assert drawn.head > 1.2 and pushed[rig.identity_names.index("head-scale-vert")] > 0.5
    assert (pushed >= bounds[:, 0]).all() and (pushed <= bounds[:, 1]).all()


def test_drawn_figures_are_a_test_set(tmp_path: Path) -> None:
    synthesize(tmp_path, "stylised", 1, 1, size=(96, 72), samples=4, progress=False)
    dataset = Dataset(tmp_path)
    sequence = dataset.sequences()[0]
    assert dataset.kind == "stylised" and sequence.split == "test" and list(sequence.cameras) == ["camera"]
    images, masks = sequence.read_frames("camera", [0])
    assert 0.02 < (masks > 127).mean() < 0.6
    assert sequence.signals.gaze_T8[:, [2, 6]] == pytest.approx(1.0)
