"""Rows of the attention against the whole softmax of every token; the model is left as it was."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lca_lightning.analysis import attention
from lca_lightning.analysis.attention import BlockCapture, attention_rows, query_attention
from lca_lightning.batch import References
from lca_lightning.errors import ConfigError, UsageError
from lca_lightning.model.attention import JointAttention
from lca_lightning.model.avatar_model import AvatarModel, build_avatar_model
from lca_lightning.model.configuration import AvatarModelConfig
from tests.unit.analysis.conftest import SIZES

QUERIES = [0, 5, 127, 128, 255]  # the first 128 anchors lie on the face


def stream_heads(weights: dict[str, Tensor], stream: str, tokens: Tensor, vector: Tensor, heads: int) -> Any:
    """Queries (None where there are none) and keys of one modality, from its weights alone."""
    part = {name.removeprefix(f"{stream}."): value for name, value in weights.items()}
    width = tokens.shape[-1]
    shift, scale = (functional.silu(vector) @ part["modulation.weight"].T + part["modulation.bias"]).split(
        width
    )[:2]
    normal = (tokens - tokens.mean(-1, keepdim=True)) / (tokens.var(-1, False, keepdim=True) + 1e-5).sqrt()
    projected = (normal * (1 + scale) + shift) @ part["qkv.projection.weight"].T + part["qkv.projection.bias"]
    *queries, keys, _ = projected.split(width, dim=-1)

    def normalised(values: Tensor, weight: Tensor) -> Tensor:
        values = values.reshape(-1, heads, width // heads)
        return values / (values.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight

    query = normalised(queries[0], part["qkv.query_norm.weight"]) if queries else None
    return query, normalised(keys, part["qkv.key_norm.weight"])


def whole_softmax(block: JointAttention, inputs: Any, heads: int) -> Tensor:
    """Attention of all geometry tokens to all tokens, ``(heads, A, A + n * N)``, in double precision."""
    weights = {name: value.double() for name, value in block.state_dict().items()}
    geometry, images, vector = (value.double() for value in inputs[:3])
    query, geometry_keys = stream_heads(weights, "geometry", geometry[0], vector[0], heads)
    _, image_keys = stream_heads(weights, "image", images.flatten(0, 1), vector[0], heads)
    keys = torch.cat([geometry_keys, image_keys])
    scores = [query[:, head] @ keys[:, head].T / math.sqrt(query.shape[-1]) for head in range(query.shape[1])]
    return torch.stack(scores).softmax(-1)


def record(model: AvatarModel, photos: References, layer: int, part: str) -> tuple[JointAttention, Any]:
    """What a block gets while the model runs."""
    block: JointAttention = getattr(model.encoder.layers[layer - 1], part)
    got: list[Any] = []
    handle = block.register_forward_pre_hook(lambda module, arguments: got.append(arguments))
    with torch.no_grad():
        model.encode(photos)
    handle.remove()
    return block, got[0]


@pytest.mark.parametrize("layer", [1, 2])
def test_rows_are_those_of_the_whole_softmax(model: AvatarModel, photos: References, layer: int) -> None:
    found = query_attention(model, photos, QUERIES, layer)
    assert found.body.views == (0, 2, 3) and found.face is not None and found.face.views == (3,)
    assert found.body.queries == tuple(QUERIES) and found.face.queries == (0, 5, 127)
    for rows, part in ((found.body, "body_attention"), (found.face, "face_attention")):
        block, inputs = record(model, photos, layer, part)
        expected = whole_softmax(block, inputs, model.config.heads)[:, list(rows.queries)].transpose(0, 1)
        got = torch.cat([rows.geometry_QhA, rows.images_QhVRC.flatten(2)], dim=-1)
        torch.testing.assert_close(got.double(), expected, atol=1e-6, rtol=1e-3)
        torch.testing.assert_close(got.sum(-1), torch.ones(got.shape[:2]), atol=1e-5, rtol=0)
        assert rows.error < 1e-5, "what the rows attend to must give the block's own output"
    assert found.body.images_QhVRC.shape == (5, 2, 3, 4, 3)
    assert found.face.images_QhVRC.shape == (3, 2, 1, 2, 2)
    assert float(found.body.images_QhVRC.std()) > 1e-4, "an even attention would prove nothing"
    torch.testing.assert_close(found.body.maps(1), found.body.images_QhVRC[:, 1])
    torch.testing.assert_close(found.body.maps(), found.body.images_QhVRC.mean(1))


def test_a_patch_of_a_map_is_where_it_is_in_the_photo(model: AvatarModel, photos: References) -> None:
    """The rows follow the photos when these change places."""
    order = [3, 1, 0, 2]
    moved = References(
        photos.body_BV3HW[:, order],
        photos.face_BV3hw[:, order],
        photos.view_mask_BV[:, order],
        photos.face_mask_BV[:, order],
    )
    before, after = query_attention(model, photos, [200]), query_attention(model, moved, [200])
    assert after.body.views == (0, 2, 3)
    torch.testing.assert_close(
        after.body.images_QhVRC, before.body.images_QhVRC[:, :, [2, 0, 1]], atol=1e-6, rtol=1e-3
    )


def test_the_model_is_left_as_it_was(model: AvatarModel, photos: References) -> None:
    with torch.no_grad():
        before = model.encode(photos)
        query_attention(model, photos, QUERIES)
        assert torch.equal(model.encode(photos), before)
    hooks = [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules()]
    assert not any(hooks)


def test_hooks_go_away_when_the_model_fails(model: AvatarModel, photos: References) -> None:
    nobody = dataclasses.replace(photos, view_mask_BV=photos.view_mask_BV & False)
    with pytest.raises(Exception, match="at least one reference"):
        query_attention(model, nobody, QUERIES)
    assert not any(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules())


def test_wrong_rows_are_noticed(model: AvatarModel, photos: References) -> None:
    block, inputs = record(model, photos, 2, "body_attention")
    with torch.no_grad():
        output, _ = block(*inputs)
        capture = BlockCapture((inputs[0], inputs[1].flip(-1), *inputs[2:]), output)
        assert attention_rows(block, capture, QUERIES, (4, 3), (0, 2, 3)).error > 1e-3


def test_photos_without_a_face_give_no_face_rows(model: AvatarModel, photos: References) -> None:
    faceless = dataclasses.replace(photos, face_mask_BV=photos.face_mask_BV & False)
    found = query_attention(model, faceless, [0, 200])
    assert found.face is None and found.body.error < 1e-5
    assert query_attention(model, photos, [200]).face is None, "a token off the face sees no close-up"


def test_what_cannot_be_asked(model: AvatarModel, photos: References) -> None:
    with pytest.raises(UsageError, match="encoder layers 1 to 2, got 3"):
        query_attention(model, photos, [0], 3)
    with pytest.raises(UsageError, match="heads 0 to 1, got 2"):
        attention.check_head(model, 2)
    two = References(*(torch.cat([getattr(photos, name)] * 2) for name in (
        "body_BV3HW", "face_BV3hw", "view_mask_BV", "face_mask_BV"
    )))  # fmt: skip
    with pytest.raises(ConfigError, match="one subject at a time, got 2"):
        query_attention(model, two, [0])


@pytest.mark.slow
def test_a_model_that_compiles_its_layers(monkeypatch: pytest.MonkeyPatch, photos: References) -> None:
    compiling = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda part: compiling(part, backend="eager"))
    torch.manual_seed(0)
    compiled = build_avatar_model(AvatarModelConfig(**SIZES, compile=True)).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        compiled.encode(photos)
    found = query_attention(compiled, photos, QUERIES)
    assert found.body.error < 1e-5 and found.face is not None and found.face.error < 1e-5
