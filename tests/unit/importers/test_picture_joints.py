"""Bodies found in pictures: joints of several cameras and the surface that masks leave."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from lca_lightning.cli.main import main
from lca_lightning.datasets.reader import Dataset
from lca_lightning.datasets.records import CameraRecord
from lca_lightning.importers import take_writing
from lca_lightning.importers.frame_reasons import left_out
from lca_lightning.importers.picture_fit import fit_in_pictures
from lca_lightning.importers.picture_joints import SeenPictures
from lca_lightning.importers.smpl_family import JOINT_NAMES
from lca_lightning.importers.source import JointsBody, SourceCamera
from lca_lightning.importers.triangulated_joints import triangulate_joints
from lca_lightning.importers.visual_hull import hull_points
from lca_lightning.preprocessing.landmarks import BODY_COUNT, FrameDetection, empty_detection
from lca_lightning.rendering.mesh import mesh_silhouette
from lca_lightning.rig.anny import AnnyRig
from lca_lightning.rig.rig import RigPose
from tests.unit.importers.codec_studio_sets import SIZE, write_goliath
from tests.unit.importers.miniature import Eye, picture, posed_body, ring
from tests.unit.importers.smpl_stand_in import rig_joint
from tests.unit.preprocessing.test_rig_fitting import observe, true_motion
from tests.unit.preprocessing.views import ring_of_cameras


@pytest.fixture(scope="module")
def scene(rig: AnnyRig) -> tuple[np.ndarray, list[Eye]]:
    body = posed_body(rig, 1)[0]
    return body, ring([str(i) for i in range(8)], (150, 200), body.mean(0), 1.9)


def _source(eye: Eye) -> SourceCamera:
    return SourceCamera(eye.name, eye.width, eye.height, eye.K_33, eye.w2c_44)


def _pixels(eye: Eye, points_P3: np.ndarray) -> np.ndarray:
    seen = points_P3 @ eye.w2c_44[:3, :3].T + eye.w2c_44[:3, 3]
    return np.c_[(seen @ eye.K_33.T)[:, :2] / seen[:, 2:], np.full(len(points_P3), 0.9)]


def test_joints_survive_swapped_sides_in_one_camera(scene: tuple[np.ndarray, list[Eye]]) -> None:
    body, eyes = scene
    points = body[np.linspace(0, len(body) - 1, 12).astype(int)]
    seen = [(_source(eye), _pixels(eye, points)) for eye in eyes]
    seen[3][1][[0, 7]] = seen[3][1][[7, 0]]
    seen[5] = (seen[5][0], None)
    found = triangulate_joints(seen, 30.0)
    assert found is not None
    np.testing.assert_allclose(found[0], points, atol=1e-9)
    assert triangulate_joints(seen[:1]) is None
    seen[0][1][:, 2] = 0.0
    positions, _ = triangulate_joints(seen[:2]) or (None, None)
    assert positions is not None and np.isnan(positions).all()  # one camera that sees is not enough


def test_hull_is_the_body_from_outside(rig: AnnyRig, scene: tuple[np.ndarray, list[Eye]]) -> None:
    body, eyes = scene
    records = [CameraRecord(e.name, e.width, e.height, e.K_33, e.w2c_44) for e in eyes]
    masks = [picture(eye, body, rig.faces_F3.numpy())[1] * 255 for eye in eyes]
    joints = body[np.linspace(0, len(body) - 1, 30).astype(int)]
    hull = hull_points(records, masks, joints)
    assert hull is not None and hull.shape == (3000, 3)
    outer = body[rig.faces_F3[rig.visible_faces_F].unique().numpy()]
    away = cKDTree(outer).query(hull)[0]
    assert np.median(away) < 0.03 and np.quantile(away, 0.95) < 0.10
    assert np.quantile(cKDTree(hull).query(outer)[0], 0.95) < 0.06
    assert hull_points(records[:3], masks[:3], joints) is None


def test_feet_at_the_edge_of_pictures_grow_no_pillar(
    rig: AnnyRig, scene: tuple[np.ndarray, list[Eye]]
) -> None:
    body, eyes = scene
    records, masks = [], []
    for eye in eyes:  # cut the pictures off a hand's breadth below the knees
        knees = body[:, 1].min() + 0.5
        below = _pixels(eye, np.array([[body[:, 0].mean(), knees, body[:, 2].mean()]]))[0, 1]
        height = int(below)
        records.append(CameraRecord(eye.name, eye.width, height, eye.K_33, eye.w2c_44))
        masks.append(picture(eye, body, rig.faces_F3.numpy())[1][:height] * 255)
    joints = body[np.linspace(0, len(body) - 1, 30).astype(int)]
    hull = hull_points(records, masks, joints)
    assert hull is not None and hull[:, 1].min() > body[:, 1].min() + 0.3


@pytest.mark.slow
def test_goliath_body_is_fitted_to_mesh_and_pictures(
    rig: AnnyRig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stored body covers the masks; only the detector is replaced, as made-up pictures fool it."""
    import torch

    from lca_lightning.rig.rig import RigPose
    from tests.unit.importers.views import stored_overlaps

    body = posed_body(rig)
    pose = rig.reference_pose(2)
    rotations = pose.rotations_BJ3.clone()
    rotations[:, 0, 1] = 0.4
    shift = torch.linspace(0.1, 0.25, 2)[:, None] * torch.tensor([1.0, 0.2, -0.6])
    with torch.no_grad():
        joints = rig.posed_joints(
            rig.neutral_identity()[None], RigPose(rotations, pose.translation_B3 + shift)
        ).numpy()
    names = JOINT_NAMES["smplh"]
    found = JointsBody(names, joints[:, [rig_joint(rig, name) for name in names]].astype(np.float64))
    monkeypatch.setattr(take_writing, "body_in_pictures", lambda *_: found)
    eyes = ring(["1", "2", "3"], SIZE, body[0].mean(0), 1.9)
    write_goliath(tmp_path / "set", "ClothedBody", eyes, body, rig.faces_F3.numpy())
    main(["import", "goliath", str(tmp_path / "set"), str(tmp_path / "out"), "--fit", "pictures"])
    (sequence,) = Dataset(tmp_path / "out").sequences()
    assert sequence.signals.frame_valid_T.all()
    overlaps = stored_overlaps(tmp_path / "out", rig)
    assert len(overlaps) == 3 and min(min(values) for values in overlaps.values()) > 0.8


