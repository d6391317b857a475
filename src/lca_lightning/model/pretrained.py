"""Vision transformers of the ``transformers`` library, taken only with all their weights."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from torch import nn

from lca_lightning.errors import CheckpointError, ConfigError, MissingAssetError
from lca_lightning.model.patch_grid import check_patch_grid

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]
IMAGENET: Normalisation = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
UNUSED = ("pooler", "head.", "embeddings.mask_token")  # the last hidden state does not depend on these
logger = logging.getLogger(__name__)


def load_pretrained(name_or_folder: str, local_only: bool = True) -> tuple[nn.Module, Normalisation]:
    """Load the image part of a ``transformers`` model.

    Args:
        name_or_folder: Folder with ``config.json`` and weights, or a repository id.
        local_only: Whether to stay off the network.

    Returns:
        A network whose last hidden state ends with the patch tokens, and the normalisation of its pictures.

    Raises:
        MissingAssetError: Files are missing.
        CheckpointError: The weights are damaged or do not belong to the configuration.
        ConfigError: The model is no vision transformer with a grid of patch tokens.
    """
    model, missing = _from_pretrained(name_or_folder, local_only)
    part, prefix = model, ""
    if isinstance(
        getattr(model, "vision_model", None), nn.Module
    ):  # CLIP and SigLIP: leave the text part out
        part, prefix = model.vision_model, "vision_model."
    needed = (key.removeprefix(prefix) for key in missing if key.startswith(prefix))
    absent = sorted(key for key in needed if not key.startswith(UNUSED))
    if absent:
        raise CheckpointError(
            f"The weights of '{name_or_folder}' do not belong to its config.json: {len(absent)} tensors such "
            f"as {absent[0]} are missing and would stay random; download them again."
        )
    check_patch_grid(part, name_or_folder)
    return part, _normalisation(name_or_folder, local_only)


def _from_pretrained(name_or_folder: str, local_only: bool) -> tuple[Any, set[str]]:
    """The model and the names of the weights that its files do not hold."""
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModel

    try:
        config = AutoConfig.from_pretrained(name_or_folder, local_files_only=local_only)
    except OSError as error:
        raise _unreadable(name_or_folder, error) from error
    except (ValueError, KeyError) as error:
        raise ConfigError(
            f"The transformers library here does not know the model '{name_or_folder}' ({_reason(error)}); "
            "update transformers, or choose another backbone."
        ) from error
    try:
        model, report = AutoModel.from_pretrained(
            name_or_folder, config=config, local_files_only=local_only, output_loading_info=True
        )
    except OSError as error:
        raise _unreadable(name_or_folder, error) from error
    except ValueError as error:
        raise ConfigError(f"Backbone '{name_or_folder}' is no vision model ({_reason(error)}).") from error
    except (RuntimeError, SafetensorError, EOFError) as error:
        raise CheckpointError(
            f"The weights of '{name_or_folder}' are damaged or do not fit its config.json "
            f"({_reason(error)}); download them again."
        ) from error
    return model, {str(key) for key in report["missing_keys"]}


def _normalisation(name_or_folder: str, local_only: bool) -> Normalisation:
    """Mean and deviation from ``preprocessor_config.json``; ImageNet's where a model has no such file."""
    from transformers.image_processing_base import ImageProcessingMixin

    try:
        settings, _ = ImageProcessingMixin.get_image_processor_dict(
            name_or_folder, local_files_only=local_only
        )
    except OSError:
        logger.warning(
            "%s has no preprocessor_config.json here: pictures get ImageNet's mean.", name_or_folder
        )
        return IMAGENET
    mean, std = settings.get("image_mean"), settings.get("image_std")
    if mean is None or std is None:
        return IMAGENET
    if not all(isinstance(values, list) and len(values) == 3 for values in (mean, std)) or min(std) <= 0:
        raise CheckpointError(
            f"preprocessor_config.json of '{name_or_folder}' must give image_mean and image_std as three "
            f"numbers each, the latter positive, got {mean} and {std}; download it again."
        )
    return tuple(map(float, mean)), tuple(map(float, std))


def _unreadable(name_or_folder: str, error: OSError) -> MissingAssetError:
    """Of a folder with the way out; of an id only the reason, to which the caller adds where it looked."""
    if not Path(name_or_folder).is_dir():
        return MissingAssetError(_reason(error))
    return MissingAssetError(
        f"The folder {name_or_folder} holds no whole model of the transformers library ({_reason(error)}); "
        "download the whole repository into it again."
    )


def _reason(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
