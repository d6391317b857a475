"""Norms of the gradients of a model's parts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm


def gradient_norms(model: nn.Module) -> dict[str, Tensor]:
    """Measure the gradients of each part of a model and of the whole, without waiting for the device.

    Args:
        model: Its children are the parts; parts without a gradient are left out.

    Returns:
        Euclidean norms by the children's names, and ``total``, as scalars on the device.
    """
    norms = {name: _norm(part) for name, part in model.named_children() if _gradients(part)}
    if not norms:
        return {"total": torch.zeros((), device=next(model.parameters()).device)}
    return {**norms, "total": torch.linalg.vector_norm(torch.stack(list(norms.values())))}


def _gradients(part: nn.Module) -> list[Tensor]:
    return [parameter.grad for parameter in part.parameters() if parameter.grad is not None]


def _norm(part: nn.Module) -> Tensor:
    norm: Any = get_total_norm(_gradients(part))
    return (norm.full_tensor() if hasattr(norm, "full_tensor") else norm).float()  # sharded gradients
