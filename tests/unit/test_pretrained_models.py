"""Shipped models: small, exact where it counts, readable without pickles or a network, and described."""

from __future__ import annotations

import json
import pickle
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import lca_lightning
from lca_lightning.avatar.create import PhotoFormat, ReferencePhoto, build_references, create_avatar
from lca_lightning.errors import CheckpointError
from lca_lightning.model.avatar_model import AvatarModel
from lca_lightning.model.backbone import load_backbone
from lca_lightning.model.configuration import AvatarModelConfig
from lca_lightning.pretrained_models import files, is_shipped, packaging, read_model, stored_backbone
from lca_lightning.reports.model_card import insert_generated
from lca_lightning.rig.anny import AnnyRig

ROOT = Path(__file__).parents[2]
CONFIG = AvatarModelConfig(
    backbone="random-tiny", width=32, layers=1, heads=2, anchors=64, gaussians_per_anchor=1,
    decoder_hidden=16, adaln_gate_init=0.5, scale_limit_start=0.08, scale_limit_end=0.1, backbone_chunk=3,
)  # fmt: skip
PHOTOS = {"image_size": [64, 48], "face_size": [32, 32], "background": 0.5}
FACTS = {
    "training": {"checkpoint_sha256": "0" * 64, "runs": [{"steps": 3, "data": {"set": {"digest": "1" * 64}}}]}
}


@pytest.fixture(scope="module")
def model(rig: AnnyRig) -> AvatarModel:
    torch.manual_seed(0)
    model = AvatarModel(CONFIG, rig, load_backbone("random-tiny")).eval()
    torch.nn.init.normal_(model.canonical_decoder.layers[-1].weight, std=0.05)  # type: ignore[union-attr]
    model.step += 700
    return model


@pytest.fixture
def shipped(model: AvatarModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands in for the package's own."""
    packaging.write_model(model, "tiny", PHOTOS, FACTS, tmp_path)
    monkeypatch.setattr(files, "FOLDER", tmp_path)
    return tmp_path


def photo(seed: int) -> ReferencePhoto:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 255, (96, 72, 3), generator=generator, dtype=torch.uint8).numpy()
    mask = torch.zeros(96, 72, dtype=torch.uint8)
    mask[8:-8, 16:-16] = 255
    return ReferencePhoto(image, mask.numpy(), None)


def test_a_shipped_model_makes_the_avatars_of_its_checkpoint(shipped: Path, model: AvatarModel) -> None:
    creator = lca_lightning.load_model(device="cpu")
    assert creator.photo_format == PhotoFormat((64, 48), (32, 32), 0.5)
    references = build_references([photo(1), photo(2)], creator.photo_format)
    made, expected = (create_avatar(each, references).canonical for each in (creator.model, model))
    for name in ("offsets_BG3", "log_scales_BG3", "color_logits_BG3"):
        torch.testing.assert_close(getattr(made, name), getattr(expected, name), atol=3e-3, rtol=3e-3)
    assert torch.equal(creator.model.step, model.step) and creator.model.limits == model.limits
    again = lca_lightning.load_model("tiny", "cpu").model.state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in creator.model.state_dict().items())


