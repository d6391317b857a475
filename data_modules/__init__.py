"""LightningDataModules: data sets of our layout, mixtures, and the base of other people's."""

from __future__ import annotations

from lca_data_modules.base import LCADataModule, NothingToEvaluateError
from lca_data_modules.captures import CaptureDataModule
from lca_data_modules.checking import check_data_module, failed_rules
from lca_data_modules.in_the_wild import InTheWildDataModule
from lca_data_modules.light_stage import LightStageDataModule
from lca_data_modules.mixture import MixtureDataModule
from lca_data_modules.studio import StudioDataModule

DATA_MODULES: dict[str, type[LCADataModule]] = {
    kind.__name__: kind
    for kind in (InTheWildDataModule, StudioDataModule, LightStageDataModule, MixtureDataModule)
}

__all__ = [
    "DATA_MODULES",
    "CaptureDataModule",
    "InTheWildDataModule",
    "LCADataModule",
    "LightStageDataModule",
    "MixtureDataModule",
    "NothingToEvaluateError",
    "StudioDataModule",
    "check_data_module",
    "failed_rules",
]
