"""Attention against loops, the rotary code's defining property, packing."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from lca_lightning.model.attention import (
    JointAttention,
    QueryKeyValue,
    SelfAttentionBlock,
    apply_rotary,
    attend_jointly,
    rotary_tables,
)
from lca_lightning.model.configuration import AvatarModelConfig
from lca_lightning.model.encoder import Encoder
from lca_lightning.model.tokens import fourier_features, pack_images

MASK = torch.tensor([[False, False, False], [True, False, True], [True, True, True], [False, True, True]])


def softmax_loop(query: Tensor, keys: list[Tensor], values: list[Tensor]) -> Tensor:
    """One query of one head against a list of keys, in plain arithmetic."""
    scores = [float((query * key).sum()) / math.sqrt(len(query)) for key in keys]
    top = max(scores)
    weights = [math.exp(score - top) for score in scores]
    mixed = sum(
        (weight * value for weight, value in zip(weights, values, strict=True)), torch.zeros_like(query)
    )
    return mixed / sum(weights)


def test_joint_attention_equals_loops_over_tokens() -> None:
    torch.manual_seed(0)
    heads, width, anchors, patches = 2, 4, 3, 2
    pack = pack_images(MASK)

    def three(rows: int, tokens: int) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = torch.randn(3, rows, tokens, heads, width, dtype=torch.double)
        return query, key, value

    geometry, images = three(4, anchors), three(pack.count, patches)
    geometry_out, image_out = attend_jointly(geometry, images, pack)
    assert image_out is not None
    for subject in range(4):
        mine = [index for index, owner in enumerate(pack.subjects_n.tolist()) if owner == subject]
        for head in range(heads):
            keys, values = (
                [geometry[part][subject, a, head] for a in range(anchors)]
                + [images[part][image, p, head] for image in mine for p in range(patches)]
                for part in (1, 2)
            )
            channels = slice(head * width, (head + 1) * width)
            for anchor in range(anchors):
                expected = softmax_loop(geometry[0][subject, anchor, head], keys, values)
                torch.testing.assert_close(geometry_out[subject, anchor, channels], expected)
            for image in mine:
                for patch in range(patches):
                    expected = softmax_loop(images[0][image, patch, head], keys, values)
                    torch.testing.assert_close(image_out[image, patch, channels], expected)


def test_last_layer_updates_geometry_like_any_layer() -> None:
    """Leaving the unused image updates out must not change what geometry gets."""
    torch.manual_seed(1)
    full = JointAttention(16, 2, 4.0, adaln=True, gate_init=0.0, last=False)
    last = JointAttention(16, 2, 4.0, adaln=True, gate_init=0.0, last=True)
    last.geometry.load_state_dict(full.geometry.state_dict())
    with torch.no_grad():
        last.image.qkv.projection.weight.copy_(full.image.qkv.projection.weight[16:])
        last.image.qkv.projection.bias.copy_(full.image.qkv.projection.bias[16:])
        assert last.image.modulation is not None and full.image.modulation is not None
        last.image.modulation.weight.copy_(full.image.modulation.weight[:32])
        last.image.modulation.bias.copy_(full.image.modulation.bias[:32])
    pack = pack_images(MASK)
    arguments = (torch.randn(4, 5, 16), torch.randn(pack.count, 6, 16), torch.randn(4, 16), pack)
    expected, _ = full(*arguments)
    got, unchanged = last(*arguments)
    torch.testing.assert_close(got, expected)
    assert unchanged is arguments[1]


@pytest.mark.parametrize("grid", [(3, 5), (7, 2), (1, 1)])
def test_rotary_scores_depend_on_relative_position_only(grid: tuple[int, int]) -> None:
    torch.manual_seed(0)
    query, key = torch.randn(2, 1, 1, 1, 16, dtype=torch.double)
    size = (grid[0] + 3, grid[1] + 2)
    tables = rotary_tables(size, 16, 100.0, "cpu")
    count = size[0] * size[1]
    queries = apply_rotary(query.expand(1, count, 1, 16), tables).view(*size, 16)
    keys = apply_rotary(key.expand(1, count, 1, 16), tables).view(*size, 16)
    rows, columns = grid
    score = (queries[0, 0] * keys[rows - 1, columns - 1]).sum()
    shifted = (queries[3, 2] * keys[rows + 2, columns + 1]).sum()
    torch.testing.assert_close(score, shifted, atol=1e-6, rtol=0)
    torch.testing.assert_close(queries[1, 1].norm(), query.norm(), atol=1e-6, rtol=0)
    if grid != (1, 1):
        assert abs(float(score - (query * key).sum())) > 1e-3


def test_rotary_leaves_registers_alone() -> None:
    tokens = torch.randn(2, 8, 1, 8)
    turned = apply_rotary(tokens, rotary_tables((2, 3), 8, 100.0, "cpu"))
    assert torch.equal(turned[:, 6:], tokens[:, 6:])
    assert not torch.allclose(turned[:, 1:6], tokens[:, 1:6])


def test_image_attention_sees_order_only_through_rotary_and_uses_registers() -> None:
    torch.manual_seed(0)
    block = SelfAttentionBlock(16, 2, 4.0, registers=4)
    tokens, order = torch.randn(2, 6, 16), torch.randperm(6)
    plain = block(tokens)
    torch.testing.assert_close(block(tokens[:, order]), plain[:, order], atol=1e-5, rtol=1e-5)
    tables = rotary_tables((2, 3), 8, 100.0, "cpu")
    assert not torch.allclose(block(tokens[:, order], tables), block(tokens, tables)[:, order], atol=1e-3)
    assert block.registers is not None
    with torch.no_grad():
        block.registers.normal_()
    assert not torch.allclose(block(tokens), plain, atol=1e-3)


def test_block_equals_textbook_with_registers_as_ordinary_tokens() -> None:
    """Not computing what becomes of the registers is exact: compare with a block that carries them along."""
    torch.manual_seed(0)
    block = SelfAttentionBlock(16, 2, 4.0, registers=3)
    plain = SelfAttentionBlock(16, 2, 4.0)
    state = {name: value for name, value in block.state_dict().items() if name != "registers"}
    plain.load_state_dict(state)
    tokens = torch.randn(2, 5, 16)
    assert block.registers is not None
    carried = plain(torch.cat([tokens, block.registers.expand(2, -1, -1)], dim=1))[:, :5]
    torch.testing.assert_close(block(tokens), carried)


def test_pack_counts_groups_and_means() -> None:
    pack = pack_images(MASK)
    assert pack.count == 7
    assert pack.rows_n.tolist() == [3, 5, 6, 7, 8, 10, 11]
    assert pack.subjects_n.tolist() == [1, 1, 2, 2, 2, 3, 3]
    images = torch.arange(12.0).view(4, 3, 1, 1, 1).expand(4, 3, 3, 2, 2)
    assert pack.select(images)[:, 0, 0, 0].tolist() == [3, 5, 6, 7, 8, 10, 11]
    means = pack.mean_per_subject(pack.rows_n.float().view(-1, 1, 1).expand(-1, 4, 2))
    assert means[:, 0].tolist() == [0.0, 4.0, 7.0, 10.5]


def test_fourier_features_closed_form() -> None:
    features = fourier_features(torch.tensor([[0.25, -0.5, 0.1]], dtype=torch.double), 8)
    assert features.shape == (1, 51)
    sines = [math.sin(2**k * math.pi * x) for x in (0.25, -0.5, 0.1) for k in range(8)]
    cosines = [math.cos(2**k * math.pi * x) for x in (0.25, -0.5, 0.1) for k in range(8)]
    expected = torch.tensor([0.25, -0.5, 0.1, *sines, *cosines], dtype=torch.double)
    torch.testing.assert_close(features[0], expected)


def test_sharpness_multiplies_the_logits() -> None:
    torch.manual_seed(0)
    blunt = QueryKeyValue(16, heads=2)
    sharp = copy.deepcopy(blunt)
    sharp.scale_logits(3.0)
    tokens = torch.randn(1, 5, 16)
    logits = []
    for projection in (blunt, sharp):
        query, key, _ = projection(tokens)
        assert query is not None
        logits.append(torch.einsum("nqhd,nkhd->nhqk", query, key))
    torch.testing.assert_close(logits[1], 3.0 * logits[0])
    # normalised queries and keys of width 8 are sqrt(8) long, so that no logit can be larger than 8
    assert logits[0].abs().max() <= 8.0 < logits[1].abs().max()


def test_encoder_starts_as_sharp_as_configured() -> None:
    config = AvatarModelConfig(width=16, heads=2, layers=1, attention_sharpness=4.0)
    gains = {
        float(parameter.detach().mean())
        for name, parameter in Encoder(config, face_anchors=2).named_parameters()
        if name.endswith(("query_norm.weight", "key_norm.weight"))
    }
    assert gains == {2.0}
