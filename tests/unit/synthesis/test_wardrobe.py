"""Clothes and accessories: drawn as said, and where they belong on the body."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from lca_lightning.rig.anny import AnnyRig
from lca_lightning.synthesis.atlas import BodyTemplate, load_template
from lca_lightning.synthesis.bags import build_bag
from lca_lightning.synthesis.body_atlas import vertex_normals
from lca_lightning.synthesis.garments import Paint, Skirt
from lca_lightning.synthesis.glasses import build_glasses
from lca_lightning.synthesis.hats import build_hat
from lca_lightning.synthesis.jacket import build_jacket
from lca_lightning.synthesis.skirt import COLUMNS, build_skirt
from lca_lightning.synthesis.wardrobe import BAGS, GLASSES, HATS, Jacket, random_dress

COLOR = np.array([0.3, 0.1, 0.1])
PLAIN = Paint("plain", (COLOR, 2 * COLOR, 0.5 * COLOR), 0.1, 0)


@pytest.fixture(scope="module")
def template(rig: AnnyRig) -> BodyTemplate:
    return load_template(rig, 128)


@pytest.fixture(scope="module")
def joints(rig: AnnyRig) -> dict[str, np.ndarray]:
    places = rig.canonical_joints(rig.neutral_identity()[None])[0].double().numpy()
    return dict(zip(rig.joint_names, places, strict=True))


def test_everyday_people_wear_everything_there_is_and_studio_people_bare_heads() -> None:
    worn: Counter[str] = Counter()
    skirts = 0
    for seed in range(300):
        dress = random_dress("everyday", np.random.default_rng(seed), seed % 2)
        worn.update(dress.accessories.names() + (["skirt"] if dress.outfit.skirt else []))
        worn.update([dress.hair_style] if dress.hair_style in ("long", "short") else [])
        bare = random_dress("bareheaded", np.random.default_rng(seed), seed % 2)
        assert bare.accessories.hat is bare.accessories.glasses is None and bare.hair_style != "beanie"
        assert (bare.accessories.jacket is None) == (dress.accessories.jacket is None)
        assert bare.accessories.bag == dress.accessories.bag
        skirts += bare.outfit.skirt is not None
        tight = random_dress("tight", np.random.default_rng(seed), seed % 2)
        assert tight.accessories.names() == [] and tight.outfit.skirt is None
        assert tight.hair_style != "beanie"
        assert tight.outfit.top.thickness <= 0.005 and tight.outfit.trousers.thickness <= 0.004
    assert 30 < skirts < 90
    expected = {*GLASSES, *HATS, *BAGS, "jacket", "coat", "skirt", "long", "short"}
    assert expected <= set(worn)
    assert min(worn[name] for name in expected) > 8


@pytest.mark.parametrize("style", GLASSES)
def test_glasses_sit_before_the_eyes(
    template: BodyTemplate, joints: dict[str, np.ndarray], style: str
) -> None:
    body = template.fields.position.astype(np.float64)
    places = np.stack(list(joints.values()))
    frame, *lenses = build_glasses(template, style, body, places, COLOR)
    assert [lens.name for lens in lenses] == (["lenses"] if style == "sunglasses" else [])
    for eye in (joints["eye.L"], joints["eye.R"]):
        near = frame.offset_N3[np.abs(frame.offset_N3[:, :2] - eye[:2]).max(1) < 0.035]
        front = near[near[:, 2] > eye[2]]
        assert len(front) > 50
        assert np.abs(front[:, :2].mean(0) - eye[:2]).max() < 0.012
        lids = body[np.linalg.norm(body - eye, axis=1) < 0.02]
        assert front[:, 2].min() > lids[:, 2].max() - 0.02
    assert frame.offset_N3[:, 2].min() < joints["eye.L"][2] - 0.08  # the arms reach the ears
    assert (frame.weights_NJ[:, template.rig.joint_names.index("head")] == 1).all()


@pytest.mark.parametrize("style", HATS)
def test_hats_cover_the_crown_and_leave_the_eyes(
    template: BodyTemplate, joints: dict[str, np.ndarray], style: str
) -> None:
    none = np.zeros(len(template.fields.position))
    hat = build_hat(template, style, none, COLOR, np.random.default_rng(0))
    points = template.fields.position[hat.anchor_N] + hat.offset_N3
    assert points[:, 1].max() > template.marks.crown_y
    assert points[:, 1].min() > joints["eye.L"][1] - 0.06
    face = (np.abs(points[:, 0]) < 0.05) & (points[:, 2] > joints["eye.L"][2])
    assert points[face, 1].min() > joints["eye.L"][1] + 0.01
    lifted = build_hat(template, style, none + 0.04, COLOR, np.random.default_rng(0))
    assert (
        np.linalg.norm(lifted.offset_N3, axis=1).mean() > np.linalg.norm(hat.offset_N3, axis=1).mean() + 0.01
    )


@pytest.mark.parametrize("style", BAGS)
def test_bags_hang_outside_the_body_with_straps_on_it(template: BodyTemplate, style: str) -> None:
    body = template.fields.position.astype(np.float64)
    strap, bag = build_bag(template, style, body, 0.01, COLOR)
    assert strap.anchor_N is not None and bag.anchor_N is None
    on_body = np.linalg.norm(strap.offset_N3, axis=1)
    assert 0.005 < np.median(on_body) < 0.05 and np.quantile(on_body, 0.95) < 0.08
    trunk = body[(template.fields.arm < 0.3) & (np.abs(body[:, 1] - bag.offset_N3[:, 1].mean()) < 0.05)]
    if style == "backpack":
        assert bag.offset_N3[:, 2].mean() < trunk[:, 2].min()
    else:
        assert bag.offset_N3[:, 0].mean() > trunk[:, 0].max()


def test_jackets_are_open_in_front_and_cover_arms_and_back(template: BodyTemplate) -> None:
    fields, marks = template.fields, template.marks
    jacket = Jacket(1.85, -0.2, 0.04, 0.01, None, PLAIN)
    shell = build_jacket(template, jacket)
    covered = np.zeros(len(fields.position), bool)
    assert shell.anchor_N is not None
    covered[shell.anchor_N] = True
    torso = (fields.arm < 0.3) & (fields.height_t > -0.8) & (fields.height_t < -0.25)
    back, front = fields.normal[:, 2] < -0.5, (fields.normal[:, 2] > 0.5)
    middle = np.abs(fields.position[:, 0]) < 0.02
    assert covered[torso & back].mean() > 0.95 and covered[torso & front & middle].mean() < 0.05
    assert covered[(fields.arm > 0.9) & (fields.arm_t > 0.3) & (fields.arm_t < 1.6)].mean() > 0.95
    assert not covered[template.rig.regions_V.numpy() == 0].any()
    assert marks.hip_y < fields.position[shell.anchor_N, 1].min() + 0.25
    outward = (shell.offset_N3 * fields.normal[shell.anchor_N]).sum(1)
    assert outward.min() > 0.003 and outward.max() < 0.011


@pytest.mark.parametrize("slit", [0.0, 0.4])
def test_skirts_close_and_coats_stay_open_with_outward_faces(template: BodyTemplate, slit: float) -> None:
    body = template.fields.position.astype(np.float64)
    cut = Skirt(-0.25, 0.8, 0.08, slit)
    mesh = build_skirt(cut, PLAIN, template.rig, template.fields, template.marks, body)
    seam = {0, COLUMNS - 1}
    joined = [face for face in mesh.faces_F3.tolist() if {point % COLUMNS for point in face} == seam]
    assert (len(joined) > 0) == (slit == 0)
    normals = vertex_normals(mesh.points_N3, mesh.faces_F3)
    center = mesh.points_N3.mean(0)
    outward = ((mesh.points_N3 - center) * [1, 0, 1] * normals).sum(1)
    assert (outward > 0).mean() > 0.99
    assert np.array_equal(mesh.faces_F3, mesh.render_points[mesh.render_faces_F3])
