"""LightningDataModules over data sets of our layout."""

from __future__ import annotations

from lca_data_modules.in_the_wild import InTheWildDataModule
from lca_data_modules.studio import StudioDataModule

__all__ = ["InTheWildDataModule", "StudioDataModule"]
