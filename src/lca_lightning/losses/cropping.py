"""Square crops around a person, resized to one size, differentiably."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from lca_lightning.errors import check_shape

Box = tuple[int, int, int]


def mask_box(mask_HW: Tensor, margin: float = 0.1) -> Box:
    """Square around a binary mask with a margin; it may reach beyond the image.

    Args:
        mask_HW: Mask in [0, 1], binarised at 0.5.
        margin: Added to the larger side of the mask's box, as a fraction of it.

    Returns:
        Left and top in pixels and the side; the largest centred square when the mask is empty.
    """
    height, width = mask_HW.shape
    rows, columns = torch.nonzero(mask_HW > 0.5, as_tuple=True)
    if not len(rows):
        side = min(height, width)
        return (width - side) // 2, (height - side) // 2, side
    top, bottom = int(rows.min()), int(rows.max()) + 1
    left, right = int(columns.min()), int(columns.max()) + 1
    side = math.ceil(max(bottom - top, right - left) * (1 + margin))
    return (left + right - side) // 2, (top + bottom - side) // 2, side


def crop_squares(images_n3HW: Tensor, boxes: list[Box], size: int, background_n3: Tensor) -> Tensor:
    """Cut one square from each image and resize it with antialiasing.

    Args:
        images_n3HW: Images over their background colour.
        boxes: Left, top and side of each square, pixels.
        size: Side of the result, pixels.
        background_n3: Colour outside the image.

    Returns:
        Crops ``(n, 3, size, size)``.
    """
    check_shape("background", background_n3, (len(images_n3HW), 3))
    height, width = images_n3HW.shape[-2:]
    crops = []
    for image, (left, top, side), color in zip(images_n3HW, boxes, background_n3, strict=True):
        padding = (-left, left + side - width, -top, top + side - height)  # negative values cut
        square = functional.pad(image - color[:, None, None], padding) + color[:, None, None]
        crops.append(
            functional.interpolate(
                square[None], (size, size), mode="bilinear", antialias=True, align_corners=False
            )
        )
    return torch.cat(crops)
