"""The rig fitted to its own projected landmarks: known identity and motion come back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

pytest.importorskip("cv2")
from lca_lightning.geometry.cameras import project_points
from lca_lightning.preprocessing.landmarks import BODY_COUNT, BODY_INDEX
from lca_lightning.preprocessing.observations import Observations, join_landmarks, stature_pixels, to_tensor
from lca_lightning.preprocessing.pose_prior import build_pose_prior
from lca_lightning.preprocessing.rig_fitting import FitSettings, RigFit, fit_clip, reprojection_errors
from lca_lightning.preprocessing.rig_landmarks import LANDMARK_COUNT, build_rig_landmarks
from lca_lightning.preprocessing.silhouette import SilhouettePenalty, prepare_silhouette, spread_vertices
from lca_lightning.rendering.mesh import mesh_silhouette
from lca_lightning.rig.rig import Rig, RigPose
from tests.unit.preprocessing.views import project_all, ring_of_cameras


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def true_motion(rig: Rig, frames: int) -> tuple[torch.Tensor, RigPose]:
    identity = rig.neutral_identity().clone()
    identity[rig.identity_names.index("height")] = 0.75
    identity[rig.identity_names.index("measure-shoulder-dist")] = 0.4
    rotations = torch.zeros(frames, len(rig.joint_names), 3)
    phase = torch.linspace(0, 1.2, frames)
    for name, axis, size in (
        ("upperarm01.L", 2, 0.9), ("lowerarm01.R", 1, 0.6),
        ("upperleg01.L", 0, -0.8), ("lowerleg01.L", 0, 0.9),
        ("spine03", 1, 0.2), ("head", 0, 0.3),
    ):  # fmt: skip
        rotations[:, rig.joint_names.index(name), axis] = size * torch.sin(phase)
    rotations[:, 0, 1] = 0.7 + 0.4 * phase
    translation = torch.stack([0.2 * phase, 0.95 + 0 * phase, 0.1 * phase], 1)
    return identity, RigPose(rotations, translation)


def observe(rig: Rig, identity: torch.Tensor, pose: RigPose, cameras: list) -> Observations:
    landmarks = build_rig_landmarks(rig)
    transforms = rig.joint_transforms(identity[None], pose)
    rest = landmarks.canonical(rig.canonical_vertices(identity[None]), rig.canonical_joints(identity[None]))[
        0
    ]
    blended = torch.einsum("lj,tjab->tlab", landmarks.skin_weights_LJ, transforms)
    points = (blended[..., :3, :3] @ rest[:, :, None]).squeeze(-1) + blended[..., :3, 3]
    frames = len(points)
    projections = np.stack([camera.projection_34 for camera in cameras])
    pixels = project_all(points.reshape(-1, 3).numpy(), projections).reshape(len(cameras), frames, -1, 2)
    return Observations(
        to_tensor(pixels), torch.ones(len(cameras), frames, LANDMARK_COUNT),
        to_tensor(np.stack([camera.w2c_44 for camera in cameras])), to_tensor(np.stack([c.K_33 for c in
        cameras])),
        torch.full((len(cameras), frames), 750.0), points, torch.ones(frames, LANDMARK_COUNT), 0.02, False, 1
        / 15,
    )  # fmt: skip


def test_known_motion_is_recovered_from_three_cameras(rig) -> None:
    identity, pose = true_motion(rig, 3)
    seen = observe(rig, identity, pose, ring_of_cameras(3))
    fit = fit_clip(rig, seen, FitSettings(offset_scale=0.1, steps=(60, 60, 0)))
    assert float(reprojection_errors(rig, seen, fit).nanmedian()) < 4.0
    truth, found = rig.posed_joints(identity[None], pose), rig.posed_joints(fit.identity_I[None], fit.pose)
    limbs = [
        rig.joint_names.index(f"{n}.{s}")
        for n in ("upperarm01", "lowerarm01", "wrist", "lowerleg01", "foot")
        for s in "LR"
    ]
    assert float((truth - found)[:, limbs].norm(dim=-1).median()) < 0.025
    bounds = rig.identity_bounds()
    assert (fit.identity_I >= bounds[:, 0]).all() and (fit.identity_I <= bounds[:, 1]).all()


def test_one_camera_with_metric_hints_places_the_body(rig) -> None:
    identity, pose = true_motion(rig, 3)
    seen = observe(rig, identity, pose, ring_of_cameras(1))
    shifted = Observations(
        **{**seen.__dict__, "points_TL3": seen.points_TL3 + 0.05, "relative": True, "points_spread": 0.06}
    )
    fit = fit_clip(rig, shifted, FitSettings(identity_spread=0.12, offset_scale=0.25, steps=(40, 40, 0)))
    assert float(reprojection_errors(rig, seen, fit).nanmedian()) < 5.0
    # Left and right, front and back are right: the shoulder line agrees with the truth.
    across = [rig.joint_names.index("upperarm01.L"), rig.joint_names.index("upperarm01.R")]
    truth, found = rig.posed_joints(identity[None], pose), rig.posed_joints(fit.identity_I[None], fit.pose)
    lines = [joints[:, across[0]] - joints[:, across[1]] for joints in (truth, found)]
    assert (torch.nn.functional.cosine_similarity(*lines) > 0.95).all()


def test_landmarks_without_weight_change_nothing(rig) -> None:
    identity, pose = true_motion(rig, 3)
    seen = observe(rig, identity, pose, ring_of_cameras(2))
    confidence, weight = seen.confidence_CTL.clone(), seen.points_weight_TL.clone()
    wrist = BODY_INDEX["left_wrist"]
    confidence[:, :, wrist], weight[:, wrist] = 0, 0
    pixels, points = seen.pixels_CTL2.clone(), seen.points_TL3.clone()
    plain = Observations(**{**seen.__dict__, "confidence_CTL": confidence, "points_weight_TL": weight})
    pixels[:, :, wrist], points[:, wrist] = 5e3, 9.0
    spoiled = Observations(**{**plain.__dict__, "pixels_CTL2": pixels, "points_TL3": points})
    fits = [fit_clip(rig, each, FitSettings(steps=(5, 5, 0))) for each in (plain, spoiled)]
    assert torch.equal(fits[0].rotations_TJ3, fits[1].rotations_TJ3)


def test_landmarks_are_symmetric_and_sit_where_they_should(rig) -> None:
    landmarks = build_rig_landmarks(rig)
    assert torch.allclose(landmarks.skin_weights_LJ.sum(1), torch.ones(LANDMARK_COUNT), atol=1e-4)
    identity = rig.neutral_identity()[None]
    points = landmarks.canonical(rig.canonical_vertices(identity), rig.canonical_joints(identity))[0]
    for name, left in BODY_INDEX.items():
        if name.startswith("left"):
            mirrored = points[BODY_INDEX[name.replace("left", "right")]] * torch.tensor([-1.0, 1.0, 1.0])
            assert torch.allclose(points[left], mirrored, atol=4e-3), name
            assert points[left, 0] > 0
    order = ["left_ear", "left_shoulder", "left_hip", "left_knee", "left_ankle", "left_foot_index"]
    heights = [float(points[BODY_INDEX[name], 1]) for name in order]
    assert heights == sorted(heights, reverse=True)
    middle_tip, middle_joint = points[BODY_COUNT + 12], points[BODY_COUNT + 11]
    assert 0.01 < float((middle_tip - middle_joint).norm()) < 0.04


def test_prior_is_zero_at_rest_and_punishes_knees_bent_forwards(rig) -> None:
    prior = build_pose_prior(rig)
    rest = torch.zeros(1, len(rig.joint_names), 3)
    assert float(prior.energy(rest)) == 0
    knee = rig.joint_names.index("lowerleg01.L")
    backward, forward = rest.clone(), rest.clone()
    backward[0, knee], forward[0, knee] = prior.axes_J33[knee, 0], -prior.axes_J33[knee, 0]
    assert float(prior.energy(forward)) > 10 * float(prior.energy(backward))
    bent = rig.posed_joints(rig.neutral_identity()[None], RigPose(backward, torch.zeros(1, 3)))[0]
    straight = rig.posed_joints(rig.neutral_identity()[None], RigPose(rest, torch.zeros(1, 3)))[0]
    assert (bent - straight)[rig.joint_names.index("foot.L"), 2] < -0.2, "the shin goes backwards"
    elbow = rig.joint_names.index("lowerarm01.R")
    flexed = rest.clone()
    flexed[0, elbow] = 0.8 * prior.axes_J33[elbow, 0]
    moved = rig.posed_joints(rig.neutral_identity()[None], RigPose(flexed, torch.zeros(1, 3)))[0] - straight
    assert moved[rig.joint_names.index("wrist.R"), 2] > 0.03, "the forearm comes forwards"
    assert not prior.free_J[rig.joint_names.index("toe2-1.L")]


def test_silhouette_penalty_is_least_where_the_body_is(rig) -> None:
    mask = np.zeros((300, 300), np.uint8)
    mask[50:250, 100:200] = 255
    image = prepare_silhouette(mask, 0, 0, 200.0)
    assert image is not None and prepare_silhouette(np.zeros_like(mask), 0, 0, 200.0) is None
    term = SilhouettePenalty(rig, [image], points=50)
    x, y = torch.meshgrid(torch.linspace(101, 199, 12), torch.linspace(51, 249, 24), indexing="ij")
    inside = torch.stack([x, y], -1).reshape(1, -1, 2)
    chosen = term.draw()
    values = [
        float(term(inside + torch.tensor(shift), chosen))
        for shift in ([0.0, 0.0], [30.0, 0.0], [-60.0, 20.0])
    ]
    assert values[0] < 0.3 * values[1] < 0.3 * values[2]
    assert float(term(inside * 0.5 + 75, chosen)) > 3 * values[0], (
        "a body too small leaves the contour uncovered"
    )
    spread = spread_vertices(rig, 40)
    assert len(set(spread.tolist())) == 40


def test_hidden_or_outside_landmarks_get_no_weight() -> None:
    body = np.ones((2, 33, 3)) * [50.0, 50.0, 0.95]
    body[0, 15, :2] = [-3, 50]
    body[0, 16, 2] = 0.1
    body[1] = np.nan
    pixels, confidence = join_landmarks(body, np.full((2, 2, 21, 3), np.nan), 100, 100)
    assert confidence[0, 14] == 1 and confidence[0, 15] == 0 and confidence[0, 16] == 0
    assert (confidence[1] == 0).all() and (confidence[0, 33:] == 0).all() and np.isfinite(pixels).all()
    assert np.isfinite(stature_pixels(body)).all()


def test_a_fit_can_be_read_frame_by_frame(rig) -> None:
    rotations, translation = torch.zeros(3, len(rig.joint_names), 3), torch.arange(9.0).reshape(3, 3)
    offsets, camera = torch.zeros(LANDMARK_COUNT, 3), torch.eye(4)[None]
    fit = RigFit(rig.neutral_identity(), rotations, translation, offsets, camera)
    assert fit.frame_pose(1).translation_B3.tolist() == [[3, 4, 5]] and len(fit.pose.translation_B3) == 3


def test_outlines_bring_a_knocked_camera_back(rig) -> None:
    """One of four cameras is turned by 0.5 degrees after calibration: only its masks tell."""
    identity, pose = true_motion(rig, 3)
    true_cameras = ring_of_cameras(4)
    seen = observe(rig, identity, pose, true_cameras)
    vertices, faces = rig.posed_vertices(identity[None], pose).double().numpy(), rig.faces_F3.numpy()
    images = []
    for index, camera in enumerate(true_cameras):
        for frame in range(3):
            body = mesh_silhouette(vertices[frame], faces, camera.w2c_44, camera.K_33, 1920, 1088)
            image = prepare_silhouette(255 * body.astype(np.uint8), index, frame, 750.0)
            assert image is not None
            images.append(image)
    turn = Rotation.from_rotvec([0, np.radians(0.5), 0]).as_matrix()
    knocked = seen.w2c_C44.clone()
    knocked[2, :3] = to_tensor(turn) @ knocked[2, :3]
    confidence = seen.confidence_CTL.clone()
    confidence[2] = 0
    observed = replace(seen, w2c_C44=knocked, confidence_CTL=confidence)

    def error(w2c_C44: torch.Tensor, found: torch.Tensor) -> float:
        """Median pixels between the true body and the found one in the knocked camera."""
        K = seen.K_C33[2]
        mine, _ = project_points(found, w2c_C44[2], K)
        true, _ = project_points(torch.from_numpy(vertices).float(), seen.w2c_C44[2], K)
        return float((mine - true).norm(dim=-1).median())

    settings = FitSettings(offset_scale=0.1, silhouette_weight=4.0, steps=(40, 40, 80))
    fit = fit_clip(rig, observed, settings, SilhouettePenalty(rig, images, points=1500))
    body = rig.posed_vertices(fit.identity_I[None], fit.pose)
    assert error(knocked, body) > 10
    assert error(fit.w2c_C44, body) < 5
    two = fit_clip(rig, observed.cameras_kept([0, 1]), FitSettings(steps=(2, 2, 2)),
                   SilhouettePenalty(rig, images[:6], points=50))  # fmt: skip
    assert torch.equal(two.w2c_C44, knocked[:2]), "two cameras and the body move together unseen"
