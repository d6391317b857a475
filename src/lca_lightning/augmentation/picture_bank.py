"""Pictures of a folder, kept small and square on the device, to stand behind people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from lca_lightning.errors import DataError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}
SIDE = 384


class PictureBank:
    """Reads pictures once, in the order of their names.

    Args:
        folder: Searched with its subfolders.
        keep: Most files that are read, spread evenly over all.

    Raises:
        DataError: The folder does not exist, holds no picture, or one cannot be read.
    """

    def __init__(self, folder: str, keep: int) -> None:
        root = Path(folder)
        if not root.is_dir():
            raise DataError(
                f"There is no folder {folder}; model.augmentation.background.pictures must name one."
            )
        paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        if not paths:
            raise DataError(
                f"{folder} holds no PNG, JPEG or WebP file for model.augmentation.background.pictures."
            )
        chosen = [
            paths[index * len(paths) // min(keep, len(paths))] for index in range(min(keep, len(paths)))
        ]
        bar = tqdm(chosen, desc="backgrounds", unit="picture", delay=2, leave=False)
        self._pictures = torch.stack([_read(path) for path in bar])

    def __len__(self) -> int:
        return len(self._pictures)

    def on(self, device: torch.device) -> Tensor:
        """All pictures, uint8 ``(P, 3, 384, 384)``; they move once and stay."""
        if self._pictures.device != device:
            self._pictures = self._pictures.to(device)
        return self._pictures


def _read(path: Path) -> Tensor:
    """The middle square of a picture."""
    try:
        with Image.open(path) as opened:
            opened.draft("RGB", (SIDE, SIDE))  # JPEG files are decoded at a fraction of their size
            picture = ImageOps.fit(ImageOps.exif_transpose(opened).convert("RGB"), (SIDE, SIDE))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"The background picture {path} cannot be read ({error}); remove it.") from error
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)
