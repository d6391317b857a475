"""Pictures between tensors and PNG files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lca_lightning.writing import write_atomically


def to_uint8(image: Tensor | np.ndarray) -> np.ndarray:
    """Any picture as uint8 ``(H, W, 3)``; float tensors ``([1,] 3, H, W)`` are sRGB in [0, 1]."""
    if isinstance(image, np.ndarray):
        return image
    tensor = image.detach().squeeze(0) if image.dim() == 4 else image.detach()
    pixels = tensor.float().permute(1, 2, 0).clamp(0, 1).mul(255).round().to(torch.uint8)
    return np.asarray(pixels.cpu().numpy())


def write_png(image: Image.Image | Tensor | np.ndarray, path: str | Path) -> Path:
    """Write a PNG under a temporary name, then rename it.

    Args:
        image: A Pillow image, or what `to_uint8` takes.
        path: The file; its folder is made.

    Returns:
        The path.

    Raises:
        DataError: The file cannot be written.
    """
    picture = image if isinstance(image, Image.Image) else Image.fromarray(to_uint8(image))
    return write_atomically(path, lambda temporary: picture.save(temporary, format="PNG"))
