"""Sapiens v1 from files in the original layout, against a forward written only from that layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import conv2d, gelu, interpolate, layer_norm, linear

from lca_lightning.errors import CheckpointError, LCAError, MissingAssetError
from lca_lightning.model.sapiens import SIZES, load_sapiens
from lca_lightning.model.weight_files import read_tensors

WIDTH, LAYERS, HEADS = 128, 3, 2
Tensors = dict[str, Tensor]


def original_tensors(
    grid: tuple[int, int] = (8, 8), class_token: bool = True, width: int = WIDTH, layers: int = LAYERS
) -> Tensors:
    """Random values under the names of the original checkpoints."""
    shapes: dict[str, tuple[int, ...]] = {"pos_embed": (1, grid[0] * grid[1] + class_token, width)}
    if class_token:
        shapes["cls_token"] = (1, 1, width)
    shapes |= {"patch_embed.projection.weight": (width, 3, 16, 16), "patch_embed.projection.bias": (width,)}
    norms = ["ln1"]
    for i in range(layers):
        norms += [f"layers.{i}.ln1", f"layers.{i}.ln2"]
        linears = {"attn.qkv": (3, 1), "attn.proj": (1, 1), "ffn.layers.0.0": (4, 1), "ffn.layers.1": (1, 4)}
        for name, (rows, columns) in linears.items():
            shapes[f"layers.{i}.{name}.weight"] = (rows * width, columns * width)
            shapes[f"layers.{i}.{name}.bias"] = (rows * width,)
    for name in norms:
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    generator = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(shape, generator=generator) * 0.06 for name, shape in shapes.items()}
    for name in norms:
        tensors[f"{name}.weight"] += 1
    tensors["pos_embed"] *= 10  # position must matter
    return tensors


def original_forward(
    tensors: Tensors, pixels: Tensor, grid: tuple[int, int], padding: int, heads: int = HEADS
) -> Tensor:
    """Patch tokens ``(n, N, width)`` as the released training code computes them."""

    def norm(tokens: Tensor, name: str) -> Tensor:
        return layer_norm(tokens, tokens.shape[-1:], tensors[f"{name}.weight"], tensors[f"{name}.bias"], 1e-6)

    def dense(tokens: Tensor, name: str) -> Tensor:
        return linear(tokens, tensors[f"{name}.weight"], tensors[f"{name}.bias"])

    stem = "patch_embed.projection"
    patches = conv2d(pixels, tensors[f"{stem}.weight"], tensors[f"{stem}.bias"], stride=16, padding=padding)
    size = (patches.shape[-2], patches.shape[-1])
    tokens = patches.flatten(2).mT
    extra = int("cls_token" in tensors)
    if extra:
        tokens = torch.cat([tensors["cls_token"].repeat(len(tokens), 1, 1), tokens], dim=1)
    first, rest = tensors["pos_embed"][:, :extra], tensors["pos_embed"][:, extra:]
    if size != grid:
        stored = rest.reshape(1, *grid, -1).permute(0, 3, 1, 2)
        rest = interpolate(stored, size=size, mode="bicubic", align_corners=False).flatten(2).mT
    tokens = tokens + torch.cat([first, rest], dim=1)
    for i in range(sum(name.endswith("attn.qkv.bias") for name in tensors)):
        packed = dense(norm(tokens, f"layers.{i}.ln1"), f"layers.{i}.attn.qkv")
        n, length, width = tokens.shape
        q, k, v = packed.reshape(n, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        attention = (q @ k.mT / (width // heads) ** 0.5).softmax(dim=-1)
        tokens = tokens + dense(
            (attention @ v).transpose(1, 2).reshape(n, length, width), f"layers.{i}.attn.proj"
        )
        hidden = gelu(dense(norm(tokens, f"layers.{i}.ln2"), f"layers.{i}.ffn.layers.0.0"))
        tokens = tokens + dense(hidden, f"layers.{i}.ffn.layers.1")
    return norm(tokens, "ln1")[:, extra:]


def our_forward(path: Path, pixels: Tensor, heads: int | None = None) -> Tensor:
    """Patch tokens of the loaded network."""
    network = load_sapiens(path, heads=heads).eval()
    with torch.no_grad():
        tokens = network(pixels).last_hidden_state
    return tokens[:, -(pixels.shape[-2] // 16) * (pixels.shape[-1] // 16) :]


def save(tensors: object, path: Path) -> Path:
    torch.save(tensors, path)
    return path


@pytest.mark.parametrize("size", [(128, 128), (128, 96), (64, 160)])
@pytest.mark.parametrize(
    ("grid", "class_token", "padding"), [((8, 8), True, 0), ((8, 8), False, 2), ((8, 6), False, 2)]
)
def test_tokens_equal_those_of_the_original(
    tmp_path: Path, size: tuple[int, int], grid: tuple[int, int], class_token: bool, padding: int
) -> None:
    tensors = original_tensors(grid, class_token)
    pixels = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    expected = original_forward(tensors, pixels, grid, padding)
    tokens = our_forward(save(tensors, tmp_path / "a.pth"), pixels)
    torch.testing.assert_close(tokens, expected, atol=1e-5, rtol=0)
    other = original_forward(tensors, pixels, grid, 2 - padding)
    assert (other - expected).abs().max() > 0.1  # the padding is seen


def test_small_activations_are_normalised_with_the_original_epsilon(tmp_path: Path) -> None:
    tensors = original_tensors(layers=1)
    for name in ("pos_embed", "cls_token", "patch_embed.projection.weight", "patch_embed.projection.bias"):
        tensors[name] *= 1e-4
    pixels = torch.randn(1, 3, 64, 48, generator=torch.Generator().manual_seed(1))
    expected = original_forward(tensors, pixels, (8, 8), 0)
    tokens = our_forward(save(tensors, tmp_path / "a.pth"), pixels)
    torch.testing.assert_close(tokens, expected, atol=1e-5, rtol=0)


def test_true_width_of_the_smallest_release(tmp_path: Path) -> None:
    """Width 1024 with 16 heads and the stored 64 x 64 grid, two layers deep."""
    tensors = original_tensors((64, 64), True, width=1024, layers=2)
    tensors = {name: value if name == "pos_embed" else value * 0.5 for name, value in tensors.items()}
    pixels = torch.randn(1, 3, 128, 96, generator=torch.Generator().manual_seed(1))
    expected = original_forward(tensors, pixels, (64, 64), 0, heads=16)
    path = save(tensors, tmp_path / "a.pth")
    torch.testing.assert_close(our_forward(path, pixels, heads=16), expected, atol=1e-5, rtol=0)
    with pytest.raises(CheckpointError, match="2 layers of width 1024, but .* 24 layers"):
        load_sapiens(path)


def test_heads_of_the_releases() -> None:
    sizes = {name: (size.width, size.layers, size.heads) for name, size in SIZES.items()}
    assert sizes == {
        "0.3b": (1024, 24, 16), "0.6b": (1280, 32, 16), "1b": (1536, 40, 24), "2b": (1920, 48, 32)
    }  # fmt: skip


def nested(tensors: Tensors) -> object:
    """As training saves it: prefix, a pose head and its meta data beside the encoder."""
    named = {f"backbone.{name}": value for name, value in tensors.items()}
    head = {"head.final_layer.weight": torch.zeros(133, 8, 1, 1)}
    return {"meta": {"epoch": 210}, "state_dict": named | head}


@pytest.mark.parametrize(
    "write",
    [
        lambda tensors, path: torch.save(nested(tensors), path),
        lambda tensors, path: torch.save(tensors, path, _use_new_zipfile_serialization=False),
        lambda tensors, path: save_file(tensors, path.with_suffix(".safetensors")),
    ],
    ids=["nested", "old format", "safetensors"],
)
def test_forms_of_the_file(tmp_path: Path, write: Callable[[Tensors, Path], None]) -> None:
    tensors = original_tensors()
    write(tensors, tmp_path / "a.pth")
    (path,) = tmp_path.iterdir()
    pixels = torch.randn(1, 3, 64, 48)
    plain = our_forward(save(tensors, tmp_path / "plain.pth"), pixels)
    assert torch.equal(our_forward(path, pixels), plain)


class Program(torch.nn.Module):
    """A model that is shipped as code."""

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels


def without(name: str) -> Tensors:
    tensors = original_tensors()
    del tensors[name]
    return tensors


def cut(path: Path) -> None:
    save(original_tensors(), path)
    path.write_bytes(path.read_bytes()[:-5000])


def saved(content: object) -> Callable[[Path], object]:
    return lambda path: save(content, path)


def added(name: str, value: Tensor) -> Callable[[Path], object]:
    return saved(original_tensors() | {name: value})


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "program": (
        lambda path: torch.jit.save(torch.jit.trace(Program(), torch.zeros(1)), str(path)),
        "exported program .* original checkpoint",
    ),
    "cut": (cut, r"cut short \(\d+ bytes\); download"),
    "nonsense": (lambda path: path.write_text("hello"), "no PyTorch checkpoint"),
    "empty": (lambda path: path.write_bytes(b""), "no PyTorch checkpoint"),
    "pointer": (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1"), "LFS pointer"),
    "objects": (saved({"state_dict": original_tensors(), "hook": Program()}), "can run code"),
    "no tensors": (saved({"epoch": 3}), "no named tensors"),
    "missing": (saved(without("layers.1.ffn.layers.1.bias")), "lacks layers.1.ffn.layers.1.bias"),
    "no final norm": (saved(without("ln1.weight")), "lacks ln1.weight"),
    "no class token": (saved(without("cls_token")), "65 patches.*class token is missing"),
    "unknown": (added("layers.0.attn.gamma1.weight", torch.ones(1)), "unknown layers.0.attn.gamma1.weight"),
    "shape": (
        added("layers.1.attn.proj.weight", torch.zeros(WIDTH, 2 * WIDTH)),
        r"layers.1.attn.proj.weight should have .*found \(128, 256",
    ),
    "patches": (
        added("patch_embed.projection.weight", torch.zeros(WIDTH, 3, 14, 14)),
        r"should have shape \(128, 3, 16, 16\), found \(128, 3, 14, 14\)",
    ),
    "detector": (
        saved({"backbone.stem.conv.weight": torch.ones(1), "neck.weight": torch.ones(1)}),
        "no Sapiens v1 checkpoint .*found 2 tensors such as backbone.stem.conv.weight",
    ),
    "sapiens2": (
        saved({"cls_token": torch.ones(1), "blocks.0.attn.wq.weight": torch.ones(1)}),
        "looks like Sapiens2",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_files_that_are_refused(tmp_path: Path, name: str) -> None:
    write, message = BAD[name]
    write(tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=message) as caught:
        load_sapiens(tmp_path / "a.pth")
    assert "\n" not in str(caught.value)


def test_damaged_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file(original_tensors(), path)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(CheckpointError, match="cut short"):
        read_tensors(path)
    with pytest.raises(MissingAssetError, match="no weight file"):
        read_tensors(tmp_path / "b.pth")


def test_the_size_that_was_asked_for_is_checked(tmp_path: Path) -> None:
    path = save(original_tensors(), tmp_path / "a.pth")
    with pytest.raises(
        CheckpointError, match="3 layers of width 128, but sapiens-1b has 40 layers of width 1536"
    ):
        load_sapiens(path, size="1b")
    with pytest.raises(LCAError, match="3 attention heads do not divide"):
        load_sapiens(path, heads=3)
