"""Anchors and Gaussian positions: counts, places, weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lca_lightning.errors import ConfigError
from lca_lightning.rig import REGIONS, Anchors, sample_anchors
from lca_lightning.rig.anny import AnnyRig

FACE = REGIONS.index("face")


@pytest.fixture(scope="module")
def anchors(rig: AnnyRig) -> Anchors:
    return sample_anchors(rig, 512, 4)


def test_half_of_the_anchors_lie_on_the_face(anchors: Anchors) -> None:
    assert int(anchors.is_face_A.sum()) == 256
    on_face = (anchors.regions_G == FACE).reshape(512, 4)
    assert (on_face == anchors.is_face_A[:, None]).all()


def test_the_face_gets_the_share_it_is_given(rig: AnnyRig) -> None:
    fewer = sample_anchors(rig, 64, 4, face_share=0.25)
    assert int(fewer.is_face_A.sum()) == 16 and fewer.is_face_A[:16].all()
    assert int((fewer.regions_G == FACE).sum()) == 64 and fewer.gaussian_count == 256


def test_no_gaussian_mixes_two_fingers(rig: AnnyRig) -> None:
    dense = sample_anchors(rig, 2048, 8)
    finger = torch.tensor(rig.finger_J)
    totals = torch.stack([dense.weights_GJ[:, finger == f].sum(1) for f in range(int(finger.max()) + 1)], 1)
    assert ((totals > 0).sum(1) <= 1).all()
    hands = dense.regions_G == REGIONS.index("hand")
    assert (totals[hands].sum(1) > 0.5).sum() > 50, "fingers do have Gaussians of their own"
    torch.testing.assert_close(dense.weights_GJ.sum(1), torch.ones(dense.gaussian_count), atol=1e-5, rtol=0)


def test_gaussians_of_an_anchor_stay_on_its_finger(rig: AnnyRig) -> None:
    dense = sample_anchors(rig, 2048, 8)
    finger = np.array(rig.finger_J)
    labels = finger[dense.weights_GJ.argmax(1).numpy()].reshape(2048, 8)
    for row in labels:
        assert len(np.unique(row[row >= 0])) <= 1


def test_points_lie_on_the_mesh_near_their_anchor(rig: AnnyRig, anchors: Anchors) -> None:
    points = anchors.on_mesh(rig.template_vertices_V3[None])[0].reshape(512, 4, 3)
    torch.testing.assert_close(points[:, 0], anchors.positions_A3, atol=1e-5, rtol=0)
    assert (points - anchors.positions_A3[:, None]).norm(dim=-1).max() < 0.15
    distinct = len(torch.unique(points.reshape(-1, 3).round(decimals=6), dim=0))
    assert distinct > 0.98 * 512 * 4


def test_normals_point_outwards(rig: AnnyRig, anchors: Anchors) -> None:
    torso = anchors.regions_G == REGIONS.index("upper")
    points = anchors.on_mesh(rig.template_vertices_V3[None])[0]
    front = torso & (points[:, 0].abs() < 0.1) & (points[:, 2] > 0.08)
    assert front.sum() > 5 and (anchors.normals_G3[front, 2] > 0).float().mean() > 0.95


def test_sampling_is_blue_noise(anchors: Anchors) -> None:
    distance = torch.cdist(anchors.positions_A3[:256], anchors.positions_A3[:256]) + torch.eye(256) * 9
    nearest = distance.min(1).values
    assert nearest.min() > 0.3 * nearest.mean()


def test_same_arguments_same_points_and_bad_counts_are_refused(rig: AnnyRig, anchors: Anchors) -> None:
    again = sample_anchors(rig, 512, 4)
    assert torch.equal(again.barycentric_G3, anchors.barycentric_G3)
    for count, share in ((511, 0.5), (512, 0.0), (512, 1.0), (10, 0.25)):
        with pytest.raises(ConfigError, match="must be a whole number"):
            sample_anchors(rig, count, 4, face_share=share)
