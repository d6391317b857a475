"""People: deterministic, varied, dressed where clothes belong, and skinned like the rig."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lca_lightning.datasets.linear_light import linear_to_srgb, srgb_to_linear
from lca_lightning.rig.anny import AnnyRig
from lca_lightning.rig.rig import RigPose
from lca_lightning.synthesis.atlas import BodyTemplate, load_template
from lca_lightning.synthesis.garments import Shoes, Top, Trousers, random_outfit
from lca_lightning.synthesis.hair import STYLES, build_hair, scalp_distance
from lca_lightning.synthesis.identity import random_identity
from lca_lightning.synthesis.person import Person, create_person
from lca_lightning.synthesis.skin import skin_color
from lca_lightning.synthesis.textures import (
    PATTERNS,
    paint_pattern,
    text_mask,
)


@pytest.fixture(scope="module")
def template(rig: AnnyRig) -> BodyTemplate:
    return load_template(rig, 128)


@pytest.fixture(scope="module")
def people(template: BodyTemplate) -> list[Person]:
    return [create_person(template, np.random.default_rng([1, subject])) for subject in range(6)]


def texture(person: Person) -> np.ndarray:
    body = person.parts[0].texture
    assert body is not None
    return body


def test_the_same_seed_gives_the_same_person(template: BodyTemplate, people: list[Person]) -> None:
    again = create_person(template, np.random.default_rng([1, 2]))
    assert torch.equal(again.identity_I, people[2].identity_I)
    assert np.array_equal(texture(again), texture(people[2]))
    assert [part.name for part in again.parts] == [part.name for part in people[2].parts]


def test_people_differ_in_colour(people: list[Person]) -> None:
    pictures = [linear_to_srgb(texture(person)) for person in people]
    for index, first in enumerate(pictures):
        for second in pictures[index + 1 :]:
            assert np.abs(first - second).mean() > 0.04


def test_identities_are_adults_inside_the_bounds(rig: AnnyRig) -> None:
    rng = np.random.default_rng(0)
    identities = torch.stack([random_identity(rig, rng) for _ in range(50)])
    bounds = rig.identity_bounds()
    assert (identities >= bounds[:, 0]).all() and (identities <= bounds[:, 1]).all()
    assert identities[:, rig.identity_names.index("age")].min() >= 0.6
    vertices = rig.canonical_vertices(identities)
    heights = vertices[..., 1].amax(1) - vertices[..., 1].amin(1)
    assert 1.4 < heights.min() and heights.max() < 2.2
    sides = [identities[:, rig.identity_names.index(f"{side}-foot-scale")] for side in "lr"]
    assert torch.equal(*sides)


def test_bare_vertices_move_exactly_like_the_rig(rig: AnnyRig, people: list[Person]) -> None:
    person = people[0]
    rotations = 0.3 * torch.randn(2, len(rig.joint_names), 3, generator=torch.Generator().manual_seed(0))
    pose = RigPose(rotations, torch.tensor([[0.0, 0.1, 0.0], [0.3, 0.0, -0.2]]))
    expression = torch.rand(2, rig.expression_size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = rig.posed_vertices(person.identity_I.expand(2, -1), pose, expression).numpy()
    bare = person._body_offset_V3.norm(dim=1).numpy() < 1e-7
    assert bare.sum() > 2000
    points = person.posed_points(pose, expression)
    assert np.abs(points[:, : len(bare)][:, bare] - expected[:, bare]).max() < 1e-5
    clothed = np.linalg.norm(points[:, : len(bare)] - expected, axis=-1)
    assert 0.003 < clothed.max() < 0.1


def test_parts_are_consistent_meshes(people: list[Person]) -> None:
    for person in people:
        total = len(person._weights)
        assert torch.allclose(person._weights.sum(1), torch.ones(total), atol=1e-4)
        for part in person.parts:
            assert part.points.max() < total
            assert part.faces_F3.max() < len(part.points)
            assert (part.texture is None) == (part.uv_N2 is None) != (part.colors_N3 is None)
            for colors in (part.texture, part.colors_N3):
                assert colors is None or (np.isfinite(colors).all() and colors.min() >= 0)


def test_clothes_cover_what_they_should(template: BodyTemplate) -> None:
    fields, marks, regions = template.fields, template.marks, template.rig.regions_V.numpy()
    face, hand, foot = (regions == index for index in (0, 2, 3))
    shirt = Top(sleeve=1.9, hem=0.1, neck_radius=0.09, neck_depth=0.07, thickness=0.01)
    trousers = Trousers(waist=-0.2, leg=1.95, thickness=0.01)
    for garment in (shirt, trousers):
        cover = garment.coverage(fields, marks)
        assert cover[face].max() == 0 and cover[hand].mean() < 0.1
    navel = np.argmin(((fields.position - [0, marks.hip_y + 0.15, 0.15]) ** 2).sum(1))
    knee = np.argmin(((fields.position - [0.15, marks.knee_y, 0.1]) ** 2).sum(1))
    assert shirt.coverage(fields, marks)[navel] == 1 and trousers.coverage(fields, marks)[navel] == 0
    assert shirt.coverage(fields, marks)[knee] == 0 and trousers.coverage(fields, marks)[knee] == 1
    assert Shoes(1.95).coverage(fields, marks)[foot].mean() > 0.9


@pytest.mark.parametrize("style", STYLES)
def test_hair_stays_on_the_head(template: BodyTemplate, style: str) -> None:
    fields, faces = template.fields, template.rig.faces_F3.numpy()
    shell = build_hair(style, fields, faces, template.marks, np.full(3, 0.2), np.random.default_rng(0))
    if shell is None:
        assert style in ("bald", "stubble")
        return
    assert fields.head[shell.vertex_N].min() > 0.5
    points = fields.position[shell.vertex_N] + shell.offset_N3
    assert np.abs(points[:, 0]).max() < 0.16
    assert (points[:, 1] > template.marks.crown_y).any()
    eyes = np.stack([template.marks.eye_left, template.marks.eye_right])
    assert np.linalg.norm(points[:, None] - eyes, axis=-1).min() > 0.02


def test_faces_are_no_scalp(template: BodyTemplate) -> None:
    face = template.rig.regions_V.numpy() == 0
    below_brows = template.fields.position[:, 1] < template.marks.eye_left[1] + 0.02
    front = template.fields.position[:, 2] > template.marks.eye_left[2] - 0.03
    assert scalp_distance(template.fields, template.marks)[face & below_brows & front].max() < 0


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_mix_the_given_colours(template: BodyTemplate, pattern: str) -> None:
    colors = np.array([0.1, 0.2, 0.3]), np.array([0.8, 0.1, 0.5])
    painted = paint_pattern(pattern, template.fields, colors, 0.08, np.random.default_rng(2))
    low, high = np.minimum(*colors), np.maximum(*colors)
    assert (painted >= low - 1e-9).all() and (painted <= high + 1e-9).all()
    assert (painted.std(0).max() > 0.02) == (pattern != "plain")


def test_outfits_are_drawn_with_and_without_skirts() -> None:
    outfits = [random_outfit(np.random.default_rng(seed)) for seed in range(60)]
    skirts = sum(outfit.skirt is not None for outfit in outfits)
    assert 3 < skirts < 25


def test_srgb_round_trip_and_known_value() -> None:
    values = np.linspace(0, 1, 101)
    assert linear_to_srgb(srgb_to_linear(values)) == pytest.approx(values, abs=1e-9)
    assert srgb_to_linear(np.array(0.5)) == pytest.approx(0.21404, abs=1e-5)


def test_more_melanin_is_darker() -> None:
    tones = [skin_color(value, np.random.default_rng(0)).mean() for value in (0.0, 0.5, 1.0)]
    assert tones == sorted(tones, reverse=True)


def test_printed_text_fills_its_field() -> None:
    ink = text_mask("42")
    assert 0.08 < ink.mean() < 0.7
    assert not np.array_equal(ink, text_mask("17"))
