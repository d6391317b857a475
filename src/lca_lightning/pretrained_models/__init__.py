"""Weights that ship with the package: one safetensors file and one JSON description a model."""

from __future__ import annotations

from lca_lightning.pretrained_models.files import (
    DEFAULT,
    is_shipped,
    model_names,
    read_description,
    read_model,
    stored_backbone,
)

__all__ = ["DEFAULT", "is_shipped", "model_names", "read_description", "read_model", "stored_backbone"]
