"""Hanging cloth: threads keep their length, the body is not passed, and it is not plain skinning."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from lca_lightning.geometry.skinning import blend_transforms
from lca_lightning.rig.anny import AnnyRig
from lca_lightning.rig.rig import RigPose
from lca_lightning.synthesis import traits as traits_module
from lca_lightning.synthesis.atlas import load_template
from lca_lightning.synthesis.body_atlas import vertex_normals
from lca_lightning.synthesis.cloth import HangingCloth, _thread_groups, drape
from lca_lightning.synthesis.garments import Skirt, random_paint
from lca_lightning.synthesis.motion import procedural_motion
from lca_lightning.synthesis.person import Person, create_person
from lca_lightning.synthesis.precision import double_pose, double_rig
from lca_lightning.synthesis.wardrobe import Accessories, Dress, random_dress

FAR_BODY = np.array([[0.0, -50.0, 0.0], [1.0, -50.0, 0.0], [0.0, -50.0, 1.0]])
FACES = np.array([[0, 2, 1]])


@pytest.fixture(scope="module")
def skirted(rig: AnnyRig) -> Person:
    def in_a_skirt(wardrobe: str, rng: np.random.Generator, gender: float) -> Dress:
        dress = random_dress(wardrobe, rng, gender)
        skirt, paint = Skirt(-0.25, 1.0, 0.12), random_paint(rng, 1.0)
        outfit = replace(dress.outfit, skirt=skirt, skirt_paint=paint)
        return Dress(outfit, Accessories(), dress.hair_style)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(traits_module, "random_dress", in_a_skirt)
        return create_person(load_template(rig, 128), np.random.default_rng(3))


def curtain(rows: int = 8, columns: int = 6, closed: bool = False) -> HangingCloth:
    y, x = np.meshgrid(-0.05 * np.arange(rows), 0.05 * np.arange(columns), indexing="ij")
    return HangingCloth(3, rows, columns, 1, closed, np.stack([x, y, np.zeros_like(x)], -1))


def skinned(cloth: HangingCloth, shift_T3: np.ndarray) -> np.ndarray:
    points = np.concatenate([FAR_BODY, cloth.rest_RC3.reshape(-1, 3)])
    return points[None] + shift_T3[:, None]


@pytest.mark.parametrize("closed", [False, True])
def test_no_point_belongs_to_two_threads_of_a_group(closed: bool) -> None:
    for first, second, _ in _thread_groups(curtain(7, 8, closed)):
        ends = [(row, column) for rows, columns in (first, second) for row in rows for column in columns]
        assert len(ends) == len(set(ends))


def test_a_still_curtain_hangs_where_it_was_cut() -> None:
    cloth = curtain()
    hanging = drape(cloth, skinned(cloth, np.zeros((4, 3))), np.arange(3), FACES, 10.0)
    assert np.abs(hanging - cloth.rest_RC3.reshape(-1, 3)).max() < 0.01


def test_a_moved_curtain_lags_keeps_its_length_and_comes_to_rest() -> None:
    cloth = curtain()
    shift = np.zeros((40, 3))
    shift[:, 2] = np.clip(np.arange(40) / 10.0, 0, 1) * 0.5  # half a metre in one second, then still
    hanging = drape(cloth, skinned(cloth, shift), np.arange(3), FACES, 10.0).reshape(40, 8, 6, 3)
    assert (hanging[2:6, -1, :, 2] < shift[2:6, None, 2] - 0.03).all()
    lengths = np.linalg.norm(np.diff(hanging, axis=1), axis=-1)
    assert np.abs(lengths / 0.05 - 1).max() < 0.1
    assert np.abs(hanging[-1, -1, :, 2] - 0.5).max() < 0.03
    again = drape(cloth, skinned(cloth, shift), np.arange(3), FACES, 10.0).reshape(40, 8, 6, 3)
    assert np.array_equal(hanging, again)


def best_skinning(rig: AnnyRig, person: Person, pose: RigPose, points_TN3: np.ndarray) -> np.ndarray:
    """Plain skinning at its best: of the canonical shape that fits all frames in least squares."""
    cloth = person.cloths[0]
    transforms = double_rig(rig).joint_transforms(person.identity_I.double()[None], double_pose(pose))
    blended = blend_transforms(person._weights.double()[cloth.points], transforms).numpy()
    linear, shift = blended[..., :3, :3], blended[..., :3, 3]
    normal = np.einsum("tnij,tnik->njk", linear, linear)
    right = np.einsum("tnij,tni->nj", linear, points_TN3 - shift)
    canonical = np.linalg.solve(normal, right[..., None])[..., 0]
    return np.einsum("tnij,nj->tni", linear, canonical) + shift


def test_skirts_do_what_skinning_cannot_and_stay_outside_the_body(rig: AnnyRig, skirted: Person) -> None:
    motion = procedural_motion(rig, skirted.identity_I, 10, 10.0, np.random.default_rng(2), 0.5, "walk")
    pose = RigPose(torch.from_numpy(motion.rotations_TJ3), torch.from_numpy(motion.translation_T3))
    plain = skirted.posed_points(pose, torch.from_numpy(motion.expression_TE))
    moving = skirted.swing(plain, 10.0)
    cloth = skirted.cloths[0]
    assert np.array_equal(plain[:, : cloth.first], moving[:, : cloth.first])
    deviation = np.linalg.norm(plain - moving, axis=-1)[:, cloth.points].reshape(10, cloth.rows, -1)
    assert deviation[:, : cloth.pinned].max() < 1e-9
    assert deviation.mean() > 0.04  # metres, over all points and frames
    best = best_skinning(rig, skirted, pose, moving[:, cloth.points])
    assert np.linalg.norm(best - moving[:, cloth.points], axis=-1).mean() > 0.02
    obstacle, faces = skirted._obstacle, rig.faces_F3.numpy()
    for points in moving[::4]:
        normals = vertex_normals(points[: len(rig.weights_VJ)], faces)[obstacle]
        nearest = cKDTree(points[obstacle]).query(points[cloth.points])[1]
        outside = ((points[cloth.points] - points[obstacle][nearest]) * normals[nearest]).sum(-1)
        assert (outside > -0.02).mean() > 0.99
