"""Looking at data sets: what is wrong with one, and what is in it."""

from __future__ import annotations

from lca_lightning.inspection.dataset_check import check_dataset
from lca_lightning.inspection.findings import Finding
from lca_lightning.inspection.results import CameraResult, CheckOptions, DatasetResult, SequenceResult

__all__ = ["CameraResult", "CheckOptions", "DatasetResult", "Finding", "SequenceResult", "check_dataset"]
