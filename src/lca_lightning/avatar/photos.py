"""Reading the photos a user has: any size, turned upright as the camera says."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from lca_lightning.errors import DataError

_SMALLEST = 64  # pixels; no person can be found in less
_LARGEST = 2560  # pixels; larger photos add time and no detail that the model sees


def read_photo(path: str | Path) -> np.ndarray:
    """Read a photo upright, at most 2560 pixels large; transparency becomes white.

    Args:
        path: JPEG, PNG, WebP or another format that Pillow reads.

    Returns:
        uint8 sRGB, ``(H, W, 3)``.

    Raises:
        DataError: Missing, empty, damaged, no picture, or too small.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"There is no photo {path}.")
    if path.stat().st_size == 0:
        raise DataError(f"The photo {path} is empty.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                picture = ImageOps.exif_transpose(opened).convert("RGBA")
    except (
        UnidentifiedImageError,
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombWarning,
    ) as error:
        raise DataError(
            f"The photo {path} cannot be read as a picture; save it again as JPEG or PNG."
        ) from error
    picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    if min(picture.size) < _SMALLEST:
        raise DataError(
            f"The photo {path} has only {picture.width}x{picture.height} pixels; give a larger one."
        )
    picture.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS)
    return np.asarray(picture)
