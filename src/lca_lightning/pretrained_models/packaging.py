"""Writing a trained model into the package: weights in half precision and a description, nothing else."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

import lca_lightning
from lca_lightning.errors import CheckpointError
from lca_lightning.model.avatar_model import AvatarModel
from lca_lightning.model.bundled_encoders import BUNDLED
from lca_lightning.pretrained_models import files
from lca_lightning.pretrained_models.files import BACKBONE, FORMAT, MODEL, VERSION
from lca_lightning.training.checkpoints import make_block
from lca_lightning.writing import write_atomically, write_text

LARGEST = 15 * 2**20
"""Bytes that a shipped model may have."""
LICENCE = "Apache-2.0"
LIMITS = (
    "It was trained on synthetic people only; it saw no real person in training.",
    "Likeness is not promised: it takes over build, pose and the rough colours of skin, hair and clothes; "
    "faces, hands, prints and fine detail are blurred or wrong.",
    "It knows the generator's people only: adults, skin tones on one ramp from light to dark, nine hair "
    "styles, tops, trousers, skirts, jackets, coats, caps, bags and glasses; no children, wheelchairs, "
    "prostheses, head scarves or floor-length dresses.",
    "Light and shadow of the photos stay in the colours.",
)
"""What a user must know of the shipped model; MODEL_CARD.md is generated from it."""


def write_model(
    model: AvatarModel,
    name: str,
    photos: Mapping[str, Any],
    facts: Mapping[str, Any],
    folder: Path | None = None,
    half: bool = True,
    rounding_psnr: float = math.inf,
) -> tuple[Path, Path]:
    """Write ``NAME.safetensors`` and ``NAME.json``, each under a temporary name first.

    Args:
        model: The trained model; its image encoder must be one of the package.
        name: What `lca_lightning.load_model` will call it.
        photos: How it saw photos in training: ``image_size``, ``face_size``, ``background``.
        facts: What else belongs into the description: ``training``, ``results``, ``cost``, ``slices``.
        folder: Where to write; the package's own folder when None.
        half: Store trained weights as float16; the encoder and buffers stay float32.
        rounding_psnr: How close pictures with the rounded weights come to those without, dB.

    Returns:
        The two files.

    Raises:
        CheckpointError: Another encoder, weights that are not finite, or more than 15 MiB.
        DataError: The folder cannot be written.
    """
    if model.config.backbone not in BUNDLED:
        raise CheckpointError(
            f"Only models with an image encoder of the package ({', '.join(BUNDLED)}) can ship: "
            f"{model.config.backbone} has a licence and a download of its own."
        )
    tensors = stored_tensors(model, half)
    content = save(tensors)
    if len(content) > LARGEST:
        raise CheckpointError(
            f"The model takes {len(content) / 2**20:.1f} MiB and at most {LARGEST >> 20} MiB may ship; "
            "store it in half precision or train a smaller one."
        )
    folder = folder or files.FOLDER
    description = {
        "format": FORMAT,
        "version": VERSION,
        "name": name,
        "package": lca_lightning.__version__,
        "licence": LICENCE,
        "limits": list(LIMITS),
        "weights": _weights(model, content, half, rounding_psnr),
        "photos": dict(photos),
        "lca": _block(model),
        **facts,
    }
    text = json.dumps(description, indent=1, allow_nan=False) + "\n"
    written = write_atomically(folder / f"{name}.safetensors", lambda place: place.write_bytes(content))
    return written, write_text(folder / f"{name}.json", text)


def stored_tensors(model: AvatarModel, half: bool = True) -> dict[str, Tensor]:
    """What goes into the file: trained weights, buffers, and the frozen encoder.

    Args:
        model: The trained model.
        half: Round trained weights to float16.

    Returns:
        Tensors by name.

    Raises:
        CheckpointError: A weight is not finite, or float16 cannot hold it.
    """
    trained = {name for name, _ in model.named_parameters()}
    tensors = {}
    for name, tensor in model.state_dict().items():
        kept = tensor.detach().cpu()
        tensors[f"{MODEL}{name}"] = (kept.half() if half and name in trained else kept).contiguous()
    encoder = model.backbone.network.state_dict()
    tensors |= {f"{BACKBONE}{name}": tensor.detach().cpu().contiguous() for name, tensor in encoder.items()}
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{name} holds values that are not finite; package another checkpoint.")
    return tensors


def _weights(model: AvatarModel, content: bytes, half: bool, rounding_psnr: float) -> dict[str, Any]:
    """What is to be known of the file of weights."""
    weights: dict[str, Any] = {
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "precision": "float16" if half else "float32",
        "parameters": model.parameter_counts()["trained"],
        "frozen_parameters": model.backbone.parameter_count,
    }
    if half and math.isfinite(rounding_psnr):
        weights["rounding_psnr"] = round(rounding_psnr, 1)
    return weights


def _block(model: AvatarModel) -> dict[str, Any]:
    """The block of a checkpoint, without the run's configuration: that may name folders of a machine."""
    config = replace(model.config, compile=False, gradient_checkpointing=False, rig_asset=None)
    block = make_block(
        rig=config.rig, anchors=config.anchors, backbone=config.backbone, model=asdict(config), config=""
    )
    del block["config"]
    return block