def test_the_image_encoder_is_the_stored_one_to_the_bit(
    shipped: Path, model: AvatarModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever another version of torch draws from the seed."""
    original = torch.manual_seed
    monkeypatch.setattr(torch, "manual_seed", lambda seed: original(seed + 1))
    drawn = load_backbone("random-tiny").network.state_dict()
    loaded = lca_lightning.load_model(device="cpu").model.backbone
    trained = model.backbone.network.state_dict()
    assert not all(torch.equal(drawn[name], trained[name]) for name in trained)
    assert all(torch.equal(loaded.network.state_dict()[name], trained[name]) for name in trained)
    assert loaded.chunk == 3 and loaded.name == "random-tiny"


def test_what_is_stored(shipped: Path, model: AvatarModel) -> None:
    tensors = load_file(shipped / "tiny.safetensors")
    parameters = {f"model.{name}" for name, _ in model.named_parameters()}
    for name, tensor in tensors.items():
        if name in parameters:
            assert tensor.dtype == torch.float16
        elif tensor.is_floating_point():
            assert tensor.dtype == torch.float32, "anchors and the encoder are not rounded"
    description = json.loads((shipped / "tiny.json").read_text())
    assert description["weights"]["bytes"] == (shipped / "tiny.safetensors").stat().st_size
    assert description["licence"] == "Apache-2.0" and len(description["limits"]) >= 3
    assert description["photos"] == PHOTOS and description["training"] == FACTS["training"]
    assert sorted(path.name for path in shipped.iterdir()) == ["tiny.json", "tiny.safetensors"]


def test_full_precision_is_exact(model: AvatarModel, tmp_path: Path) -> None:
    packaging.write_model(model, "exact", PHOTOS, FACTS, tmp_path, half=False)
    state = read_model("exact", tmp_path).checkpoint["state_dict"]
    assert all(torch.equal(state[f"model.{name}"], tensor) for name, tensor in model.state_dict().items())


def test_what_must_not_ship_is_refused(
    model: AvatarModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(CheckpointError, match="at most 15 MiB"):
        patch.setattr(packaging, "save", lambda tensors: bytes(packaging.LARGEST + 1))
        packaging.write_model(model, "big", PHOTOS, FACTS, tmp_path)
    with monkeypatch.context() as patch, pytest.raises(CheckpointError, match="licence"):
        patch.setattr(model, "config", replace(CONFIG, backbone="sapiens-1b"))
        packaging.write_model(model, "foreign", PHOTOS, FACTS, tmp_path)
    bias = model.encoder.final_norm.bias
    before = bias.detach().clone()
    with torch.no_grad():
        bias[0] = 1e6  # more than float16 holds
    with pytest.raises(CheckpointError, match="not finite"):
        packaging.write_model(model, "loud", PHOTOS, FACTS, tmp_path)
    with torch.no_grad():
        bias.copy_(before)
    assert list(tmp_path.iterdir()) == []


def test_broken_installations_say_so_in_one_sentence(shipped: Path) -> None:
    weights, description = shipped / "tiny.safetensors", shipped / "tiny.json"
    content, text = weights.read_bytes(), description.read_text()
    cases: list[tuple[Path, bytes | None, str]] = [
        (weights, None, "are missing in this installation"),
        (weights, content[:-100], "is damaged"),
        (weights, content[:-1] + bytes([content[-1] ^ 1]), "checksum differs"),
        (weights, pickle.dumps({"model": 1}), "is damaged"),
        (description, None, "no model 'tiny'"),
        (description, b"{", "is damaged"),
        (description, b"[]", "does not describe"),
        (description, text.replace('"version": 1', '"version": 9', 1).encode(), "reads version 1"),
        (description, b'{"format": "lca-pretrained", "version": 1}', "is damaged"),
    ]
    for path, broken, message in cases:
        path.unlink() if broken is None else path.write_bytes(broken)
        with pytest.raises(CheckpointError, match=message) as caught:
            lca_lightning.load_model()
        assert "\n" not in str(caught.value) and "install lca-lightning again" in str(caught.value)
        weights.write_bytes(content)
        description.write_text(text)
    lca_lightning.load_model(device="cpu")


def test_names_and_paths_do_not_mix(shipped: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert is_shipped("tiny") and not is_shipped("runs/tiny") and not is_shipped(Path("tiny"))
    monkeypatch.setattr(files, "FOLDER", tmp_path / "empty")
    assert is_shipped("tiny"), "a missing default is a broken installation, not a missing checkpoint"
    with pytest.raises(CheckpointError, match="No checkpoint at nothing"):
        lca_lightning.load_model("nothing")


def test_no_network_is_asked(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError(f"the network was asked: {arguments}")

    for name in ("create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    creator = lca_lightning.load_model(device="cpu")
    create_avatar(creator.model, build_references([photo(1)], creator.photo_format))


def test_an_encoder_of_other_shape_is_named() -> None:
    weights = load_backbone("random-tiny").network.state_dict()
    weights.popitem()
    with pytest.raises(CheckpointError, match="transformers"):
        stored_backbone("random-tiny", weights)


@pytest.mark.skipif(not (files.FOLDER / "tiny.json").is_file(), reason="no weights are in the tree yet")
def test_the_model_in_the_package() -> None:
    description = read_model("tiny").description
    assert (files.FOLDER / "tiny.safetensors").stat().st_size <= 15 * 2**20
    assert description["licence"] == "Apache-2.0" and description["training"]["runs"]
    assert description["results"] and description["slices"] and description["weights"]["rounding_psnr"] > 50
    creator = lca_lightning.load_model(device="cpu")
    avatars = [
        create_avatar(creator.model, build_references([photo(n)], creator.photo_format)) for n in (1, 2)
    ]
    colors = [avatar.canonical.color_logits_BG3 for avatar in avatars]
    assert torch.isfinite(colors[0]).all() and float((colors[0] - colors[1]).abs().max()) > 1e-2
    card = (ROOT / "MODEL_CARD.md").read_text()
    assert insert_generated(card, description) == card, "run scripts/package_model.py again"


def test_weights_and_description_come_together() -> None:
    weights = {path.stem for path in files.FOLDER.glob("*.safetensors")}
    assert weights == set(files.model_names())
