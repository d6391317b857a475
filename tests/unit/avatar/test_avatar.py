"""Animation against the model's own forward, files bit for bit, broken files in one sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from lca_lightning.avatar import Avatar, load_avatar, save_avatar
from lca_lightning.avatar.avatar import Camera, Surface
from lca_lightning.batch import Batch, References, Targets
from lca_lightning.errors import CheckpointError, DataError, ShapeError, UsageError
from lca_lightning.geometry.cameras import intrinsics_from_field_of_view, orbit_cameras
from lca_lightning.model.avatar_model import AvatarModel
from lca_lightning.motion.clip import Motion
from lca_lightning.rig.anny import AnnyRig


def cameras(count: int) -> list[Camera]:
    w2c = orbit_cameras(count, torch.tensor([0.2, 0.9, 0.0]), 3.0)
    return [Camera(w2c[i], intrinsics_from_field_of_view(0.7, 48, 64), 48, 64) for i in range(count)]


def test_animate_equals_the_models_forward(
    model: AvatarModel, avatar: Avatar, references: References, identity: torch.Tensor, motion: Motion
) -> None:
    views = cameras(len(motion))
    targets = Targets(
        torch.zeros(1, 4, 3, 64, 48), torch.zeros(1, 4, 1, 64, 48),
        torch.stack([view.w2c_44 for view in views])[None], torch.stack([view.K_33 for view in views])[None],
    )  # fmt: skip
    driving = motion.driving(model.rig.expression_size)
    batch = Batch(references, driving, targets, identity[None], ("a",), (("",) * 4,))
    with torch.no_grad():
        expected = model(batch, torch.ones(1, 4, 3))
    for index, view in enumerate(views):
        for correctives, frames in ((True, expected.animated), (False, expected.canonical)):
            posed = avatar.animate(motion[index], correctives)
            rendering = posed.render(view)
            torch.testing.assert_close(
                rendering.color_TCHW[0], frames.images_BT3HW[0, index], atol=1e-5, rtol=0
            )
            torch.testing.assert_close(
                rendering.alpha_T1HW[0], frames.alphas_BT1HW[0, index], atol=1e-5, rtol=0
            )
            assert float(rendering.alpha_T1HW.max()) > 0.1
    difference = expected.animated.images_BT3HW - expected.canonical.images_BT3HW
    assert difference.abs().max() > 1e-3, "correctives must matter for the comparison to mean anything"


def test_the_avatar_does_not_change_with_the_model(
    model: AvatarModel, avatar: Avatar, motion: Motion
) -> None:
    before = avatar.animate(motion[1]).gaussians
    kept = {name: value.clone() for name, value in model.pose_decoder.state_dict().items()}
    with torch.no_grad():
        for parameter in model.pose_decoder.parameters():
            parameter.add_(1.0)
    after = avatar.animate(motion[1]).gaussians
    model.pose_decoder.load_state_dict(kept)
    torch.testing.assert_close(before.means_G3, after.means_G3, atol=0, rtol=0)


def test_a_file_gives_back_every_bit(tmp_path: Path, avatar: Avatar, motion: Motion) -> None:
    save_avatar(avatar, tmp_path / "a.lca")
    again = load_avatar(tmp_path / "a.lca")
    for name in avatar.canonical.__dataclass_fields__:
        assert torch.equal(getattr(avatar.canonical, name), getattr(again.canonical, name)), name
    for name in Surface.__dataclass_fields__:
        assert torch.equal(getattr(avatar.surface, name), getattr(again.surface, name)), name
    assert torch.equal(avatar.projected_1AD, again.projected_1AD)
    assert (avatar.config, avatar.limits, avatar.origin) == (again.config, again.limits, again.origin)
    first, second = (each.animate(motion[2]).gaussians for each in (avatar, again))
    for name in first.__dataclass_fields__:
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    assert [path.name for path in tmp_path.iterdir()] == ["a.lca"]


def test_the_avatar_file_needs_neither_checkpoint_nor_backbone(
    tmp_path: Path, avatar: Avatar, motion: Motion, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_avatar(replace(avatar, config=replace(avatar.config, backbone="not/there")), tmp_path / "a.lca")
    monkeypatch.setattr("lca_lightning.model.backbone.load_backbone", lambda name: pytest.fail("was loaded"))
    again = load_avatar(tmp_path / "a.lca")
    assert torch.equal(
        again.animate(motion[0]).gaussians.means_G3, avatar.animate(motion[0]).gaussians.means_G3
    )


def test_moving_the_models_rig_leaves_the_avatar_where_it_is(model: AvatarModel, avatar: Avatar) -> None:
    model.rig.double()
    try:
        assert avatar.rig.weights_VJ.dtype == torch.float32
    finally:
        model.rig.float()  # other tests use it; back from double nothing is lost


def rewrite(path: Path, change) -> None:  # type: ignore[no-untyped-def]
    """Change header and tensors of an avatar file."""
    with safe_open(path, framework="pt") as archive:
        header = json.loads(archive.metadata()["lca"])
        tensors = {name: archive.get_tensor(name) for name in archive.keys()}
    change(header, tensors)
    save_file(tensors, path, metadata={"lca": json.dumps(header)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header, tensors: header.update(format="other"), "not an avatar file"),
        (lambda header, tensors: header.update(version=7), "has avatar version 7"),
        (lambda header, tensors: tensors["canonical.base"].add_(1.0), "checksum differs"),
        (lambda header, tensors: tensors.pop("identity"), "checksum differs"),
        (lambda header, tensors: header.update(rig="blob"), "no rig named 'blob'"),
        (lambda header, tensors: header["model"].update(anchors=64), "is damaged"),
        (lambda header, tensors: header.pop("scale_limits"), "is damaged"),
    ],
)
def test_a_changed_file_is_refused_in_one_sentence(
    tmp_path: Path,
    avatar: Avatar,
    change,
    message: str,  # type: ignore[no-untyped-def]
) -> None:
    path = tmp_path / "a.lca"
    save_avatar(avatar, path)
    rewrite(path, change)
    with pytest.raises((CheckpointError, Exception), match=message) as caught:
        load_avatar(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, 5, 100, 20_000])
def test_a_truncated_file_is_refused_in_one_sentence(tmp_path: Path, avatar: Avatar, keep: int) -> None:
    path = tmp_path / "a.lca"
    save_avatar(avatar, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="is not an avatar file, or is damaged") as caught:
        load_avatar(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_folder(tmp_path: Path, avatar: Avatar) -> None:
    with pytest.raises(CheckpointError, match="There is no avatar file"):
        load_avatar(tmp_path / "none.lca")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="Cannot write"):
        save_avatar(avatar, tmp_path / "file" / "a.lca")


def test_wrong_driving_signals(avatar: Avatar, motion: Motion, rig: AnnyRig) -> None:
    with pytest.raises(UsageError, match="one frame at a time, got 4"):
        avatar.animate(motion)
    driving = motion[0].driving(rig.expression_size)
    with pytest.raises(ShapeError, match="20 joints"):
        avatar.animate(replace(driving, rotations_BTJ3=driving.rotations_BTJ3[:, :, :20]))
    with pytest.raises(UsageError, match="render needs a Camera"):
        avatar.at_rest().render(torch.eye(4))


def test_the_canonical_avatar_is_the_rest_pose_without_correctives(avatar: Avatar, rig: AnnyRig) -> None:
    pose = rig.rest_pose()
    still = Motion(pose.rotations_BJ3.numpy(), pose.translation_B3.numpy(), 30.0)
    template = replace(avatar, identity_I=rig.neutral_identity())
    posed, rest = template.animate(still, correctives=False).gaussians, template.at_rest().gaussians
    torch.testing.assert_close(posed.means_G3, rest.means_G3, atol=1e-5, rtol=0)
    torch.testing.assert_close(posed.quaternions_G4, rest.quaternions_G4, atol=1e-4, rtol=0)