def test_the_rig_is_fitted_to_pictures_and_frames_left_out_have_a_reason(rig: AnnyRig) -> None:
    identity, pose = true_motion(rig, 4)
    cameras = ring_of_cameras(4)
    pixels = observe(rig, identity, pose, cameras).pixels_CTL2[:, :, :BODY_COUNT].numpy()
    vertices = rig.posed_vertices(identity[None], pose).double().numpy()
    faces, quarter = rig.faces_F3.numpy(), np.diag([0.25, 0.25, 1.0])
    records = [CameraRecord(c.name, 272, 480, quarter @ c.K_33, c.w2c_44) for c in cameras]
    masks = [
        [mesh_silhouette(body, faces, r.w2c_44, r.K_33, 480, 272).astype(np.uint8) * 255 for body in vertices]
        for r in records
    ]
    unseen = empty_detection(480, 272)
    detections: list[list[FrameDetection | None]] = [
        [replace(unseen, body_P3=np.c_[xy / 4, np.ones(BODY_COUNT)]) for xy in frames] for frames in pixels
    ]
    for camera in range(1, 4):  # the second frame is seen by one camera only
        detections[camera][1] = None
    for camera in range(4):  # the masks of the fourth are somebody else's
        masks[camera][3] = np.roll(masks[camera][3], 90, 1)
    seen = SeenPictures(records, detections, masks)
    signals, words = fit_in_pictures(rig, seen, [5, 35, 60, 90], (50, 40, 20))
    assert signals is not None and signals.frame_valid_T.tolist() == [True, False, True, False]
    assert "2 of 4 frames usable; left out: frame 35: 1 of 4 cameras see a body" in words
    assert "frame 90: silhouette overlap" in words
    found = rig.posed_vertices(
        torch.from_numpy(signals.identity_I)[None],
        RigPose(torch.from_numpy(signals.rotations_TJ3), torch.from_numpy(signals.translation_T3)),
    ).numpy()
    assert np.median(np.linalg.norm(found - vertices, axis=-1)[[0, 2]]) < 0.04
    alone = SeenPictures(records[:2], [detections[0], [None] * 4], masks[:2])
    assert fit_in_pictures(rig, alone, range(4))[0] is None


def test_only_some_of_many_reasons_are_told() -> None:
    assert left_out([]) == ""
    told = left_out([(number, "too dark") for number in range(9)])
    assert told.count("too dark") == 4 and told.endswith("; and 5 more")
