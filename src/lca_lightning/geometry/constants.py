"""Small constant tensors that stay on their device, so that a frame copies nothing from the host."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor


@cache
def device_constant(values: tuple[Any, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A constant tensor, made once for each device; do not write to it.

    Args:
        values: Nested tuples of numbers.
        dtype: Of the tensor.
        device: Where it stays.

    Returns:
        An ordinary tensor, also when the first caller runs in inference mode.
    """
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)
