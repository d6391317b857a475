"""Pictures of two folders, matched by name, as frames to score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from lca_lightning.errors import DataError
from lca_lightning.metrics.protocol import ScoredFrames

SUFFIXES = (".png", ".jpg", ".jpeg")
WHOLE = "all"
"""Subject of pictures that lie in no folder of their own."""
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_SHOWN = 5  # names in a message
_BROKEN = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)  # what Pillow raises for bad files


@dataclass(frozen=True)
class PicturePair:
    """A prediction and the truth.

    Args:
        name: Path below the folders, without its ending.
        predicted: File.
        image: File.
        mask: File; None where the truth's own opacity, or else the whole picture, is the mask.
    """

    name: str
    predicted: Path
    image: Path
    mask: Path | None

    @property
    def subject(self) -> str:
        """The first folder of the name."""
        return self.name.split("/")[0] if "/" in self.name else WHOLE

    def read(self) -> ScoredFrames:
        """Read the pictures.

        Predictions with opacity are put over white; masks of 0 and 1 are understood as well as of 0 and 255.

        Returns:
            One frame, ``B = T = 1``.

        Raises:
            DataError: A file is no picture.
        """
        predicted_4HW, image_4HW = _read_picture(self.predicted), _read_picture(self.image)
        alpha_1HW, mask_1HW = predicted_4HW[3:], image_4HW[3:]
        if self.mask is not None:
            mask_1HW = _read_mask(self.mask)
        opaque = bool((alpha_1HW == 1).all())
        over_white = predicted_4HW[:3] * alpha_1HW + (1 - alpha_1HW)
        return ScoredFrames(
            predicted_BT3HW=over_white[None, None],
            alphas_BT1HW=None if opaque else alpha_1HW[None, None],
            images_BT3HW=image_4HW[None, None, :3],
            masks_BT1HW=mask_1HW[None, None],
            subjects=(self.subject,),
            frames=((self.name,),),
        )


def match_folders(
    predicted: Path, images: Path, masks: Path | None = None, allow_missing: bool = False
) -> tuple[list[PicturePair], list[str]]:
    """Pair the pictures of folders by their path below them; endings may differ.

    Args:
        predicted: Folder of predictions.
        images: Folder of true pictures.
        masks: Folder of masks.
        allow_missing: Leave out what lacks a counterpart.

    Returns:
        The pairs in order of names, and the names that lack a counterpart.

    Raises:
        DataError: A folder holds no picture, a name lacks a counterpart, or nothing is common to all folders.
    """
    folders = {"prediction": predicted, "true picture": images}
    if masks is not None:
        folders["mask"] = masks
    found = {what: _pictures(folder) for what, folder in folders.items()}
    common = sorted(set.intersection(*(set(files) for files in found.values())))
    every = sorted(set().union(*found.values()))
    missing = [name for name in every if any(name not in files for files in found.values())]
    if missing and not (allow_missing and common):
        lacking = [
            f"{name} has no {next(what for what, files in found.items() if name not in files)}"
            for name in missing[:_SHOWN]
        ]
        more = f", and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        way_out = "add them or pass --allow-missing" if common else "names must agree below the folders"
        raise DataError(f"Pictures lack a counterpart ({'; '.join(lacking)}{more}); {way_out}.")
    first, second, *third = found.values()
    pairs = [
        PicturePair(name, first[name], second[name], third[0][name] if third else None) for name in common
    ]
    return pairs, missing


def check_sizes(pairs: Sequence[PicturePair], advance: Callable[[], object] = lambda: None) -> bool:
    """Refuse pictures of different sizes before anything is scored; reads only the heads of the files.

    Args:
        pairs: From :func:`match_folders`.
        advance: Called after each pair.

    Returns:
        Whether every pair has a mask, of its own or as the opacity of the true picture.

    Raises:
        DataError: Names the files and their sizes, or a file that is no picture.
    """
    wrong, masked = [], True
    for pair in pairs:
        sizes = {path: _size(path) for path in (pair.image, pair.predicted, pair.mask) if path is not None}
        wanted = sizes[pair.image][:2]
        wrong += [
            f"{path} is {size[0]} x {size[1]}, {pair.image} {wanted[0]} x {wanted[1]}"
            for path, size in sizes.items()
            if size[:2] != wanted
        ]
        masked = masked and (pair.mask is not None or sizes[pair.image][2])
        advance()
    if wrong:
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise DataError(
            f"Pictures differ in size ({'; '.join(wrong[:_SHOWN])}{more}); scores are only defined pixel by "
            "pixel, so render the predictions at the size of the true pictures."
        )
    return masked


def _pictures(folder: Path) -> dict[str, Path]:
    """Pictures below a folder by their path without ending."""
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}; name one that holds PNG or JPG files.")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith("."):
            name = path.relative_to(folder).with_suffix("").as_posix()
            if name in found:
                raise DataError(f"{path} and {found[name].name} have the same name; keep one of them.")
            found[name] = path
    if not found:
        raise DataError(f"{folder} holds no PNG or JPG file; name the folder above the pictures.")
    return found


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} cannot be read as a picture ({error}); replace the file or leave it out.")


def _size(path: Path) -> tuple[int, int, bool]:
    """Width, height as displayed, and whether there is an opacity that says something."""
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(0x0112) in _TURNED
            width, height = image.size
            opacity = image.has_transparency_data and bool(
                np.asarray(image.convert("RGBA"))[..., 3].min() < 255
            )
    except _BROKEN as error:
        raise _unreadable(path, error) from error
    return (height, width, opacity) if turned else (width, height, opacity)


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            upright.load()
            return upright
    except _BROKEN as error:
        raise _unreadable(path, error) from error


def _read_picture(path: Path) -> Tensor:
    """Colours and opacity in [0, 1], ``(4, H, W)``."""
    image = _open(path)
    if image.mode.startswith("I"):  # 16 bits, grey
        grey_HW = np.asarray(image, np.float32) / 65535
        pixels_HW4 = np.stack([grey_HW, grey_HW, grey_HW, np.ones_like(grey_HW)], -1)
    else:
        pixels_HW4 = np.asarray(image.convert("RGBA"), np.float32) / 255
    return torch.from_numpy(np.ascontiguousarray(pixels_HW4.transpose(2, 0, 1)))


def _read_mask(path: Path) -> Tensor:
    """A mask in [0, 1], ``(1, H, W)``: the opacity where it varies, else the brightness."""
    image = _open(path)
    if image.mode == "P" and not image.has_transparency_data:
        values_HW = np.asarray(image, np.float32)  # labels: 0 is the background
        return torch.from_numpy((values_HW > 0).astype(np.float32))[None]
    if image.mode.startswith("I"):
        values_HW = np.asarray(image, np.float32)
        highest = 65535.0
    else:
        rgba_HW4 = np.asarray(image.convert("RGBA"), np.float32)
        highest, varies = 255.0, bool(np.ptp(rgba_HW4[..., 3]))
        values_HW = rgba_HW4[..., 3] if varies else np.asarray(image.convert("L"), np.float32)
    if values_HW.max() <= 1:
        highest = 1.0
    return torch.from_numpy(values_HW / np.float32(highest))[None]
