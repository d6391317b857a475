"""Decoders against their plain forms; the single-branch variant from training to the avatar file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.nn import functional

from lca_lightning.avatar.create import create_avatar
from lca_lightning.avatar.io import load_avatar, save_avatar
from lca_lightning.batch import Batch
from lca_lightning.losses.reconstruction import LossConfig, ReconstructionLoss
from lca_lightning.model.attributes import ScaleLimits
from lca_lightning.model.avatar_model import AvatarModel
from lca_lightning.model.backbone import Backbone
from lca_lightning.model.configuration import AvatarModelConfig
from lca_lightning.model.decoders import DrivenDecoder, PoseDecoder, SingleBranchDecoder
from lca_lightning.rig.anchors import Anchors
from lca_lightning.rig.anny import AnnyRig
from tests.unit.model.conftest import SIZES

CLOSE = {"atol": 1e-5, "rtol": 0.0}
SINGLE = AvatarModelConfig(**SIZES, branches="single")  # type: ignore[arg-type]


def concatenated(decoder: DrivenDecoder, tokens_BAD: torch.Tensor, signals_BTS: torch.Tensor) -> torch.Tensor:
    """The decoder as one plain network over the concatenation of token and signals."""
    frames, anchors = signals_BTS.shape[1], tokens_BAD.shape[1]
    joint = torch.cat(
        [
            tokens_BAD[:, None].expand(-1, frames, -1, -1),
            signals_BTS[:, :, None].expand(-1, -1, anchors, -1),
        ],
        dim=-1,
    )
    weight = torch.cat([decoder.token_projection.weight, decoder.signal_projection.weight], dim=1)
    values = decoder.layers(functional.linear(joint, weight, decoder.token_projection.bias))
    return values.view(len(joint), frames, -1, decoder.channels)


def test_cached_projection_equals_one_layer_over_the_concatenation() -> None:
    torch.manual_seed(0)
    decoder = PoseDecoder(AvatarModelConfig(**SIZES), signal_width=20)  # type: ignore[arg-type]
    torch.nn.init.normal_(decoder.layers[-1].weight)  # type: ignore[arg-type]
    tokens, signals = torch.randn(2, 7, 64), torch.randn(2, 3, 20)
    got = decoder(decoder.project_tokens(tokens), signals)
    values = concatenated(decoder, tokens, signals)
    torch.testing.assert_close(got.color_logits_BTG3, values[..., :3], **CLOSE)
    torch.testing.assert_close(got.offsets_BTG3, values[..., 3:6] * decoder.offset_scale, **CLOSE)
    torch.testing.assert_close(got.quaternions_BTG4, values[..., 6:10], **CLOSE)
    torch.testing.assert_close(got.log_scales_BTG3, values[..., 10:], **CLOSE)


def test_cached_projection_is_exact_at_the_papers_width() -> None:
    torch.manual_seed(0)
    decoder = PoseDecoder(AvatarModelConfig(anchors=256), signal_width=648)
    torch.nn.init.xavier_normal_(decoder.layers[-1].weight)  # type: ignore[arg-type]
    tokens, signals = torch.randn(1, 256, 1024), torch.randn(1, 1, 648)
    with torch.no_grad():
        got = torch.cat(decoder(decoder.project_tokens(tokens), signals), dim=-1)
        plain = concatenated(decoder, tokens, signals)
    plain[..., 3:6] *= decoder.offset_scale
    torch.testing.assert_close(got, plain, **CLOSE)


def test_single_branch_gives_the_attributes_themselves() -> None:
    torch.manual_seed(0)
    decoder = SingleBranchDecoder(SINGLE, 20, torch.full((14,), -4.0))
    torch.nn.init.normal_(decoder.layers[-1].weight, std=0.1)  # type: ignore[arg-type]
    tokens, signals, base = torch.randn(2, 7, 64), torch.randn(2, 3, 20), torch.randn(2, 14, 3)
    limits = ScaleLimits(1e-4, 0.1)
    projected = decoder.project_tokens(tokens)
    got = decoder(projected, signals, base, limits)
    values = concatenated(decoder, tokens, signals)
    assert torch.equal(got.base_BG3, base[:, None].expand(-1, 3, -1, -1))
    torch.testing.assert_close(got.color_logits_BG3, values[..., :3], **CLOSE)
    torch.testing.assert_close(got.offsets_BG3, values[..., 3:6].sigmoid() - 0.5, **CLOSE)
    torch.testing.assert_close(got.opacities_BG, values[..., 6].sigmoid(), **CLOSE)
    torch.testing.assert_close(got.quaternions_BG4, functional.normalize(values[..., 7:11], dim=-1), **CLOSE)
    torch.testing.assert_close(got.scales_BG3, (values[..., 11:] - 4).exp().clamp(1e-4, 0.1), **CLOSE)
    rest = decoder.at_rest(projected, base, limits)
    zero = decoder(projected, torch.zeros(2, 1, 20), base, limits)
    assert torch.equal(rest.offsets_BG3, zero.offsets_BG3[:, 0])


def test_single_branch_trains_and_its_avatar_survives_the_file(
    rig: AnnyRig, backbone: Backbone, anchors: Anchors, batch: Batch, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = AvatarModel(SINGLE, rig, backbone, anchors).train()
    assert "canonical_decoder" not in model.parameter_counts()
    loss = ReconstructionLoss(LossConfig(perceptual_weight=0.0))
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    totals = []
    for _ in range(6):
        optimizer.zero_grad()
        terms = loss(model(batch), batch.targets)
        assert not [name for name in terms if name.startswith("canonical/")]
        terms["total"].backward()
        assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]
        totals.append(float(terms["total"].detach()))
        optimizer.step()
    assert totals[-1] < totals[0]
    references = type(batch.references)(
        *(value[1:] for value in vars(batch.references).values() if value is not None)
    )
    avatar = create_avatar(model, references, batch.identity_BI[1])
    save_avatar(avatar, tmp_path / "single.lca")
    loaded = load_avatar(tmp_path / "single.lca")
    driving = batch.driving
    one = type(driving)(*(getattr(driving, name)[1:, :1] for name in driving.__dataclass_fields__))
    with torch.no_grad():
        expected = model(batch).animated_attributes
        tokens = model.encode(batch.references)
        animated = model.animated(
            model.canonical(tokens, batch.identity_BI), model.project_tokens(tokens), driving
        )
    torch.testing.assert_close(animated.color_logits_BG3, expected.color_logits_BG3, **CLOSE)
    torch.testing.assert_close(
        loaded.animate(one).gaussians.colors_GC, expected.colors_BG3[1, 0], atol=1e-4, rtol=0
    )


def test_a_static_model_moves_by_skinning_alone_and_its_avatar_survives_the_file(
    rig: AnnyRig, backbone: Backbone, anchors: Anchors, batch: Batch, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    config = AvatarModelConfig(**SIZES, branches="static")  # type: ignore[arg-type]
    model = AvatarModel(config, rig, backbone, anchors).train()
    counts = model.parameter_counts()
    assert "pose_decoder" not in counts and counts["canonical_decoder"] > 0
    torch.nn.init.normal_(model.canonical_decoder.layers[-1].weight, std=0.1)  # type: ignore[union-attr,arg-type]
    output = model(batch)
    assert output.canonical is output.animated
    for name in ("offsets_BG3", "color_logits_BG3", "quaternions_BG4", "log_scales_BG3", "opacities_BG"):
        static, frames = getattr(output.canonical_attributes, name), getattr(output.animated_attributes, name)
        assert torch.equal(frames, static[:, None].expand_as(frames))
    terms = ReconstructionLoss(LossConfig(perceptual_weight=0.0))(output, batch.targets)
    assert not [name for name in terms if name.startswith("canonical/")]
    terms["total"].backward()
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]
    references = type(batch.references)(
        *(value[1:] for value in vars(batch.references).values() if value is not None)
    )
    avatar = create_avatar(model, references, batch.identity_BI[1])
    save_avatar(avatar, tmp_path / "static.lca")
    loaded = load_avatar(tmp_path / "static.lca")
    driving = batch.driving
    one = type(driving)(*(getattr(driving, name)[1:, :1] for name in driving.__dataclass_fields__))
    with torch.no_grad():
        expected = model(batch).canonical_attributes
        posed = model.pose(expected, batch.identity_BI, driving)[1][0]
    got = loaded.animate(one).gaussians
    torch.testing.assert_close(got.colors_GC, expected.colors_BG3[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(got.means_G3, posed.means_G3, atol=1e-4, rtol=0)
    assert torch.equal(loaded.animate(one, correctives=False).gaussians.means_G3, got.means_G3)
