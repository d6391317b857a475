"""Surfaces of another body: they bring the rig nearer, some frames may lack one, points need no camera."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from lca_lightning.preprocessing.observations import Observations
from lca_lightning.preprocessing.rig_landmarks import build_rig_landmarks
from lca_lightning.preprocessing.surface_fitting import (
    SURFACES,
    SurfaceFitter,
    fit_surfaces,
    surface_distances,
)
from lca_lightning.rig.anny import AnnyRig
from lca_lightning.rig.rig import RigPose

FRAMES = 3
SETTINGS = replace(SURFACES, steps=(50, 0, 60))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """The tensors are small, and sums in another order would give another fit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def body(rig: AnnyRig) -> tuple[Observations, np.ndarray]:
    """Landmarks, one centimetre off, and vertices ``(T, V, 3)`` of somebody heavy who raises an arm."""
    torch.manual_seed(0)
    names = rig.joint_names
    rotations = torch.zeros(FRAMES, len(names), 3)
    rotations[:, 0] = torch.tensor([0.0, 2.0, 0.0])
    rotations[:, names.index("upperarm01.L"), 2] = torch.linspace(0.0, 0.6, FRAMES)
    pose = RigPose(rotations, torch.tensor([0.4, 0.9, -0.2]).expand(FRAMES, 3))
    identity = rig.neutral_identity()[None].clone()
    identity[0, rig.identity_names.index("weight")] = 0.8
    vertices = rig.posed_vertices(identity, pose)
    landmarks = build_rig_landmarks(rig)
    rest = landmarks.canonical(rig.canonical_vertices(identity), rig.canonical_joints(identity))[0]
    transforms = (landmarks.skin_weights_LJ @ rig.joint_transforms(identity, pose).flatten(2)).unflatten(
        2, (4, 4)
    )
    points = (transforms[..., :3, :3] @ rest[..., None]).squeeze(-1) + transforms[..., :3, 3]
    points = points + 0.01 * torch.randn(points.shape)
    weight = torch.ones(points.shape[:2])
    return seen_by_nobody(points, weight), vertices.double().numpy()


def seen_by_nobody(points_TL3: torch.Tensor, weight_TL: torch.Tensor) -> Observations:
    frames, landmarks = weight_TL.shape
    none = torch.zeros(0, frames, landmarks)
    return Observations(
        none[..., None].expand(-1, -1, -1, 2), none, torch.zeros(0, 4, 4), torch.zeros(0, 3, 3),
        torch.zeros(0, frames), points_TL3, weight_TL, 0.01, False, None,
    )  # fmt: skip


def test_surfaces_of_some_frames_bring_all_of_them_nearer(
    rig: AnnyRig, body: tuple[Observations, np.ndarray]
) -> None:
    observations, vertices = body
    # One frame has no surface, another fewer points than are compared.
    surfaces = [vertices[0], None, vertices[2, ::17]]
    assert len(vertices[2, ::17]) < 1200
    alone = fit_surfaces(rig, observations, [None] * FRAMES, SETTINGS)
    fitter = SurfaceFitter(rig, observations, surfaces, SETTINGS)
    fitter.fit()
    before = surface_distances(rig, alone, list(vertices)).mean(1)
    after = surface_distances(rig, fitter.result(), list(vertices)).mean(1)
    assert (after[[0, 2]] < 0.7 * before[[0, 2]]).all() and after[1] < before[1], (before, after)
    landmarks, surface = fitter.residuals()
    assert (landmarks < 0.03).all() and np.isnan(surface[1]) and (surface[[0, 2]] < 0.006).all()
    assert np.isnan(surface_distances(rig, alone, surfaces)[1]).all()


def test_a_known_shape_stays_and_the_same_start_gives_the_same_fit(
    rig: AnnyRig, body: tuple[Observations, np.ndarray]
) -> None:
    observations, vertices = body
    short = replace(SETTINGS, steps=(3, 0, 3))
    known = fit_surfaces(rig, observations, list(vertices), short)
    again = fit_surfaces(rig, observations, list(vertices), short)
    assert torch.equal(known.rotations_TJ3, again.rotations_TJ3)
    fitter = SurfaceFitter(rig, observations, list(vertices), short, known)
    fitter.fit(fit_shape=False)
    kept = fitter.result()
    torch.testing.assert_close(kept.identity_I, known.identity_I, atol=1e-4, rtol=0)
    torch.testing.assert_close(kept.offsets_L3, known.offsets_L3)
    assert not torch.equal(kept.translation_T3, known.translation_T3)


def test_a_body_without_hips_starts_from_its_other_landmarks(
    rig: AnnyRig, body: tuple[Observations, np.ndarray]
) -> None:
    observations, _ = body
    weight = observations.points_weight_TL.clone()
    weight[1, 23:25] = 0.0
    weight[2] = 0.0
    lacking = replace(observations, points_weight_TL=weight)
    start = SurfaceFitter(rig, lacking, [None] * FRAMES).result()
    assert (start.rotations_TJ3[:, 0, 1] - 2.0).abs().max() < 0.3
    assert (start.translation_T3 - torch.tensor([0.4, 0.9, -0.2])).norm(dim=1).max() < 0.15
    assert not torch.equal(start.translation_T3[1], start.translation_T3[0])
    torch.testing.assert_close(start.translation_T3[2], start.translation_T3[0])  # the nearest with a torso
