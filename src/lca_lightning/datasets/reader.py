"""Reading data sets of layout version 1: plain folders here, packs in :mod:`.packed`, one interface."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lca_lightning.datasets.index import SequenceIndex, folder_index
from lca_lightning.datasets.records import read_dataset_header
from lca_lightning.datasets.sequence import Sequence

if TYPE_CHECKING:
    from lca_lightning.datasets.packed import PackedDataset

__all__ = ["Dataset", "Sequence", "open_dataset"]

OPEN_SEQUENCES = 256  # signals of a minute at 30 frames per second take about a megabyte
OPEN_PICTURES = 1_000_000  # of all open sequences: each has boxes and tables of some hundred bytes


class SequenceSource:
    """What plain folders and packs share: rows of the index, and sequences that are opened when needed.

    Data modules work on ``index`` (numpy columns) and ``positions``, and open what a sample needs by
    ``sequence(position)``: start-up and memory then do not grow with the pictures. For training,
    :class:`.order.SampleOrder` over ``index.groups_N[positions]`` says which position comes next, and
    ``prefetch`` names the groups that come after.
    """

    index: SequenceIndex
    header: dict[str, Any]
    root: Any  # folder or address
    window_groups: int | None = None  # chunks that :class:`.order.SampleOrder` should shuffle together
    largest_open = OPEN_SEQUENCES
    most_pictures = OPEN_PICTURES  # frames times cameras of what is open

    def __init__(self) -> None:
        self._open: OrderedDict[int, Sequence] = OrderedDict()
        self._open_pictures = 0

    def __len__(self) -> int:
        return len(self.index)

    def __getstate__(self) -> dict[str, Any]:
        """A copy in another process opens its own sequences."""
        return {**self.__dict__, "_open": OrderedDict(), "_open_pictures": 0}

    @property
    def kind(self) -> str:
        """Kind of capture: ``"wild"``, ``"studio"``, ``"light_stage"`` or ``"stylised"``."""
        return str(self.header["kind"])

    @property
    def rig(self) -> str:
        """Name of the rig whose values the sequences carry."""
        return str(self.header["rig"])

    def positions(self, split: str | None = None) -> np.ndarray:
        """Rows of the index that belong to a split, ascending; all for None."""
        return self.index.positions(split)

    def sequence(self, position: int) -> Sequence:
        """Open a sequence, or give the open one; only the last few hundred, or of long ones few, stay open.

        Args:
            position: Row of the index.

        Raises:
            DataError: The sequence cannot be read.
        """
        position = int(position)
        if position not in self._open:
            self._open[position] = self._read(position)
            self._open_pictures += self._pictures(position)
            while len(self._open) > 1 and (
                len(self._open) > self.largest_open or self._open_pictures > self.most_pictures
            ):
                self._open_pictures -= self._pictures(self._open.popitem(last=False)[0])
        self._open.move_to_end(position)
        return self._open[position]

    def sequences(self, split: str | None = None) -> list[Sequence]:
        """Open all sequences of a split, in order of their ids: for tools and evaluation.

        Args:
            split: ``"train"``, ``"val"``, ``"test"`` or None for all.

        Returns:
            The sequences; empty when the split has none.
        """
        return [self.sequence(int(position)) for position in self.positions(split)]

    def prefetch(self, groups: list[int]) -> None:
        """Begin to fetch groups that will be needed next; nothing to do on a disk."""

    def _pictures(self, position: int) -> int:
        """Frames times cameras of a sequence."""
        return int(self.index.frames_N[position]) * int(self.index.cameras_N[position])

    def _read(self, position: int) -> Sequence:
        raise NotImplementedError


class Dataset(SequenceSource):
    """A folder of sequences.

    Args:
        root: The folder that holds ``dataset.json``.

    Raises:
        DataError: The folder is missing (says how to get data), of another format or version, or empty.
    """

    def __init__(self, root: Path | str) -> None:
        super().__init__()
        self.root = Path(root)
        self.header = read_dataset_header(self.root)
        self.index = folder_index(self.root)

    def _read(self, position: int) -> Sequence:
        return Sequence(self.root / "sequences" / str(self.index.ids_N[position]))


def open_dataset(root: Path | str) -> Dataset | PackedDataset:
    """Open a plain folder, a packed folder or a pack in a bucket.

    Args:
        root: Folder, or address such as ``s3://bucket/prefix``.

    Returns:
        The data set.

    Raises:
        DataError: There is no data set, or the bucket does not answer in time.
        MissingAssetError: A bucket is named and the extra ``streaming`` is not installed.
    """
    from lca_lightning.datasets.packed import PackedDataset, is_pack

    return PackedDataset(str(root)) if is_pack(str(root)) else Dataset(root)
