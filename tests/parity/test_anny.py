"""The distilled rig against the Anny package: same joints and vertices to 10 micrometres."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lca_lightning.rig import RigPose
from lca_lightning.rig.anny import AnnyRig

from .anny_package import REFERENCE, VERTEX_STEP, package_forward, random_parameters

TOLERANCE = 1e-5  # metres; the asset stores joint and orientation shapes in float32


def test_equals_stored_package_values(rig: AnnyRig) -> None:
    with np.load(REFERENCE, allow_pickle=False) as stored:
        values = {name: torch.from_numpy(stored[name]).float() for name in stored.files}
    pose = RigPose(values["rotations"], values["translation"])
    joints = rig.posed_joints(values["identity"], pose)
    vertices = rig.posed_vertices(values["identity"], pose, values["expression"])[:, ::VERTEX_STEP]
    assert (joints - values["joints"]).abs().max() < TOLERANCE
    assert (vertices - values["vertices"]).abs().max() < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_package_forward(rig: AnnyRig, seed: int) -> None:
    pytest.importorskip("anny", reason="the anny package is in the dev extra")
    parameters = random_parameters(rig, 8, seed)
    vertices, joints = package_forward(rig, **parameters)
    single = {name: value.float() for name, value in parameters.items()}
    pose = RigPose(single["rotations"], single["translation"])
    ours = rig.posed_vertices(single["identity"], pose, single["expression"])
    assert (rig.posed_joints(single["identity"], pose) - joints).abs().max() < TOLERANCE
    assert (ours - vertices).abs().max() < TOLERANCE
