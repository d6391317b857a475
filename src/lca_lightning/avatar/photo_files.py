"""Which photos a user means: files, folders of photos, or both."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from pathlib import Path

from lca_lightning.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
PHONE_SUFFIXES = (".heic", ".heif")
"""Read only where pillow can: with the package pillow-heif."""
_KINDS = "jpg, jpeg, png, webp, and heic with the package pillow-heif"


def list_photos(places: Iterable[str | Path]) -> list[Path]:
    """Files as they are, and the photos directly inside folders in the order of their names.

    Args:
        places: Files and folders.

    Returns:
        The photos; files that do not exist are left to whoever opens them.

    Raises:
        DataError: A folder holds no photo, or photos that pillow cannot read here; one sentence.
    """
    photos: list[Path] = []
    for place in map(Path, places):
        photos += _photos_in(place) if place.is_dir() else [place]
    phone = [photo for photo in photos if photo.suffix.lower() in PHONE_SUFFIXES and photo.is_file()]
    if phone and not _can_read_phone_photos():
        raise DataError(
            f"{phone[0]} is a HEIC photo and pillow cannot read it here; `pip install pillow-heif`, or "
            "convert it to JPEG."
        )
    return photos


def _photos_in(folder: Path) -> list[Path]:
    try:
        files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    except OSError as error:
        raise DataError(
            f"The folder {folder} cannot be read ({error.strerror}); check its rights."
        ) from error
    found = [path for path in files if path.suffix.lower() in (*SUFFIXES, *PHONE_SUFFIXES)]
    if not found:
        raise DataError(f"The folder {folder} holds no photos ({_KINDS}); name the right folder, or files.")
    return sorted(found, key=lambda path: _natural(path.name))


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Numbers in names count as numbers: ``me_2`` comes before ``me_10``."""
    pieces = re.split(r"(\d+)", name.lower())
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces], name


def _can_read_phone_photos() -> bool:
    from PIL import Image

    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError:
        Image.init()
    return ".heic" in Image.registered_extensions()
