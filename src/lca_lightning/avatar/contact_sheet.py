"""One picture that shows many, with labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from lca_lightning.datasets.pictures import to_uint8, write_png
from lca_lightning.errors import DataError

_GAP, _LABEL_HEIGHT = 8, 22
_PAPER, _INK = (255, 255, 255), (40, 40, 40)


def contact_sheet(
    images: Sequence[Tensor | np.ndarray],
    path: str | Path,
    columns: int = 4,
    labels: Sequence[str] | None = None,
    cell_height: int = 320,
) -> Path:
    """Write pictures side by side as one PNG.

    Args:
        images: Float sRGB in [0, 1] ``(3, H, W)`` or uint8 ``(H, W, 3)``; sizes may differ.
        path: The file, written atomically.
        columns: Pictures per row.
        labels: A line of text under each picture.
        cell_height: Height of every picture on the sheet in pixels.

    Returns:
        The path.

    Raises:
        DataError: No pictures, labels of another count, or the file cannot be written.
    """
    if not images or (labels is not None and len(labels) != len(images)) or columns < 1:
        raise DataError(f"A contact sheet needs pictures and one label each, got {len(images)} pictures.")
    cells = [_cell(image, cell_height) for image in images]
    width = max(cell.width for cell in cells)
    label_height = _LABEL_HEIGHT if labels is not None else 0
    columns = min(columns, len(cells))
    rows = -(-len(cells) // columns)
    pitch_x, pitch_y = width + _GAP, cell_height + label_height + _GAP
    sheet = Image.new("RGB", (columns * pitch_x + _GAP, rows * pitch_y + _GAP), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    for index, cell in enumerate(cells):
        left = _GAP + index % columns * pitch_x
        top = _GAP + index // columns * pitch_y
        sheet.paste(cell, (left + (width - cell.width) // 2, top))
        if labels is not None:
            middle = (left + width // 2, top + cell_height + label_height // 2)
            draw.text(middle, labels[index], _INK, font, anchor="mm")
    return write_png(sheet, path)


def _cell(image: Tensor | np.ndarray, height: int) -> Image.Image:
    picture = Image.fromarray(to_uint8(image))
    width = max(1, round(picture.width * height / picture.height))
    return picture.resize((width, height), Image.Resampling.LANCZOS)
