"""Frozen image encoders: tokens in order at any size, precision, chunks, clear errors without weights."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from lca_lightning.errors import CheckpointError, ConfigError, MissingAssetError, ShapeError
from lca_lightning.model.backbone import Backbone, load_backbone
from lca_lightning.model.frozen import FrozenNetwork
from lca_lightning.model.sapiens import SIZES, SapiensSize
from lca_lightning.weights import image_encoder
from tests.unit.model.test_sapiens import HEADS, LAYERS, WIDTH, original_forward, original_tensors


@pytest.fixture(autouse=True)
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of the machine stay out of the tests."""
    monkeypatch.delenv("LCA_WEIGHTS", raising=False)


def test_random_small_keeps_every_value_of_a_patch() -> None:
    network = load_backbone("random-small").network
    weight = network.embeddings.patch_embeddings.projection.weight.flatten(1)
    assert weight.shape == (768, 3 * 16 * 16) and int(torch.linalg.matrix_rank(weight.double())) == 768


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


def vision_transformers() -> dict[str, tuple[Any, int]]:
    """Tiny random models by name, each with its number of tokens before those of the patches."""
    shared = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 64}
    vision = shared | {"patch_size": 16, "intermediate_size": 64}
    dino, text = shared | {"patch_size": 8}, {"vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1}
    text |= {"num_attention_heads": 1, "intermediate_size": 8}
    siglip = transformers.SiglipConfig(text_config=text, vision_config=vision)
    sapiens2 = transformers.Sapiens2Config(
        **vision, num_register_tokens=3, num_key_value_heads_per_layer=[2, 1], layerscale_value=0.5
    )
    return {
        "ViT": (transformers.ViTModel(transformers.ViTConfig(**vision)), 1),
        "Sapiens2": (transformers.Sapiens2Model(sapiens2), 4),
        "DINOv2": (transformers.Dinov2Model(transformers.Dinov2Config(**dino)), 1),
        "DINOv2 with registers": (
            transformers.Dinov2WithRegistersModel(
                transformers.Dinov2WithRegistersConfig(**dino, num_register_tokens=4)
            ),
            5,
        ),
        "DINOv3": (
            transformers.DINOv3ViTModel(
                transformers.DINOv3ViTConfig(**vision, num_register_tokens=2, layerscale_value=0.5)
            ),
            3,
        ),
        "SigLIP": (transformers.SiglipModel(siglip), 0),
        "SigLIP vision part": (transformers.SiglipVisionModel(siglip.vision_config), 0),
    }


def normalised(images: torch.Tensor) -> torch.Tensor:
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (images - mean[:, None, None]) / std[:, None, None]


@pytest.mark.parametrize("name", vision_transformers())
def test_folders_of_other_architectures_give_their_own_patch_tokens_in_order(
    tmp_path: Path, name: str
) -> None:
    """Values, order and place of the tokens, at sizes that are not those of the configuration."""
    torch.manual_seed(0)
    model, prefix = vision_transformers()[name]
    model.eval().save_pretrained(tmp_path)
    loaded = load_backbone(str(tmp_path))
    vision = getattr(model, "vision_model", model)
    options = {"interpolate_pos_encoding": True} if name.startswith(("ViT", "SigLIP")) else {}
    for height, width in ((64, 96), (96, 48)):
        images = torch.rand(2, 3, height, width)
        tokens, grid = loaded(images)
        with torch.no_grad():
            expected = vision(normalised(images), **options).last_hidden_state
        assert grid == (height // loaded.patch, width // loaded.patch)
        assert expected.shape[1] == prefix + grid[0] * grid[1]
        torch.testing.assert_close(tokens, expected[:, prefix:], atol=1e-5, rtol=1e-5)
        row, column = 1, 2
        changed = images.clone()
        y, x = row * loaded.patch, column * loaded.patch
        changed[:, :, y : y + loaded.patch, x : x + loaded.patch] += 3.0
        moved = (loaded(changed)[0] - tokens)[0].norm(dim=-1)
        assert moved.argmax() == row * grid[1] + column


def test_normalisation_is_the_one_the_model_was_trained_with(tmp_path: Path) -> None:
    model = vision_transformers()["ViT"][0].eval()
    model.save_pretrained(tmp_path)
    settings = {"image_processor_type": "ViTImageProcessor", "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = model((images - 0.5) / 0.25).last_hidden_state[:, 1:]
    torch.testing.assert_close(load_backbone(str(tmp_path))(images)[0], expected, atol=1e-5, rtol=1e-5)


def test_weights_of_another_model_are_never_replaced_by_random_ones(tmp_path: Path) -> None:
    models = vision_transformers()
    models["ViT"][0].save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    for name in [name for name in weights if "layers.1." in name or "layer.1." in name]:
        del weights[name]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="missing and would stay random"):
        load_backbone(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="damaged or do not fit"):
        load_backbone(str(tmp_path))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(MissingAssetError, match="safetensors.*download the whole repository"):
        load_backbone(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(MissingAssetError, match="config.*download the whole repository"):
        load_backbone(str(tmp_path))


@pytest.mark.parametrize(("mean", "std"), [([0.5], [0.5] * 3), ([0.5] * 3, [0.0] * 3), (0.5, 0.5)])
def test_a_broken_normalisation_is_refused(tmp_path: Path, mean: Any, std: Any) -> None:
    tiny = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    transformers.ViTModel(transformers.ViTConfig(**tiny, image_size=64)).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": mean, "image_std": std}))
    with pytest.raises(CheckpointError, match="image_mean and image_std as three numbers"):
        load_backbone(str(tmp_path))


def no_vision_transformers() -> dict[str, tuple[Any, str]]:
    tiny = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    swin = transformers.SwinConfig(image_size=64, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=2)
    resnet = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])
    return {
        "text": (
            transformers.BertModel(transformers.BertConfig(**tiny, vocab_size=20)),
            "not take single pictures",
        ),
        "detector": (
            transformers.YolosModel(
                transformers.YolosConfig(**tiny, image_size=[64, 64], num_detection_tokens=4)
            ),
            "detector",
        ),
        "pyramid": (transformers.SwinModel(swin), "no grid of patch tokens"),
        "convolutions": (transformers.ResNetModel(resnet), "no grid of patch tokens.*no square patches"),
        "video": (
            transformers.VideoMAEModel(transformers.VideoMAEConfig(**tiny, image_size=32, num_frames=2)),
            "not take single pictures",
        ),
    }


@pytest.mark.parametrize("name", no_vision_transformers())
def test_models_without_a_grid_of_patch_tokens_are_refused(tmp_path: Path, name: str) -> None:
    model, message = no_vision_transformers()[name]
    model.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=message) as caught:
        load_backbone(str(tmp_path))
    assert "plain vision transformer" in str(caught.value) and "\n" not in str(caught.value)


