"""A data module of its own for lca-lightning."""

from __future__ import annotations

from lca_data_example.photo_folder import PhotoFolderDataModule

__all__ = ["PhotoFolderDataModule"]
