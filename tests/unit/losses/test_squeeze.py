"""LPIPS with SqueezeNet: no package carries the trunk, so a seeded one stands in for it."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
import torchvision

from lca_lightning.errors import MissingAssetError
from lca_lightning.losses.perceptual import LPIPS
from lca_lightning.losses.perceptual_weights import CACHED_FILES, load_trunk


def place_trunk(folder: Path) -> torch.nn.Module:
    """Write a random SqueezeNet where torchvision's download would lie."""
    torch.manual_seed(0)
    network = torchvision.models.squeezenet1_1(weights=None)
    (folder / "checkpoints").mkdir()
    torch.save(network.state_dict(), folder / "checkpoints" / CACHED_FILES["squeeze"])
    return network


def test_equals_the_packages_own_forward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import lpips

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    trained = place_trunk(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision dislikes how lpips calls it
        own = lpips.LPIPS(net="squeeze", pnet_rand=True, verbose=False)
    features = dict(trained.features.named_parameters())
    with torch.no_grad():
        for name, parameter in own.net.named_parameters():
            parameter.copy_(features[name.split(".", 1)[1]])
        first, second = torch.rand(2, 2, 3, 64, 48)
        expected = own(2 * first - 1, 2 * second - 1).flatten()
    assert float(expected.min()) > 1e-3
    torch.testing.assert_close(LPIPS("squeeze")(first, second), expected, atol=1e-6, rtol=1e-4)


def test_a_missing_trunk_says_where_it_belongs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(MissingAssetError, match=f"{CACHED_FILES['squeeze']}.* in {tmp_path}"):
        load_trunk("squeeze")