def sapiens_file(path: Path) -> dict[str, torch.Tensor]:
    tensors = original_tensors()
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(tensors, path)
    return tensors


@pytest.mark.parametrize("given", ["file", "folder"])
def test_a_sapiens_file_is_loaded_by_its_path_or_folder(tmp_path: Path, given: str) -> None:
    path = tmp_path / "sapiens_tiny.pth"
    tensors = sapiens_file(path)
    loaded = load_backbone(str(path if given == "file" else tmp_path))
    images = torch.rand(1, 3, 96, 64)
    expected = original_forward(tensors, normalised(images), (8, 8), 0)
    tokens, grid = loaded(images)
    assert grid == (6, 4) and loaded.patch == 16
    torch.testing.assert_close(tokens, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("place", ["weights", "cache"])
@pytest.mark.parametrize("name", ["sapiens-0.3b", "facebook/sapiens-pretrain-0.3b"])
def test_short_names_find_weights_and_check_their_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, name: str
) -> None:
    file = "sapiens_0.3b_epoch_1600_clean.pth"
    if place == "weights":
        monkeypatch.setenv("LCA_WEIGHTS", str(tmp_path))
        path = tmp_path / "sapiens-pretrain-0.3b" / file
    else:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        path = tmp_path / "models--facebook--sapiens-pretrain-0.3b" / "snapshots" / "a1" / file
    sapiens_file(path)
    size = SapiensSize(WIDTH, LAYERS, HEADS)
    monkeypatch.setitem(SIZES, "0.3b", size)
    assert load_backbone(name).width == WIDTH
    monkeypatch.setitem(SIZES, "0.3b", SapiensSize(1024, 24, 16))
    with pytest.raises(CheckpointError, match="holds 3 layers of width 128, but sapiens-0.3b has 24"):
        load_backbone(name)


def test_sapiens2_is_found_in_the_weights_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LCA_WEIGHTS", str(tmp_path))
    vision_transformers()["Sapiens2"][0].save_pretrained(tmp_path / "sapiens2-pretrain-0.1b")
    vision_transformers()["ViT"][0].save_pretrained(tmp_path / "vit-tiny")
    for name in ("sapiens2-0.1b", "facebook/sapiens2-pretrain-0.1b", "someone/vit-tiny"):
        assert load_backbone(name).width == 32


@pytest.mark.parametrize("name", ["sapiens-1b", "facebook/sapiens-pretrain-1b", "sapiens2-5b"])
def test_a_run_without_weights_stops_with_the_way_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "1")
    monkeypatch.setenv("LCA_WEIGHTS", str(tmp_path))
    listed = image_encoder(name)
    assert listed is not None
    with pytest.raises(MissingAssetError) as caught:
        load_backbone(name)
    text = str(caught.value)
    for needed in (listed.command, listed.size, listed.licence, str(tmp_path), "lca doctor", "random-tiny"):
        assert needed in text
    assert f"--local-dir {tmp_path}/{listed.repository.split('/')[1]}" in text and "\n" not in text


