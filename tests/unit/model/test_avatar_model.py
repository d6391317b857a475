"""What the whole model promises: invariances, gradients, cached work, a sensible start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image, ImageDraw

from lca_lightning.batch import Batch, References
from lca_lightning.errors import CheckpointError, ConfigError, DataError
from lca_lightning.geometry.cameras import project_points
from lca_lightning.losses.reconstruction import LossConfig, ReconstructionLoss
from lca_lightning.model.avatar_model import AvatarModel
from lca_lightning.model.backbone import Backbone
from lca_lightning.model.configuration import AvatarModelConfig
from lca_lightning.rig.anchors import Anchors, sample_anchors
from lca_lightning.rig.anny import AnnyRig
from lca_lightning.rig.rig import RigPose
from tests.unit.model.conftest import SIZES, make_batch

CONFIGS = Path(__file__).parents[3] / "configs" / "model"
CLOSE = {"atol": 1e-5, "rtol": 0.0}


def without_faces(batch: Batch) -> Batch:
    """The same batch with no visible face."""
    none = torch.zeros_like(batch.references.face_mask_BV)
    return replace(batch, references=replace(batch.references, face_mask_BV=none))


def reorder(references: References, order: list[int]) -> References:
    return References(
        references.body_BV3HW[:, order], references.face_BV3hw[:, order],
        references.view_mask_BV[:, order], references.face_mask_BV[:, order],
    )  # fmt: skip


def test_tokens_ignore_view_order_and_padding(model: AvatarModel, batch: Batch) -> None:
    with torch.no_grad():
        tokens = model.encode(batch.references)
        permuted = model.encode(reorder(batch.references, [2, 0, 1]))
        padded = model.encode(batch.references.pad_views(6))
    torch.testing.assert_close(permuted, tokens, **CLOSE)
    torch.testing.assert_close(padded, tokens, **CLOSE)


def test_tokens_of_a_subject_ignore_the_rest_of_the_batch(model: AvatarModel, batch: Batch) -> None:
    first = References(*(value[:1] for value in vars(batch.references).values() if value is not None))
    with torch.no_grad():
        torch.testing.assert_close(model.encode(first), model.encode(batch.references)[:1], **CLOSE)


def test_content_of_padding_and_missing_faces_is_never_seen(model: AvatarModel, batch: Batch) -> None:
    references = batch.references
    body = references.body_BV3HW.clone()
    body[~references.view_mask_BV] = torch.nan
    face = references.face_BV3hw.clone()
    face[~references.face_mask_BV] = torch.nan
    with torch.no_grad():
        tokens = model.encode(references)
        soiled = model.encode(replace(references, body_BV3HW=body, face_BV3hw=face))
    assert torch.equal(soiled, tokens)


def test_a_real_view_and_a_face_matter(model: AvatarModel, batch: Batch) -> None:
    references = batch.references
    body, face = references.body_BV3HW.clone(), references.face_BV3hw.clone()
    body[1, 2] = 1 - body[1, 2]
    face[0, 0] = 1 - face[0, 0]
    with torch.no_grad():
        tokens = model.encode(references)
        other_body = model.encode(replace(references, body_BV3HW=body)) - tokens
        other_face = model.encode(replace(references, face_BV3hw=face)) - tokens
    assert other_body[1].abs().max() > 1e-3 and torch.equal(other_body[0], torch.zeros_like(tokens[0]))
    assert other_face[0].abs().max() > 1e-3 and other_face[1].abs().max() < 1e-5


def test_subject_without_any_view_is_refused(model: AvatarModel, batch: Batch) -> None:
    mask = batch.references.view_mask_BV.clone()
    mask[0] = False
    with pytest.raises(DataError, match="at least one reference photo"):
        model.encode(replace(batch.references, view_mask_BV=mask))


def test_more_views_than_the_limit_are_refused_but_padding_is_not_counted(
    model: AvatarModel, batch: Batch
) -> None:
    model.config.max_views = 3
    with torch.no_grad():
        model.encode(batch.references.pad_views(6))
    model.config.max_views = 2
    with pytest.raises(DataError, match="3 reference photos.*at most 2.*max_views"):
        model.encode(batch.references)


@pytest.mark.parametrize("faces", [True, False], ids=["faces", "no faces"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["stored", "recomputed"])
def test_every_parameter_gets_a_gradient(
    model: AvatarModel, batch: Batch, faces: bool, checkpointing: bool
) -> None:
    model.config.gradient_checkpointing = checkpointing
    model.train()
    batch = batch if faces else without_faces(batch)
    loss = ReconstructionLoss(LossConfig(perceptual_weight=0.0))
    loss(model(batch), batch.targets)["total"].backward()
    missing = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert missing == []
    zero = {name for name, parameter in model.named_parameters() if not torch.any(parameter.grad)}
    if faces:
        assert zero == set()
    else:
        assert zero and all("face_attention.image" in name or "face_type" in name for name in zero)


def test_training_from_scratch_reaches_every_parameter(
    rig: AnnyRig, backbone: Backbone, anchors: Anchors, batch: Batch
) -> None:
    """Zero-initialised decoders and gates must not stay shut: soon all gradients are non-zero."""
    torch.manual_seed(0)
    model = AvatarModel(
        AvatarModelConfig(**{**SIZES, "adaln_gate_init": 0.0}), rig, backbone, anchors
    ).train()
    loss = ReconstructionLoss(LossConfig(perceptual_weight=0.0))
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    totals = []
    for _ in range(6):
        optimizer.zero_grad()
        terms = loss(model(batch, torch.ones(2, 2, 3)), batch.targets)
        terms["total"].backward()
        totals.append(float(terms["total"].detach()))
        optimizer.step()
    assert totals[-1] < totals[0]
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert int(model.step) == 6


def test_open_gates_and_quiet_mlps_let_photos_through_from_the_start(
    rig: AnnyRig, backbone: Backbone, anchors: Anchors, batch: Batch
) -> None:
    """Short runs need it: the decoders only learn what is a fair part of an untrained token."""
    shares = []
    for gate, gain in ((1.0, 1.0), (4.0, 0.3)):
        torch.manual_seed(0)
        sizes = {**SIZES, "adaln_gate_init": gate, "mlp_init_gain": gain}
        model = AvatarModel(AvatarModelConfig(**sizes), rig, backbone, anchors)  # type: ignore[arg-type]
        with torch.no_grad():
            tokens_BAD = model.encode(batch.references)
        shares.append(float(tokens_BAD.var(0).mean() / tokens_BAD.var(1).mean()))
    assert shares[1] > 2 * shares[0]


def test_parts_compose_to_the_forward_pass(model: AvatarModel, batch: Batch) -> None:
    driving = batch.driving
    with torch.no_grad():
        output = model(batch)
        tokens = model.encode(batch.references)
        canonical = model.canonical(tokens, batch.identity_BI)
        animated = model.animated(canonical, model.project_tokens(tokens), driving)
        background = torch.ones(2, 2, 3)
        static = model.render(model.pose(canonical, batch.identity_BI, driving), batch.targets, background)
        moving = model.render(model.pose(animated, batch.identity_BI, driving), batch.targets, background)
    torch.testing.assert_close(static.images_BT3HW, output.canonical.images_BT3HW, **CLOSE)
    torch.testing.assert_close(moving.images_BT3HW, output.animated.images_BT3HW, **CLOSE)
    assert (static.images_BT3HW - moving.images_BT3HW).abs().max() > 1e-3


def test_mixed_precision_leaves_the_driving_signals_exact(model: AvatarModel, batch: Batch) -> None:
    """An avatar is driven in single precision, so training must show the decoder the same values."""
    seen: list[torch.Tensor] = []
    hook = model.pose_decoder.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[1]))
    try:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            model(batch)
    finally:
        hook.remove()
    exact = model.rig.driving_vector(batch.driving.rotations_BTJ3)
    assert torch.equal(seen[0][..., : exact.shape[-1]], exact)


def test_pose_deltas_never_change_opacity_and_respect_the_formulas(model: AvatarModel, batch: Batch) -> None:
    with torch.no_grad():
        output = model(batch)
    canonical, animated = output.canonical_attributes, output.animated_attributes
    assert torch.equal(animated.opacities_BG, canonical.opacities_BG[:, None].expand(-1, 2, -1))
    torch.testing.assert_close(animated.quaternions_BG4.norm(dim=-1), torch.ones(2, 2, 256))
    assert canonical.offsets_BG3.abs().max() <= model.config.max_offset
    limit = model.config.scale_limit(0) * (1 + 1e-5)
    assert max(float(canonical.scales_BG3.max()), float(animated.scales_BG3.max())) <= limit


def test_skinned_centres_equal_the_rigs_own_skinning(
    rig: AnnyRig, backbone: Backbone, anchors: Anchors, batch: Batch
) -> None:
    """An untrained Gaussian whose weights the anchor sampler left alone follows the posed mesh."""
    model = AvatarModel(AvatarModelConfig(**SIZES), rig, backbone, anchors).eval()
    with torch.no_grad():
        canonical = model.canonical(model.encode(batch.references), batch.identity_BI)
        clouds = model.pose(canonical, batch.identity_BI, batch.driving)
        pose = RigPose(batch.driving.rotations_BTJ3[0], batch.driving.translation_BT3[0])
        rest = rig.canonical_vertices(batch.identity_BI[:1])
        transforms = rig.joint_transforms(batch.identity_BI[:1], pose)
        corners = anchors.corners_G3
        weights = (rig.weights_VJ[corners] * anchors.barycentric_G3[..., None]).sum(1)
        same = (weights - anchors.weights_GJ).abs().amax(1) < 1e-5
        points = (rest[0, corners] * anchors.barycentric_G3[..., None]).sum(1)
        moved = torch.einsum("gj,tjab,gb->tga", weights, transforms[..., :3, :3], points)
        moved += torch.einsum("gj,tja->tga", weights, transforms[..., :3, 3])
    assert same.float().mean() > 0.8
    for frame in range(2):
        torch.testing.assert_close(clouds[0][frame].means_G3[same], moved[frame, same], **CLOSE)


@pytest.mark.parametrize("size", ["tiny", "small", pytest.param("base", marks=pytest.mark.slow)])
def test_untrained_avatar_is_a_grey_body_with_the_right_silhouette(
    rig: AnnyRig, backbone: Backbone, size: str
) -> None:
    config = AvatarModelConfig(**yaml.safe_load((CONFIGS / f"{size}.yaml").read_text()))
    # layers of the encoder change nothing before training: tokens only meet zero-initialised decoders
    model = AvatarModel(replace(config, layers=1), rig, backbone).eval()
    batch = make_batch(rig, frames=1)
    height, width = 192, 144
    targets = replace(
        batch.targets,
        images_BT3HW=torch.zeros(2, 1, 3, height, width),
        masks_BT1HW=torch.zeros(2, 1, 1, height, width),
        K_BT33=batch.targets.K_BT33 * torch.tensor([3.0, 3.0, 1.0])[:, None],
    )
    with torch.no_grad():
        output = model(replace(batch, targets=targets), torch.full((2, 1, 3), 0.5))
    torch.testing.assert_close(
        output.animated.images_BT3HW, torch.full_like(targets.images_BT3HW, 0.5), atol=1e-4, rtol=0
    )
    torch.testing.assert_close(output.animated.images_BT3HW, output.canonical.images_BT3HW)
    pose = RigPose(batch.driving.rotations_BTJ3[0], batch.driving.translation_BT3[0])
    vertices = rig.posed_vertices(batch.identity_BI[:1], pose)[0]
    pixels, _ = project_points(vertices, targets.w2c_BT44[0, 0], targets.K_BT33[0, 0])
    picture = Image.new("L", (width, height))
    draw = ImageDraw.Draw(picture)
    for triangle in pixels[rig.faces_F3].numpy():
        draw.polygon([tuple(corner) for corner in triangle], fill=255)
    mask = torch.from_numpy(np.array(picture)) > 127
    covered = output.animated.alphas_BT1HW[0, 0, 0] > 0.5
    iou = (covered & mask).sum() / (covered | mask).sum()
    assert iou > 0.8, f"silhouette IoU {iou:.2f}"


def test_background_is_white_or_what_is_given(model: AvatarModel, batch: Batch) -> None:
    colors = torch.rand(2, 2, 3)
    with torch.no_grad():
        assert torch.equal(model(batch).background_BT3, torch.ones(2, 2, 3))
        given = model.train()(batch, colors)
    torch.testing.assert_close(given.animated.images_BT3HW[..., 0, 0], colors)


def test_chosen_subjects_start_on_the_template(model: AvatarModel, rig: AnnyRig, anchors: Anchors) -> None:
    identity = rig.identity_bounds().mean(1).repeat(2, 1)
    identity[:, 0] = rig.identity_bounds()[0, 1]
    own, template = model.base_points(identity), anchors.on_mesh(rig.template_vertices_V3[None])
    assert (own - template).abs().max() > 1e-3
    mixed = model.base_points(identity, on_template_B=torch.tensor([True, False]))
    assert torch.equal(mixed[0], template[0]) and torch.equal(mixed[1], own[1])
    assert torch.equal(model.base_points(None), template)


def test_frozen_parts_stay_out_of_state_and_parameters(model: AvatarModel) -> None:
    model.train()
    assert not model.backbone.network.training
    names = {name.split(".")[0] for name in model.state_dict()}
    assert names == {
        "step", "anchor_fingerprint_A3", "tokenizer", "encoder", "canonical_decoder", "pose_decoder",
    }  # fmt: skip
    trained = model.parameter_counts()["trained"]
    assert trained == sum(parameter.numel() for parameter in model.parameters())


def test_checkpoint_of_other_anchors_is_refused(model: AvatarModel) -> None:
    state = model.state_dict()
    state["anchor_fingerprint_A3"] = state["anchor_fingerprint_A3"].roll(1, 0)
    with pytest.raises(CheckpointError, match="other anchors"):
        model.load_state_dict(state)


def test_scale_limit_follows_its_schedule() -> None:
    config = AvatarModelConfig(scale_limit_start=0.01, scale_limit_end=0.05, scale_limit_steps=3000)
    assert config.scale_limit(0) == pytest.approx(0.01)
    assert config.scale_limit(1500) == pytest.approx(0.03)
    assert config.scale_limit(9000) == pytest.approx(0.05)


@pytest.mark.parametrize("change", [{"width": 100}, {"anchors": 7}, {"layers": 0}, {"initial_opacity": 1.0}])
def test_contradictory_sizes_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        AvatarModelConfig(**{**SIZES, **change})  # type: ignore[arg-type]


def test_anchor_sampling_matches_the_configuration(rig: AnnyRig, anchors: Anchors) -> None:
    again = sample_anchors(rig, SIZES["anchors"], SIZES["gaussians_per_anchor"])  # type: ignore[arg-type]
    assert torch.equal(again.positions_A3, anchors.positions_A3)
    assert anchors.is_face_A[: SIZES["anchors"] // 2].all()  # type: ignore[operator]
