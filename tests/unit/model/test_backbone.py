"""The frozen image encoder: deterministic, any image size, colours kept, clear error without weights."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from lca_lightning.errors import MissingAssetError, ShapeError
from lca_lightning.model.backbone import Backbone, load_backbone
from lca_lightning.model.frozen import FrozenNetwork


def test_random_tiny_is_seeded_and_leaves_the_generator_alone(backbone: Backbone) -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    again = load_backbone("random-tiny")
    assert torch.equal(torch.rand(3), expected)
    images = torch.rand(1, 3, 32, 48)
    assert torch.equal(again(images)[0], backbone(images)[0])


@pytest.mark.parametrize("size", [(64, 48), (32, 96), (128, 128)])
def test_tokens_lie_on_the_patch_grid(backbone: Backbone, size: tuple[int, int]) -> None:
    tokens, grid = backbone(torch.rand(2, 3, *size))
    assert grid == (size[0] // 16, size[1] // 16)
    assert tokens.shape == (2, grid[0] * grid[1], 192)
    assert not tokens.requires_grad


def test_each_token_is_dominated_by_its_own_patch(backbone: Backbone) -> None:
    image = torch.full((1, 3, 64, 64), 0.5)
    changed = image.clone()
    changed[:, 0, 16:32, 32:48] = 1.0  # patch row 1, column 2: token 6
    change = (backbone(changed)[0] - backbone(image)[0])[0].norm(dim=-1)
    assert change.argmax() == 6
    assert change[6] > 5 * change[torch.arange(16) != 6].max()


def test_patch_colours_can_be_read_from_the_tokens_by_a_linear_layer(backbone: Backbone) -> None:
    generator = torch.Generator().manual_seed(0)
    colors = torch.rand(24, 3, 4, 4, generator=generator)
    tokens, _ = backbone(torch.nn.functional.interpolate(colors, scale_factor=16))
    tokens, truth = tokens.flatten(0, 1), colors.flatten(2).transpose(1, 2).flatten(0, 1)
    train, test = slice(0, 288), slice(288, None)
    weights = torch.linalg.lstsq(torch.cat([tokens[train], torch.ones(288, 1)], 1), truth[train]).solution
    predicted = torch.cat([tokens[test], torch.ones(96, 1)], 1) @ weights
    assert (predicted - truth[test]).abs().mean() < 0.05


def test_size_that_patches_do_not_divide_is_refused(backbone: Backbone) -> None:
    with pytest.raises(ShapeError, match="multiples of 16"):
        backbone(torch.rand(1, 3, 60, 48))


def test_missing_weights_name_the_id_the_cache_and_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "1")
    with pytest.raises(MissingAssetError) as caught:
        load_backbone("someone/no-such-backbone")
    for needed in ("someone/no-such-backbone", "cache", "folder", "random-tiny"):
        assert needed in str(caught.value)


def test_local_folder_of_another_architecture_loads(tmp_path: Path) -> None:
    """DINOv2 with registers: prefix tokens other than one class token are left out."""
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    config = Dinov2WithRegistersConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=8,
        num_register_tokens=4,
    )  # fmt: skip
    original = Dinov2WithRegistersModel(config).eval()
    original.save_pretrained(tmp_path)
    loaded = load_backbone(str(tmp_path))
    images = torch.rand(1, 3, 32, 32)
    tokens, grid = loaded(images)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = (images - mean[:, None, None]) / std[:, None, None]
    expected = original(normalised).last_hidden_state[:, 5:]
    assert grid == (4, 4) and loaded.width == 32
    torch.testing.assert_close(tokens, expected, atol=1e-5, rtol=1e-5)


def test_frozen_network_is_invisible_but_moves() -> None:
    inner = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout())
    owner = torch.nn.Sequential(FrozenNetwork(inner), torch.nn.Linear(2, 2)).train()
    assert not inner.training and not inner[0].weight.requires_grad
    assert len(list(owner.parameters())) == 2 and set(owner.state_dict()) == {"1.weight", "1.bias"}
    owner.double()
    assert inner[0].weight.dtype == torch.float64
    copied = copy.deepcopy(owner)
    assert copied[0].network is inner and copied[1].weight is not owner[1].weight
