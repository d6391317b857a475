"""The MHR rig on a small stand-in of its asset, whose own forward pass is the reference."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lca_lightning.errors import ConfigError, MissingAssetError, ShapeError
from lca_lightning.geometry.rotations import rotation_vector_to_matrix
from lca_lightning.rig import REGIONS, RigPose, load_rig, sample_anchors
from lca_lightning.rig.mhr import MHRRig
from lca_lightning.rig.mhr_asset import read_mhr_asset
from lca_lightning.rig.mhr_parts import finger_of, region_of
from tests.mhr_stand_in import EXPRESSIONS, SHAPES, save_stand_in
from tests.parity.mhr_names import JOINTS


@pytest.fixture(scope="module")
def asset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_stand_in(tmp_path_factory.mktemp("mhr") / "mhr_model.pt")


@pytest.fixture(scope="module")
def mhr(asset: Path) -> MHRRig:
    return MHRRig(asset)


def random_parameters(mhr: MHRRig, count: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """Shapes, model parameters and expressions; rotations up to about a radian."""
    generator = torch.Generator().manual_seed(4)
    parameters = 0.4 * torch.randn(count, len(mhr.parameter_names), generator=generator)
    shape = torch.randn(count, SHAPES, generator=generator)
    return shape, parameters, torch.rand(count, EXPRESSIONS, generator=generator)


def only(mhr: MHRRig, **values: float) -> Tensor:
    """Model parameters that are zero but for some."""
    parameters = torch.zeros(1, len(mhr.parameter_names))
    for name, value in values.items():
        parameters[0, mhr.parameter_names.index(name)] = value
    return parameters


def test_vertices_and_joints_are_the_assets(mhr: MHRRig) -> None:
    shape, parameters, expression = random_parameters(mhr)
    identity, pose, expression = mhr.from_model_parameters(shape, parameters, expression)
    vertices, states = mhr.asset_forward(shape, parameters, expression, correctives=False)
    torch.testing.assert_close(mhr.posed_vertices(identity, pose, expression), vertices, atol=1e-5, rtol=0)
    joints = mhr.posed_joints(identity, pose)
    torch.testing.assert_close(joints[:, 1:], states[:, 1:, :3], atol=1e-5, rtol=0)
    corrected, _ = mhr.asset_forward(shape, parameters, expression)
    assert (corrected - vertices).abs().max() > 1e-3, "the asset's correctives are what is left out"


def test_the_template_stands_upright_in_its_rest_pose(mhr: MHRRig) -> None:
    neutral = mhr.neutral_identity()[None]
    transforms = mhr.joint_transforms(neutral, mhr.rest_pose())
    torch.testing.assert_close(transforms, torch.eye(4).expand_as(transforms), atol=1e-5, rtol=0)
    vertices, _ = mhr.asset_forward(torch.zeros(1, SHAPES), only(mhr), torch.zeros(1, EXPRESSIONS), False)
    torch.testing.assert_close(mhr.template_vertices_V3, vertices[0], atol=1e-5, rtol=0)
    joints = dict(zip(mhr.joint_names, mhr.canonical_joints(neutral)[0], strict=True))
    assert 1.3 < joints["c_head"][1] < 1.7 and joints["l_wrist"][0] > 0.3 and joints["l_eye"][2] > 0.03
    feet = mhr.regions_V == REGIONS.index("foot")
    assert mhr.template_vertices_V3[feet, 1].max() < 0.2


def test_bone_lengths_belong_to_the_identity_and_leave_the_canonical_mesh_alone(mhr: MHRRig) -> None:
    identity, pose, _ = mhr.from_model_parameters(torch.zeros(1, SHAPES), only(mhr, scale_uplegs=0.3))
    assert identity[0, mhr.identity_names.index("scale_uplegs")] == 0.3
    assert (pose.rotations_BJ3.abs() < 1e-6).all()
    torch.testing.assert_close(mhr.canonical_vertices(identity)[0], mhr.template_vertices_V3)
    hip, knee = mhr.joint_names.index("l_upleg"), mhr.joint_names.index("l_lowleg")
    for subject, length in ((mhr.neutral_identity()[None], 0.41977), (identity, 0.41969 + 0.03)):
        joints = mhr.posed_joints(subject, mhr.reference_pose())[0]
        assert float((joints[hip] - joints[knee]).norm()) == pytest.approx(length, abs=1e-4)
    shaped = identity.clone()
    shaped[0, 0] = 1.0
    assert (mhr.canonical_vertices(shaped)[0] - mhr.template_vertices_V3).norm(dim=1).max() > 0.005


def test_a_rotation_that_is_a_proportion_stays_out_of_the_pose(mhr: MHRRig) -> None:
    parameters = only(mhr, scale_knee_knock=0.2, l_knee_bend=0.5)
    identity, pose, _ = mhr.from_model_parameters(torch.zeros(1, SHAPES), parameters)
    straight = only(mhr, l_knee_bend=0.5)
    _, plain, _ = mhr.from_model_parameters(torch.zeros(1, SHAPES), straight)
    other = torch.arange(len(mhr.joint_names)) != mhr.joint_names.index("l_lowleg")
    assert (pose.rotations_BJ3[:, other].abs() < 1e-6).all()
    angles = [float(p.rotations_BJ3[0, mhr.joint_names.index("l_lowleg")].norm()) for p in (pose, plain)]
    assert angles == pytest.approx([0.5, 0.5], abs=1e-4)
    states = mhr.asset_forward(torch.zeros(1, SHAPES), parameters, torch.zeros(1, EXPRESSIONS), False)[1]
    torch.testing.assert_close(mhr.posed_joints(identity, pose)[:, 1:], states[:, 1:, :3], atol=1e-5, rtol=0)


def test_one_identity_serves_many_frames(mhr: MHRRig) -> None:
    shape, parameters, _ = random_parameters(mhr, 3)
    identity, pose, _ = mhr.from_model_parameters(shape, parameters)
    together = mhr.joint_transforms(identity[:1], pose)
    alone = mhr.joint_transforms(identity[:1], RigPose(pose.rotations_BJ3[2:], pose.translation_B3[2:]))
    torch.testing.assert_close(together[2:], alone, atol=1e-6, rtol=0)


def test_the_root_carries_the_whole_body(mhr: MHRRig) -> None:
    shape, parameters, _ = random_parameters(mhr, 1)
    identity, pose, _ = mhr.from_model_parameters(shape, parameters)
    turn = rotation_vector_to_matrix(torch.tensor([[0.3, 1.0, -0.2]]))
    rotations = pose.rotations_BJ3.clone()
    rotations[:, 0] = torch.tensor([0.3, 1.0, -0.2])
    upright = RigPose(torch.cat([torch.zeros(1, 1, 3), rotations[:, 1:]], 1), torch.zeros(1, 3))
    moved = mhr.posed_joints(identity, RigPose(rotations, torch.tensor([[1.0, 2.0, 3.0]])))
    expected = mhr.posed_joints(identity, upright) @ turn.transpose(1, 2) + torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(moved, expected, atol=1e-5, rtol=0)


def test_gradients_of_vertices_are_right(mhr: MHRRig) -> None:
    shape, parameters, expression = random_parameters(mhr, 1)
    identity, pose, expression = mhr.from_model_parameters(shape, parameters, expression)
    values = [identity, pose.rotations_BJ3, pose.translation_B3, expression]
    weights = torch.randn(mhr.template_vertices_V3.shape, generator=torch.Generator().manual_seed(1)).double()
    try:
        mhr.double()

        def total(identity: Tensor, rotations: Tensor, translation: Tensor, expression: Tensor) -> Tensor:
            vertices = mhr.posed_vertices(identity, RigPose(rotations, translation), expression)
            return (vertices * weights).sum()

        inputs = [value.double().requires_grad_() for value in values]
        assert torch.autograd.gradcheck(total, inputs, eps=1e-6, atol=1e-5, rtol=1e-4)
        total(*inputs).backward()
    finally:
        mhr.float()
    assert all((value.grad != 0).any() for value in inputs) and (inputs[0].grad[0] != 0).all()


def test_regions_fingers_and_driving_joints(mhr: MHRRig) -> None:
    assert (torch.bincount(mhr.regions_V, minlength=len(REGIONS)) > 20).all()
    torch.testing.assert_close(mhr.weights_VJ.sum(1), torch.ones(len(mhr.weights_VJ)), atol=1e-5, rtol=0)
    fingers = dict(zip(mhr.joint_names, mhr.finger_J, strict=True))
    assert len({*mhr.finger_J}) == 5 and fingers["l_index1"] == fingers["l_index2"] != fingers["r_index1"]
    assert fingers["l_wrist"] == fingers["c_head"] == -1
    driving = {mhr.joint_names[joint] for joint in mhr.driving_joints}
    assert {"c_spine0", "l_uparm", "r_index2", "c_head"} < driving
    assert not driving & {"body_world", "root", "l_eye", "l_lowarm_twist2_proc"}
    assert (mhr.driving_vector(mhr.reference_pose().rotations_BJ3) == 0).all()
    face = mhr.template_vertices_V3[mhr.regions_V == REGIONS.index("face")]
    head = mhr.template_vertices_V3[mhr.regions_V == REGIONS.index("head")]
    assert face[:, 2].mean() > head[:, 2].mean() + 0.05


def test_all_joints_of_the_real_rig_have_the_right_part() -> None:
    parts = {region: {name for name in JOINTS if region_of(name) == region} for region in REGIONS}
    assert len(JOINTS) == 127 and len(parts["hand"]) == 2 * 23 and len(parts["foot"]) == 2 * 5
    assert {"root", "l_lowleg_twist4_proc", "r_upleg"} < parts["lower"]
    assert {"c_spine0", "c_neck", "l_wrist_twist", "r_clavicle", "l_lowarm_twist1_proc"} < parts["upper"]
    assert parts["head"] == {name for name in JOINTS[113:]} and not parts["face"]
    fingers = [finger_of(name) for name in JOINTS]
    assert len({*fingers}) == 11 and fingers.count("r_thumb") == 5 and fingers.count("l_pinky") == 4
    assert finger_of("l_pinky0") is finger_of("r_wrist") is finger_of("l_eye") is None


def test_gaze_turns_the_eyes_of_a_turned_head(mhr: MHRRig) -> None:
    direction = nn.functional.normalize(torch.tensor([0.3, -0.2, 0.9]), dim=0)
    gaze = torch.cat([direction, torch.ones(1), direction, torch.zeros(1)])[None]
    pose = mhr.reference_pose()
    rotations = pose.rotations_BJ3.clone()
    rotations[0, mhr.joint_names.index("c_head"), 1] = 0.4
    turned = mhr.with_gaze(rotations, gaze)
    eyes = [mhr.joint_names.index(name) for name in ("l_eye", "r_eye")]
    transforms = mhr.joint_transforms(mhr.neutral_identity()[None], RigPose(turned, pose.translation_B3))[0]
    head = transforms[mhr.joint_names.index("c_head"), :3, :3]
    ahead = torch.tensor([0.0, 0.0, 1.0])
    torch.testing.assert_close(transforms[eyes[0], :3, :3] @ ahead, head @ direction, atol=1e-5, rtol=0)
    torch.testing.assert_close(transforms[eyes[1], :3, :3] @ ahead, head @ ahead, atol=1e-5, rtol=0)


def test_anchors_lie_on_the_rig_and_keep_to_their_fingers(mhr: MHRRig) -> None:
    anchors = sample_anchors(mhr, 512, 4, face_share=0.25)
    assert int(anchors.is_face_A.sum()) == 128
    assert ((anchors.regions_G == REGIONS.index("face")).reshape(512, 4) == anchors.is_face_A[:, None]).all()
    points = anchors.on_mesh(mhr.template_vertices_V3[None])[0].reshape(512, 4, 3)
    torch.testing.assert_close(points[:, 0], anchors.positions_A3, atol=1e-5, rtol=0)
    finger = torch.tensor(mhr.finger_J)
    shares = torch.stack([anchors.weights_GJ[:, finger == label].sum(1) for label in range(4)], 1)
    assert ((shares > 0).sum(1) <= 1).all() and (shares.sum(1) > 0.5).any()
    torso = torch.tensor([name.startswith("c_spine") for name in mhr.joint_names])
    front = (anchors.weights_GJ[:, torso].sum(1) > 0.9) & (points.reshape(-1, 3)[:, 2] > 0.08)
    assert front.sum() > 5 and (anchors.normals_G3[front, 2] > 0).all()


def test_texture_coordinates_are_the_assets_or_one_cell_a_triangle(mhr: MHRRig, tmp_path: Path) -> None:
    assert torch.equal(mhr.uv_faces_F3, mhr.faces_F3) and len(mhr.uv_coordinates_U2) == len(mhr.weights_VJ)
    bare = MHRRig(save_stand_in(tmp_path / "bare.pt", textured=False))
    corners = bare.uv_coordinates_U2[bare.uv_faces_F3]
    assert corners.shape == (len(bare.faces_F3), 3, 2) and corners.min() >= 0 and corners.max() <= 1
    side = int(len(corners) ** 0.5) + 1
    cells = (corners.mean(1) * side).long()
    assert len(torch.unique(cells, dim=0)) == len(corners)
    assert ((corners * side).long() == cells[:, None]).all()


def test_bounds_hold_the_neutral_body(mhr: MHRRig) -> None:
    low, high = mhr.identity_bounds().unbind(1)
    neutral = mhr.neutral_identity()
    assert (low <= neutral).all() and (neutral <= high).all()
    assert (high[: mhr.shape_size] == 3).all()
    assert high[mhr.identity_names.index("scale_uplegs")] == 0.5
    assert high[mhr.identity_names.index("leg_length_flexible")] == 0, "locked by the asset"


def test_the_asset_is_read_once_and_again_when_it_changes(asset: Path, tmp_path: Path) -> None:
    assert read_mhr_asset(asset) is read_mhr_asset(asset)
    copy = tmp_path / "copy.pt"
    save_stand_in(copy)
    first = read_mhr_asset(copy)
    save_stand_in(copy, textured=False)
    os.utime(copy, (1, 1))
    assert first.uv_U2 is not None and read_mhr_asset(copy).uv_U2 is None


def test_the_asset_is_found_by_option_or_environment(asset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LCA_MHR", raising=False)
    assert load_rig("mhr", asset).name == "mhr"
    with pytest.raises(
        MissingAssetError, match=r"not named; get it with `curl.*model.avatar.rig_asset or in \$LCA"
    ):
        load_rig("mhr")
    with pytest.raises(MissingAssetError, match="not at /none.pt; get it"):
        load_rig("mhr", "/none.pt")
    monkeypatch.setenv("LCA_MHR", str(asset))
    assert load_rig("mhr").name == "mhr"
    assert load_rig("mhr", "/made/elsewhere.pt").name == "mhr"
    with pytest.raises(ConfigError, match="'anny' takes no asset"):
        load_rig("anny", asset)
    with pytest.raises(ConfigError, match="no rig named 'smpl'; the known ones are 'anny' and 'mhr'"):
        load_rig("smpl")


class Other(nn.Module):
    """A program with another call."""

    def forward(self, points: Tensor) -> Tensor:
        """Nothing of interest."""
        return points


class Empty(nn.Module):
    """The right call without the data."""

    def forward(
        self,
        identity_coeffs: Tensor,
        model_parameters: Tensor,
        face_expr_coeffs: Tensor,
        apply_correctives: bool,
    ) -> Tensor:
        """Nothing of interest."""
        return model_parameters


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_other_files_are_refused_in_one_sentence(asset: Path, tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("not a program")
    torch.save({"weights": torch.zeros(3)}, tmp_path / "state.pt")
    (tmp_path / "cut.pt").write_bytes(asset.read_bytes()[:50_000])
    torch.jit.script(Other()).save(str(tmp_path / "other.pt"))
    torch.jit.script(Empty()).save(str(tmp_path / "empty.pt"))
    save_stand_in(tmp_path / "small.pt", stand_in=False)
    program = torch.jit.load(str(asset))
    program.face_expressions_model.shape_vectors = program.face_expressions_model.shape_vectors[:, :-1]
    program.save(str(tmp_path / "torn.pt"))
    reasons = {
        "text": "it is no TorchScript program", "state": "it is no TorchScript program",
        "cut": "it is no TorchScript program", "other": r"its call takes \(points\), not \(identity_coeffs,",
        "empty": "it lacks character_torch.blend_shape.base_shape",
        "small": "it has .* vertices instead of 18439, 36 joints instead of 127, 5 shape instead of 45",
        "torn": "the sizes of its buffers contradict each other",
    }  # fmt: skip
    for name, reason in reasons.items():
        with pytest.raises(
            ConfigError, match=f"{name}.pt is not the asset of the rig 'mhr': {reason}"
        ) as caught:
            MHRRig(tmp_path / f"{name}.pt")
        assert "\n" not in str(caught.value) and "model.avatar.rig_asset" in str(caught.value)


def test_wrong_sizes_are_named(mhr: MHRRig) -> None:
    with pytest.raises(ShapeError, match=r"identity_BI must have shape \(B, 26\)"):
        mhr.canonical_vertices(torch.zeros(1, 5))
    with pytest.raises(ShapeError, match="model_parameters_BM"):
        mhr.from_model_parameters(torch.zeros(2, SHAPES), torch.zeros(2, 204))
    assert np.isfinite(mhr.identity_bounds().numpy()).all()
