"""The on-disk layout, version 1: what producers and consumers of data sets need (``docs/data_format.md``)."""

from __future__ import annotations

from lca_lightning.datasets.reader import Dataset, Sequence
from lca_lightning.datasets.records import (
    FORMAT_NAME,
    FORMAT_VERSION,
    KINDS,
    SPLITS,
    CameraRecord,
    Signals,
    read_dataset_header,
    write_dataset_header,
)
from lca_lightning.datasets.writer import SequenceWriter, mask_box, sequence_exists

__all__ = [
    "FORMAT_NAME",
    "FORMAT_VERSION",
    "KINDS",
    "SPLITS",
    "CameraRecord",
    "Dataset",
    "Sequence",
    "SequenceWriter",
    "Signals",
    "mask_box",
    "read_dataset_header",
    "sequence_exists",
    "write_dataset_header",
]
