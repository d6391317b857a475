"""Four stored SAM-3D-Body fits of people, with all of MHR's parameters.

With MHR's asset, stored joints and vertices must follow from the stored parameters. Without it, the part of
its skeleton that the tests' stand-in repeats, from the pelvis to ankles, wrists and head, must do so: that
pins units, axes, orders of rotation, scales and the names and weights of the parameters to real data.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lca_lightning.geometry.rotations import quaternion_to_matrix
from lca_lightning.rig.loading import MHR_VARIABLE
from lca_lightning.rig.mhr import MHRRig
from tests.mhr_stand_in import save_stand_in
from tests.parity.mhr_names import JOINTS, PARAMETERS

FLIP = torch.tensor([1.0, -1.0, -1.0])  # stored positions are in camera axes, stored rotations are not


@pytest.fixture(scope="module")
def fits(samples: Path) -> dict[str, Tensor]:
    paths = sorted((samples / "mhr_fits").glob("*.npz"))
    assert len(paths) == 4
    loaded = [np.load(path) for path in paths]
    return {name: torch.from_numpy(np.stack([fit[name] for fit in loaded])).float() for name in loaded[0]}


@pytest.fixture(scope="module")
def real() -> Iterator[MHRRig]:
    path = os.environ.get(MHR_VARIABLE)
    if not path:
        pytest.skip(
            f"MHR's asset is not on this machine: docs/rigs.md says how to get it; set {MHR_VARIABLE}"
        )
    yield MHRRig(path)


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> MHRRig:
    return MHRRig(save_stand_in(tmp_path_factory.mktemp("mhr") / "part.pt"))


def of_part(part: MHRRig, fits: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The stored parameters the part has, and the positions of its joints among all."""
    parameters = torch.zeros(4, len(part.parameter_names))
    for column, name in enumerate(part.parameter_names):
        if name in PARAMETERS:
            parameters[:, column] = fits["mhr_model_params"][:, PARAMETERS.index(name)]
    return parameters, torch.tensor([JOINTS.index(name) for name in part.joint_names])


def test_the_body_of_the_stand_in_follows_the_stored_fits(part: MHRRig, fits: dict[str, Tensor]) -> None:
    parameters, index = of_part(part, fits)
    body = torch.tensor(part.finger_J) < 0
    body[0] = False  # ours moves with the root
    stored = (fits["pred_joint_coords"] * FLIP)[:, index]
    identity, pose, _ = part.from_model_parameters(torch.zeros(4, part.shape_size), parameters)
    torch.testing.assert_close(part.posed_joints(identity, pose)[:, body], stored[:, body], atol=1e-5, rtol=0)
    _, states = part.asset_forward(torch.zeros(4, 5), parameters, torch.zeros(4, 6))
    torch.testing.assert_close(states[:, body, :3], stored[:, body], atol=1e-5, rtol=0)


def test_orientations_of_the_stand_in_are_the_stored_ones(part: MHRRig, fits: dict[str, Tensor]) -> None:
    parameters, index = of_part(part, fits)
    # Hands were refined after the rotations were stored; where they were not, wrists agree too.
    agree = torch.tensor(["wrist" not in name and "twist" not in name for name in part.joint_names])
    agree &= torch.tensor(part.finger_J) < 0
    _, states = part.asset_forward(torch.zeros(4, 5), parameters, torch.zeros(4, 6))
    ours = quaternion_to_matrix(states[..., [6, 3, 4, 5]])
    stored = fits["pred_global_rots"][:, index]
    torch.testing.assert_close(ours[:, agree], stored[:, agree], atol=2e-5, rtol=0)
    right = part.joint_names.index("r_wrist")
    torch.testing.assert_close(ours[[1, 3], right], stored[[1, 3], right], atol=2e-5, rtol=0)


def test_hands_scale_by_powers_of_two(fits: dict[str, Tensor]) -> None:
    wrist, thumb = JOINTS.index("r_wrist"), JOINTS.index("r_thumb0")
    length = (fits["pred_joint_coords"][:, thumb] - fits["pred_joint_coords"][:, wrist]).norm(dim=1)
    size = torch.exp2(fits["mhr_model_params"][:, PARAMETERS.index("scale_r_hands")])
    torch.testing.assert_close(length / size, (length / size).mean().expand(4), rtol=2e-3, atol=0)


def test_joints_and_vertices_follow_from_stored_parameters(real: MHRRig, fits: dict[str, Tensor]) -> None:
    assert list(real.joint_names) == JOINTS
    shape, parameters, expression = fits["shape_params"], fits["mhr_model_params"], fits["expr_params"]
    vertices, states = real.asset_forward(shape, parameters, expression)
    torch.testing.assert_close(vertices, fits["pred_vertices"] * FLIP, atol=5e-4, rtol=0)
    joints = fits["pred_joint_coords"] * FLIP
    torch.testing.assert_close(states[..., :3], joints, atol=1e-4, rtol=0)
    identity, pose, expression = real.from_model_parameters(shape, parameters, expression)
    torch.testing.assert_close(real.posed_joints(identity, pose)[:, 1:], joints[:, 1:], atol=1e-4, rtol=0)
    linear, _ = real.asset_forward(shape, parameters, expression, correctives=False)
    torch.testing.assert_close(real.posed_vertices(identity, pose, expression), linear, atol=1e-4, rtol=0)


def test_the_real_rest_pose_is_the_template(real: MHRRig) -> None:
    transforms = real.joint_transforms(real.neutral_identity()[None], real.rest_pose())
    torch.testing.assert_close(transforms, torch.eye(4).expand_as(transforms), atol=1e-4, rtol=0)
    assert (torch.bincount(real.regions_V, minlength=6) > 100).all()
    torch.testing.assert_close(real.weights_VJ.sum(1), torch.ones(len(real.weights_VJ)), atol=1e-3, rtol=0)
