"""Networks of the perceptual loss in half precision: half the size to carry to a machine that is offline.

`scripts/shrink_lpips.py` writes ``lpips-NET.fp16.safetensors``, looked for in ``$LCA_WEIGHTS`` and beside
the files that torchvision downloads. Values are rounded once and computed with in single precision.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from lca_lightning.errors import CheckpointError, MissingAssetError
from lca_lightning.losses.perceptual_weights import NetName, load_trunk
from lca_lightning.weights import LPIPS_LICENCE, weights_folder
from lca_lightning.writing import write_atomically

Precision = Literal["auto", "float32", "float16"]


def file_name(net: NetName) -> str:
    """Name of a network's file in half precision."""
    return f"lpips-{net}.fp16.safetensors"


def choose_trunk(net: NetName, precision: Precision = "auto") -> tuple[dict[str, Tensor], str]:
    """Find the trained feature extractor of a perceptual network.

    Args:
        net: ``alex``, ``vgg`` or ``squeeze``.
        precision: ``float32``, ``float16``, or ``auto``: full precision where it is here, else half.

    Returns:
        Single-precision tensors by their name inside torchvision's ``features``; and where they are from.

    Raises:
        MissingAssetError: They are not on this machine in that precision.
        CheckpointError: The file in half precision is damaged or of another network.
    """
    half = find_half(net)
    if precision == "float16" and half is None:
        raise MissingAssetError(
            f"model.losses.perceptual_weights is float16, but {file_name(net)} is neither in $LCA_WEIGHTS nor"
            f" in {_hub()}; `python scripts/shrink_lpips.py --net {net} --out DIR` writes it where the full"
            " weights are."
        )
    if precision != "float16":
        try:
            return load_trunk(net), "float32"
        except MissingAssetError:
            if half is None or precision == "float32":
                raise
    assert half is not None
    return _read(half, net), f"float16, {half}"


def find_half(net: NetName) -> Path | None:
    """A network's file in half precision on this machine, or None."""
    return next((place / file_name(net) for place in _places() if (place / file_name(net)).is_file()), None)


def write_half(net: NetName, folder: str | Path) -> Path:
    """Write a network in half precision.

    Args:
        net: ``alex``, ``vgg`` or ``squeeze``.
        folder: Where to.

    Returns:
        The file.

    Raises:
        MissingAssetError: Its full weights are not on this machine.
        DataError: The folder cannot be written.
    """
    tensors = {name: tensor.half().contiguous() for name, tensor in load_trunk(net).items()}
    about = {"network": net, "precision": "float16", "licence": LPIPS_LICENCE}
    return write_atomically(Path(folder) / file_name(net), lambda path: save_file(tensors, path, about))


def _read(path: Path, net: NetName) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as archive:
            network = (archive.metadata() or {}).get("network")
        tensors = {name: tensor.float() for name, tensor in load_file(path).items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); copy it again.") from error
    if network != net:
        raise CheckpointError(f"{path} holds the network {network!r}, not {net!r}; write it again.")
    return tensors


def _places() -> Iterator[Path]:
    root = weights_folder()
    if root is not None:
        yield root
    yield _hub()


def _hub() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"
