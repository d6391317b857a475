"""Where the sequences of a data set are: folders, or items of a pack."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lca_lightning.datasets.files import FolderFiles, SequenceFiles
from lca_lightning.datasets.migration import sequence_folders

if TYPE_CHECKING:
    from lca_lightning.datasets.packed import PackedDataset


@dataclass(frozen=True)
class SequencePlace:
    """One sequence, for another process to open.

    Args:
        root: Of the data set, a folder or an address.
        name: Id of the sequence.
        position: Row of the pack's index; None in a plain folder.
    """

    root: str
    name: str
    position: int | None = None

    def open(self) -> SequenceFiles:
        """Its files.

        Raises:
            DataError: An item of a pack cannot be read.
        """
        if self.position is None:
            return FolderFiles(Path(self.root) / "sequences" / self.name)
        return _pack(self.root).sequence(self.position).files


@lru_cache(maxsize=1)
def _pack(root: str) -> PackedDataset:
    """The pack, opened once per process."""
    from lca_lightning.datasets.packed import PackedDataset

    return PackedDataset(root)


def is_packed(root: str) -> bool:
    """Whether a root is a pack rather than a plain folder."""
    from lca_lightning.datasets.packed import is_pack

    return is_pack(root)


def sequence_places(root: str) -> list[SequencePlace]:
    """All finished sequences, in order of their ids.

    Raises:
        DataError: The root is a damaged or unfinished pack.
    """
    if is_packed(root):
        ids = _pack(root).index.ids_N
        return [SequencePlace(root, str(name), position) for position, name in enumerate(ids)]
    return [SequencePlace(root, folder.name) for folder in sequence_folders(Path(root))]


def packed_header(root: str) -> dict[str, Any]:
    """What the pack's source had in its ``dataset.json``."""
    return dict(_pack(root).header)
