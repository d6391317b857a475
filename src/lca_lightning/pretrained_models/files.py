"""Reading the models that ship with the package; nothing in them is executed and nothing is downloaded.

``NAME.safetensors`` holds the trained parts under ``model.`` and the frozen image encoder under
``backbone.``: the very one it was trained against, whatever later versions of the package or of torch give.
``NAME.json`` says what the model is, how it saw photos, what it was trained on, its scores and its licence.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lca_lightning.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

    from lca_lightning.model.backbone import Backbone, Precision

FORMAT, VERSION = "lca-pretrained", 1
DEFAULT = "tiny"
MODEL, BACKBONE = "model.", "backbone."
FOLDER = Path(__file__).parent
_WAY_OUT = "install lca-lightning again, or give --ckpt_path a checkpoint of `lca fit`"


@dataclass(frozen=True)
class ShippedModel:
    """A model of the package.

    Args:
        description: Content of its JSON file.
        checkpoint: What a checkpoint of `lca fit` holds of it: the block ``lca`` and ``state_dict``, float32.
        backbone: Weights of its frozen image encoder.
    """

    description: Mapping[str, Any]
    checkpoint: Mapping[str, Any]
    backbone: Mapping[str, Tensor]


def model_names(folder: Path | None = None) -> tuple[str, ...]:
    """Names of the models that are complete enough to be listed: those with a description."""
    return tuple(sorted(path.stem for path in (folder or FOLDER).glob("*.json")))


def is_shipped(name: object, folder: Path | None = None) -> bool:
    """Whether this is the name of a shipped model, not a path: the default name always is."""
    return isinstance(name, str) and (name == DEFAULT or name in model_names(folder))


def read_description(name: str = DEFAULT, folder: Path | None = None) -> dict[str, Any]:
    """What a shipped model is.

    Args:
        name: One of `model_names`.
        folder: Where the models are; the package's own when None.

    Returns:
        The content of its JSON file.

    Raises:
        CheckpointError: Missing, damaged, or of another version; one sentence.
    """
    path = (folder or FOLDER) / f"{name}.json"
    if not path.is_file():
        raise CheckpointError(
            f"This installation has no model {name!r} ({path.name} is missing in {path.parent}); {_WAY_OUT}."
        )
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged; {_WAY_OUT}.") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise CheckpointError(f"{path} does not describe a model of lca-lightning; {_WAY_OUT}.")
    if description.get("version") != VERSION:
        raise CheckpointError(
            f"{path} has version {description.get('version')}, this lca-lightning reads version {VERSION}; "
            f"{_WAY_OUT}."
        )
    return description


def read_model(name: str = DEFAULT, folder: Path | None = None) -> ShippedModel:
    """Read a shipped model and check that its weights are the ones that were packaged.

    Args:
        name: One of `model_names`.
        folder: Where the models are; the package's own when None.

    Returns:
        The model, its weights in float32.

    Raises:
        CheckpointError: A file is missing or damaged, or of another version; one sentence.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    description = read_description(name, folder)
    path = (folder or FOLDER) / f"{name}.safetensors"
    if not path.is_file():
        raise CheckpointError(
            f"The weights of the model {name!r} are missing in this installation ({path}); {_WAY_OUT}."
        )
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != description["weights"]["sha256"]:
            raise CheckpointError(f"{path} is damaged (its checksum differs); {_WAY_OUT}.")
        stored = load(content)
        block = dict(description["lca"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} or its description is damaged; {_WAY_OUT}.") from error
    tensors = {key: value.float() if value.dtype == torch.float16 else value for key, value in stored.items()}
    return ShippedModel(
        description,
        {"lca": block, "state_dict": {key: tensors[key] for key in tensors if key.startswith(MODEL)}},
        {key.removeprefix(BACKBONE): tensors[key] for key in tensors if key.startswith(BACKBONE)},
    )


def stored_backbone(
    name: str, weights: Mapping[str, Tensor], precision: Precision = "auto", chunk: int = 4
) -> Backbone:
    """The frozen image encoder that a shipped model was trained against, bit for bit.

    Args:
        name: One of the bundled encoders, as in ``model.avatar.backbone``.
        weights: `ShippedModel.backbone`.
        precision: As in ``model.avatar.backbone_precision``.
        chunk: Images encoded at a time.

    Returns:
        The encoder, on the CPU.

    Raises:
        CheckpointError: The installed ``transformers`` builds another network.
    """
    from lca_lightning.model.backbone import Backbone
    from lca_lightning.model.bundled_encoders import BUNDLED, untrained_network

    network = untrained_network(BUNDLED[name])
    try:
        network.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise CheckpointError(
            "The image encoder of the shipped model does not fit the one that the installed transformers "
            "builds; install a version of transformers that pyproject.toml allows."
        ) from error
    return Backbone(network, name, precision, chunk)
