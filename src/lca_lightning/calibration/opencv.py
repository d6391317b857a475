"""OpenCV, which comes with two extras; without it, one clear sentence says how to get it."""

from __future__ import annotations

from lca_lightning.errors import MissingAssetError

try:
    import cv2 as cv2
except ImportError as error:
    raise MissingAssetError(
        "Working on pictures of people needs OpenCV, which is not installed: "
        "pip install 'lca-lightning[mediapipe]' (or [importers])."
    ) from error

__all__ = ["cv2"]
