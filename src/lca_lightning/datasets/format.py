"""The on-disk layout, version 1: what producers and consumers of data sets need (``docs/data_format.md``)."""

from __future__ import annotations

from lca_lightning.datasets.reader import Dataset, Sequence
from lca_lightning.datasets.records import (
    COLORS,
    CONSENTS,
    FORMAT_NAME,
    FORMAT_VERSION,
    KINDS,
    LAYERS,
    SPLITS,
    CameraRecord,
    read_dataset_header,
    write_dataset_header,
)
from lca_lightning.datasets.sharpness import mask_box
from lca_lightning.datasets.signals import Signals, StageLights
from lca_lightning.datasets.writer import SequenceWriter, sequence_exists

__all__ = [
    "COLORS",
    "CONSENTS",
    "FORMAT_NAME",
    "FORMAT_VERSION",
    "KINDS",
    "LAYERS",
    "SPLITS",
    "CameraRecord",
    "Dataset",
    "Sequence",
    "SequenceWriter",
    "Signals",
    "StageLights",
    "mask_box",
    "read_dataset_header",
    "sequence_exists",
    "write_dataset_header",
]
