"""Where the weights of an image encoder come from: a file, a folder, the cache or the network."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from pathlib import Path
from urllib.parse import urlparse

from torch import nn

from lca_lightning.errors import CheckpointError, MissingAssetError
from lca_lightning.model.bundled_encoders import RANDOM_TINY
from lca_lightning.model.pretrained import IMAGENET, Normalisation, load_pretrained
from lca_lightning.model.sapiens import load_sapiens
from lca_lightning.model.weight_files import SUFFIXES
from lca_lightning.weights import LIMITS, EncoderWeights, cache_folder, image_encoder, weights_folder

logger = logging.getLogger(__name__)
TRIAL = f"or set model.avatar.backbone to {RANDOM_TINY} for a trial run without pretrained weights"


def load_network(name_or_path: str) -> tuple[nn.Module, Normalisation]:
    """Load the network behind a name, file, folder or repository id.

    Args:
        name_or_path: As ``load_backbone`` takes it, without the bundled ones.

    Returns:
        The network and the normalisation of its pictures.

    Raises:
        MissingAssetError: The weights are not here and cannot be downloaded.
        CheckpointError: The weights are damaged, incomplete, or those of another model or size.
        ConfigError: The model is no vision transformer with a grid of patch tokens.
    """
    listed, path = image_encoder(name_or_path), Path(name_or_path).expanduser()
    if listed is not None and not path.exists():
        return _load_listed(listed)
    if path.is_dir():
        return _load_folder(path)
    if path.is_file() or path.suffix in (*SUFFIXES, ".pt2"):
        return load_sapiens(path), IMAGENET
    folder = weights_folder()
    if folder is not None and (folder / path.name).is_dir():
        return _load_folder(folder / path.name)
    return _load_from_hub(name_or_path, f"`hf download {name_or_path} --local-dir FOLDER`")


def _load_listed(weights: EncoderWeights) -> tuple[nn.Module, Normalisation]:
    """One of the encoders that ``lca doctor`` lists."""
    found = weights.find()
    if not weights.is_checkpoint:
        return load_pretrained(str(found)) if found else _load_from_hub(weights.repository, weights.way_out)
    if found is None:
        found = _download_checkpoint(weights)
    return load_sapiens(found, size=weights.name.removeprefix("sapiens-")), IMAGENET


def _load_folder(folder: Path) -> tuple[nn.Module, Normalisation]:
    """A ``transformers`` folder, or one that holds an original Sapiens checkpoint."""
    if (folder / "config.json").is_file():
        return load_pretrained(str(folder))
    files = sorted(file for file in folder.iterdir() if file.suffix in SUFFIXES)
    if not files:
        raise MissingAssetError(
            f"The folder {folder} holds neither config.json with the weights of a transformers model nor a "
            f"Sapiens checkpoint ({', '.join(SUFFIXES)}); download the whole repository into it, {TRIAL}."
        )
    if len(files) > 1:
        raise CheckpointError(
            f"The folder {folder} holds several checkpoints; set model.avatar.backbone to one of them, "
            f"such as {files[0]}."
        )
    return load_sapiens(files[0]), IMAGENET


def _load_from_hub(repository: str, way_out: str) -> tuple[nn.Module, Normalisation]:
    """Look in the cache first, and on the network only when its host can be found."""
    reason = ""
    for local_only in (True, False) if _online() else (True,):
        try:
            return load_pretrained(repository, local_only)
        except MissingAssetError as error:
            reason = str(error)
    raise _missing(repository, reason, way_out)


def _download_checkpoint(weights: EncoderWeights) -> Path:
    """The checkpoint file from the hub, through its cache."""
    from huggingface_hub import snapshot_download

    reason = "and the hub cannot be reached from here"
    if _online():
        limits = LIMITS[weights.licence]
        logger.warning("Downloading %s: %s, %s (%s).", weights.name, weights.size, weights.licence, limits)
        try:
            snapshot_download(weights.repository, allow_patterns=[weights.pattern])
            if found := weights.find():
                return found
            reason = f"and the repository holds no {weights.pattern}"
        except Exception as error:  # whatever the network does, the answer is the same text
            reason = f"and downloading it failed: {_first_line(error)}"
    raise _missing(weights.name, reason, weights.way_out)


def _missing(name: str, reason: str, way_out: str) -> MissingAssetError:
    return MissingAssetError(
        f"Backbone '{name}' was found neither as a local folder, nor in LCA_WEIGHTS "
        f"({weights_folder() or 'not set'}), nor in the cache {cache_folder()} ({reason.rstrip('.')}); get "
        f"it with {way_out} and set model.avatar.backbone to its name or folder, {TRIAL}; `lca doctor` lists "
        "the encoders."
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _online() -> bool:
    """Whether the hub's host has an address: saves its retries on a machine without a network."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or os.environ.get("TRANSFORMERS_OFFLINE"):
        return False
    with contextlib.suppress(OSError):
        return bool(socket.getaddrinfo(urlparse(constants.ENDPOINT).hostname, 443))
    return False
