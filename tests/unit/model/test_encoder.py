"""The encoder, stage by stage and as a whole, against loops; its sizes at the paper's scale."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lca_lightning.model import attention
from lca_lightning.model.attention import JointAttention, SelfAttentionBlock, rotary_tables
from lca_lightning.model.configuration import AvatarModelConfig
from lca_lightning.model.encoder import Encoder, ImageTokens
from lca_lightning.model.tokens import pack_images
from tests.unit.model import encoder_reference as reference

WIDTH, HEADS, BASE = 16, 2, 100.0
EXACT = {"atol": 1e-10, "rtol": 0.0}  # double precision on both sides
VIEWS = torch.tensor([[True, False, True], [False, True, False]])
FACES = torch.tensor([[True, False, True], [False, False, False]])


def filled(module: nn.Module) -> nn.Module:
    """Every parameter away from zero and one, so that nothing passes by doing nothing."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module.double()


def tokens(*shape: int) -> Tensor:
    return torch.randn(*shape, WIDTH, dtype=torch.double)


@pytest.mark.parametrize("registers", [0, 3])
def test_image_and_geometry_attention(registers: int) -> None:
    block = filled(SelfAttentionBlock(WIDTH, HEADS, 2.0, registers))
    grid = (2, 3) if registers else None
    images = tokens(2, 6)
    tables = rotary_tables((2, 3), WIDTH // HEADS, BASE, "cpu") if registers else None
    got = block(images, None if tables is None else tuple(table.double() for table in tables))
    for row, image in zip(got, images, strict=True):
        expected = reference.self_attention(block.state_dict(), list(image), HEADS, grid, BASE)
        torch.testing.assert_close(row, torch.stack(expected), atol=1e-6 if registers else 1e-10, rtol=0)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("adaln", [False, True])
def test_joint_attention(adaln: bool, last: bool) -> None:
    block = filled(JointAttention(WIDTH, HEADS, 2.0, adaln, 0.0, last))
    pack = pack_images(VIEWS)
    geometry, images = tokens(2, 4), tokens(pack.count, 5)
    global_vector = tokens(2) if adaln else None
    got_geometry, got_images = block(geometry, images, global_vector, pack)
    for subject in range(2):
        mine = pack.subjects_n == subject
        expected = reference.joint_attention(
            block.state_dict(), list(geometry[subject]), list(images[mine].flatten(0, 1)),
            None if global_vector is None else global_vector[subject], HEADS, last,
        )  # fmt: skip
        torch.testing.assert_close(got_geometry[subject], torch.stack(expected[0]), **EXACT)
        torch.testing.assert_close(got_images[mine].flatten(0, 1), torch.stack(expected[1]), **EXACT)


@pytest.mark.parametrize("adaln", [False, True])
def test_whole_encoder_with_padding_and_a_subject_without_face(adaln: bool) -> None:
    config = AvatarModelConfig(
        width=WIDTH, heads=HEADS, layers=2, mlp_ratio=2.0, anchors=6, adaln=adaln, registers=2
    )
    encoder = filled(Encoder(config, face_anchors=2))
    packs = pack_images(VIEWS), pack_images(FACES)
    geometry, bodies, faces = tokens(2, 6), tokens(packs[0].count, 6), tokens(packs[1].count, 4)
    got = encoder(geometry, ImageTokens(bodies, (2, 3), packs[0]), ImageTokens(faces, (2, 2), packs[1]))
    for subject in range(2):
        expected = reference.encoder(
            encoder.state_dict(), list(geometry[subject]), 2,
            [list(image) for image in bodies[packs[0].subjects_n == subject]],
            [list(image) for image in faces[packs[1].subjects_n == subject]],
            ((2, 3), (2, 2)), 2, HEADS, BASE,
        )  # fmt: skip
        # rotary tables are float32 on the library's side
        torch.testing.assert_close(got[subject], torch.stack(expected), atol=1e-5, rtol=0)


def test_no_attention_mask_is_ever_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variable numbers of views are handled by packing: every call is a plain, maskless attention."""
    calls: list[tuple[int, int]] = []

    def recorded(query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, **options: Any) -> Tensor:
        assert attn_mask is None and not options
        calls.append((query.shape[-2], key.shape[-2]))
        return functional.softmax(query @ key.mT / query.shape[-1] ** 0.5, dim=-1) @ value

    monkeypatch.setattr(attention.functional, "scaled_dot_product_attention", recorded)
    config = AvatarModelConfig(width=WIDTH, heads=HEADS, layers=1, anchors=6, registers=2)
    encoder = Encoder(config, face_anchors=2)
    packs = pack_images(VIEWS), pack_images(FACES)
    bodies = ImageTokens(torch.randn(packs[0].count, 6, WIDTH), (2, 3), packs[0])
    faces = ImageTokens(torch.randn(packs[1].count, 4, WIDTH), (2, 2), packs[1])
    encoder(torch.randn(2, 6, WIDTH), bodies, faces)
    # in the last layer only geometry asks; its keys are its own tokens and those of real images
    assert sorted(calls) == sorted([(6, 8), (4, 6), (6, 6), (2, 2), (2, 2 + 8), (6, 6 + 6), (6, 6 + 12)])
