"""Properties of the default rig that hold whatever the package says."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
import torch

from lca_lightning.errors import ConfigError, ShapeError
from lca_lightning.geometry.rotations import rotation_vector_to_matrix
from lca_lightning.rig import REGIONS, RigPose, load_rig
from lca_lightning.rig.anny import AnnyRig


def test_starts_in_under_three_seconds_without_a_cache(tmp_path) -> None:
    code = (
        "import time, torch; start = time.perf_counter(); "
        "from lca_lightning.rig.anny import AnnyRig; AnnyRig(); print(time.perf_counter() - start)"
    )
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    seconds = []
    for _ in range(2):  # the better of two: other tests run beside this one
        start = time.perf_counter()
        output = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, env=environment, check=True
        )
        seconds.append(min(float(output.stdout), time.perf_counter() - start))
    assert min(seconds) < 3.0
    assert not list(tmp_path.iterdir()), "the rig must not write a cache"


def test_rest_pose_leaves_the_template_in_place(rig: AnnyRig) -> None:
    transforms = rig.joint_transforms(rig.neutral_identity()[None], rig.rest_pose())
    torch.testing.assert_close(transforms, torch.eye(4).expand_as(transforms), atol=1e-5, rtol=0)


def test_template_stands_upright_and_faces_forward(rig: AnnyRig) -> None:
    vertices = rig.template_vertices_V3
    height = vertices[:, 1].max() - vertices[:, 1].min()
    assert 1.4 < height < 2.0
    nose = rig.keypoints(vertices[None])[0, rig.keypoint_names.index("nose")]
    head = rig.canonical_joints(rig.neutral_identity()[None])[0, rig.joint_names.index("head")]
    assert nose[2] > head[2] + 0.05, "+z is in front"
    left = rig.joint_names.index("wrist.L")
    assert rig.canonical_joints(rig.neutral_identity()[None])[0, left, 0] > 0.2, "+x is the body's left"


def test_the_root_carries_the_whole_body(rig: AnnyRig) -> None:
    rest = rig.rest_pose()
    rotations = rest.rotations_BJ3.clone()
    rotations[0, 0] = torch.tensor([0.3, 1.0, -0.2])
    moved = RigPose(rotations, torch.tensor([[1.0, 2.0, 3.0]]))
    identity = rig.neutral_identity()[None]
    turn = rotation_vector_to_matrix(rotations[:, 0])
    expected = (rig.posed_joints(identity, rest) - rest.translation_B3) @ turn.transpose(1, 2)
    torch.testing.assert_close(
        rig.posed_joints(identity, moved), expected + moved.translation_B3, atol=1e-5, rtol=0
    )


def test_a_bent_elbow_moves_the_hand_only(rig: AnnyRig) -> None:
    pose = rig.rest_pose()
    rotations = pose.rotations_BJ3.clone()
    rotations[0, rig.joint_names.index("lowerarm01.L"), 1] -= 1.0
    moved = rig.posed_vertices(rig.neutral_identity()[None], RigPose(rotations, pose.translation_B3))[0]
    distance = (moved - rig.template_vertices_V3).norm(dim=1)
    left = rig.template_vertices_V3[:, 0] > 0
    hand = rig.regions_V == REGIONS.index("hand")
    assert distance[hand & left].min() > 0.1
    assert distance[~left].max() < 1e-4
    assert distance[rig.regions_V == REGIONS.index("lower")].max() < 1e-4


def test_gaze_turns_the_eyes(rig: AnnyRig) -> None:
    direction = torch.nn.functional.normalize(torch.tensor([0.3, -0.2, 0.9]), dim=0)
    gaze = torch.cat([direction, torch.ones(1), direction, torch.zeros(1)])[None]
    pose = rig.reference_pose()
    turned = rig.with_gaze(pose.rotations_BJ3, gaze)
    left, right = rig.joint_names.index("eye.L"), rig.joint_names.index("eye.R")
    looked = rotation_vector_to_matrix(turned[0, left]) @ torch.tensor([0.0, 0.0, 1.0])
    torch.testing.assert_close(looked, direction, atol=1e-6, rtol=0)
    assert (turned[0, right] == 0).all(), "an invalid gaze changes nothing"


def test_driving_vector_ignores_root_toes_and_eyes(rig: AnnyRig) -> None:
    rotations = torch.zeros(1, len(rig.joint_names), 3)
    assert (rig.driving_vector(rotations) == 0).all()
    for name, changes in (("root", False), ("toe1-1.L", False), ("eye.R", False), ("finger2-1.R", True)):
        moved = rotations.clone()
        moved[0, rig.joint_names.index(name), 0] = 0.5
        assert bool((rig.driving_vector(moved) != 0).any()) is changes
    assert rig.driving_vector(rotations).shape[-1] == rig.driving_size


def test_identity_has_a_gradient_everywhere(rig: AnnyRig) -> None:
    identity = rig.neutral_identity()[None].requires_grad_()
    vertices = rig.canonical_vertices(identity)
    (vertices * torch.randn(vertices.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
    assert identity.grad is not None and (identity.grad != 0).all()


def test_every_region_has_vertices_and_weights_sum_to_one(rig: AnnyRig) -> None:
    counts = torch.bincount(rig.regions_V, minlength=len(REGIONS))
    assert (counts > 100).all()
    torch.testing.assert_close(rig.weights_VJ.sum(1), torch.ones(len(rig.weights_VJ)), atol=1e-5, rtol=0)


def test_errors_say_what_is_wrong(rig: AnnyRig) -> None:
    with pytest.raises(ConfigError, match="no rig named 'smpl'"):
        load_rig("smpl")
    with pytest.raises(ShapeError, match=r"identity_BI must have shape \(B, 43\)"):
        rig.canonical_vertices(torch.zeros(1, 5))
