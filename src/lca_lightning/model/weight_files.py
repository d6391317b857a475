"""Tensors of a PyTorch or safetensors checkpoint file, read without running anything the file says."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lca_lightning.errors import CheckpointError, MissingAssetError

SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")
PROGRAM_MARKS = ("constants.pkl", "archive_format", "serialized_exported_program.json")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the named tensors of a checkpoint, mapped from the file where its format allows.

    Args:
        path: A ``.safetensors`` file, or a PyTorch file, maybe with the tensors under ``state_dict`` or
            ``model``.

    Returns:
        Tensors by name, on the CPU.

    Raises:
        MissingAssetError: There is no such file.
        CheckpointError: The file is cut short, is a program instead of weights, holds other objects than
            plain data, or holds no tensors.
    """
    if not path.is_file():
        raise MissingAssetError(f"There is no weight file {path}; check the path.")
    content = _read_safetensors(path) if _kind(path) == "safetensors" else _read_torch(path)
    for name in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    tensors = (
        {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
        if isinstance(content, dict)
        else {}
    )
    if not tensors:
        raise CheckpointError(f"{path} holds no named tensors; give a checkpoint with a state_dict.")
    return tensors


def _kind(path: Path) -> str:
    """``safetensors``, ``zip`` or ``pickle``; refuses what is no checkpoint."""
    with path.open("rb") as file:
        head = file.read(64)
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError(
            f"{path} is a Git LFS pointer, not the weights; run `git lfs pull` or `hf download`."
        )
    if path.suffix == ".safetensors":
        return "safetensors"
    if not head.startswith(b"PK"):
        return "pickle"
    if not zipfile.is_zipfile(path):
        raise _damaged(path)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if path.suffix == ".pt2" or any(name.endswith(PROGRAM_MARKS) for name in names):
        raise CheckpointError(
            f"{path} is an exported program (TorchScript), which is code and not weights; take the original "
            "checkpoint instead, such as sapiens_1b_epoch_173_clean.pth of facebook/sapiens-pretrain-1b."
        )
    return "zip"


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path) from error


def _read_torch(path: Path) -> Any:
    mapped = zipfile.is_zipfile(path)
    try:
        with warnings.catch_warnings():  # torch comments on pickles that it then refuses
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        if not mapped:
            size = path.stat().st_size
            raise CheckpointError(
                f"{path} is no PyTorch checkpoint, or a damaged one ({size} bytes); download it again."
            ) from error
        if not isinstance(error, pickle.UnpicklingError):
            raise _damaged(path) from error
        raise CheckpointError(
            f"{path} holds Python objects besides tensors, which are never loaded because they can run code; "
            "take a file with weights only, such as one whose name ends in _clean.pth."
        ) from error


def _damaged(path: Path) -> CheckpointError:
    size = path.stat().st_size
    return CheckpointError(f"{path} is damaged or cut short ({size} bytes); download it again.")