def test_a_download_names_the_licence_and_only_takes_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def download(repository: str, allow_patterns: list[str]) -> None:
        assert (repository, allow_patterns) == ("facebook/sapiens-pretrain-2b", ["sapiens_2b_epoch_*.pth"])
        if not working:
            raise RuntimeError("no route to host")
        folder = tmp_path / "models--facebook--sapiens-pretrain-2b" / "snapshots" / "a1"
        sapiens_file(folder / "sapiens_2b_epoch_660_clean.pth")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    monkeypatch.setattr("lca_lightning.model.backbone_loading._online", lambda: True)
    monkeypatch.setitem(SIZES, "2b", SapiensSize(WIDTH, LAYERS, HEADS))
    working = False
    with pytest.raises(MissingAssetError, match="no route to host"):
        load_backbone("sapiens-2b")
    working = True
    assert load_backbone("sapiens-2b").width == WIDTH
    assert "CC-BY-NC-4.0 (no commercial use)" in caplog.text


def test_folders_and_files_that_hold_no_weights(tmp_path: Path) -> None:
    with pytest.raises(MissingAssetError, match="neither config.json .* nor a Sapiens checkpoint"):
        load_backbone(str(tmp_path))
    with pytest.raises(MissingAssetError, match="no weight file"):
        load_backbone(str(tmp_path / "a.pth"))
    for name in ("a.pth", "b.pth"):
        sapiens_file(tmp_path / name)
    with pytest.raises(CheckpointError, match="several checkpoints"):
        load_backbone(str(tmp_path))


def test_chunks_bound_the_memory_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.rand(7, 3, 32, 48)
    whole, chunked = load_backbone("random-tiny", chunk=7), load_backbone("random-tiny", chunk=3)
    seen = []
    chunked.network.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    torch.testing.assert_close(chunked(images)[0], whole(images)[0], atol=1e-5, rtol=0)
    assert seen == [3, 3, 1]


def test_precision_belongs_to_the_encoder_not_to_its_surroundings() -> None:
    backbone = load_backbone("random-tiny")
    images = torch.rand(1, 3, 32, 32)
    plain = backbone(images)[0]
    assert plain.dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = backbone(images)[0]
    assert inside.dtype == torch.bfloat16 and torch.equal(inside, plain.bfloat16())  # computed in float32
    kept = [weight.clone() for weight in backbone.network.parameters()]
    torch.nn.Sequential(backbone).bfloat16()
    assert all(map(torch.equal, kept, backbone.network.parameters()))
    backbone = load_backbone("random-tiny")
    doubled = torch.nn.Sequential(backbone).double()[0](images.double())[0]
    assert doubled.dtype == torch.float64
    torch.testing.assert_close(doubled.float(), plain, atol=1e-5, rtol=0)


def test_half_precision_must_be_asked_for_on_the_cpu() -> None:
    half = load_backbone("random-tiny", precision="bfloat16")
    assert {weight.dtype for weight in half.network.parameters()} == {torch.bfloat16}
    images = torch.rand(1, 3, 32, 32)
    tokens, expected = half(images)[0], load_backbone("random-tiny")(images)[0]
    assert tokens.dtype == torch.float32 and not torch.equal(tokens, expected)
    assert torch.nn.functional.cosine_similarity(tokens, expected, dim=-1).min() > 0.999
    with pytest.raises(ConfigError, match="backbone_precision must be auto, float32 or bfloat16"):
        load_backbone("random-tiny", precision="half")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="backbone_chunk"):
        load_backbone("random-tiny", chunk=0)


def test_buffers_keep_their_type_when_weights_do_not(tmp_path: Path) -> None:
    """Frequencies of rotary embeddings lose too much in bfloat16."""
    vision_transformers()["Sapiens2"][0].save_pretrained(tmp_path)
    network = load_backbone(str(tmp_path), precision="bfloat16").network
    assert network.rope_embeddings.inv_freq.dtype == torch.float32
    assert network.embeddings.cls_token.dtype == torch.bfloat16


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_bfloat16_on_cuda_and_float32_back_on_the_cpu() -> None:
    backbone, images = load_backbone("random-tiny"), torch.rand(3, 3, 64, 48)
    expected = backbone(images)[0]
    tokens = backbone.cuda()(images.cuda())[0]
    assert {weight.dtype for weight in backbone.network.parameters()} == {torch.bfloat16}
    assert tokens.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(tokens.cpu(), expected, dim=-1).min() > 0.999
    assert {weight.dtype for weight in backbone.cpu().network.parameters()} == {torch.float32}
    exact = load_backbone("random-tiny", precision="float32").cuda()(images.cuda())[0]
    torch.testing.assert_close(exact.cpu(), expected, atol=1e-3, rtol=1e-3)


def test_frozen_network_is_invisible_but_moves() -> None:
    inner = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout())
    owner = torch.nn.Sequential(FrozenNetwork(inner), torch.nn.Linear(2, 2)).train()
    assert not inner.training and not inner[0].weight.requires_grad
    assert len(list(owner.parameters())) == 2 and set(owner.state_dict()) == {"1.weight", "1.bias"}
    owner.double()
    assert inner[0].weight.dtype == torch.float64
    copied = copy.deepcopy(owner)
    assert copied[0].network is inner and copied[1].weight is not owner[1].weight
