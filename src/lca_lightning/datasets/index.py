"""What a data set holds, one row a sequence, without opening any: in memory and in a file beside it."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any

import numpy as np
from tqdm import tqdm

from lca_lightning.datasets.files import FolderFiles
from lca_lightning.datasets.records import HOW_TO_GET_DATA, SPLITS
from lca_lightning.datasets.sequence import read_description
from lca_lightning.errors import DataError
from lca_lightning.writing import write_atomically

INDEX_FILE = ".lca_index.npz"
_VERSION = 1


@dataclass(frozen=True)
class SequenceIndex:
    """One row for each of ``N`` sequences, in order of ids.

    Args:
        ids_N: Names.
        subjects_N: Who is seen.
        splits_N: ``"train"``, ``"val"`` or ``"test"``.
        frames_N: Frames of each camera.
        cameras_N: Number of cameras.
        groups_N: Chunk of the pack in which a sequence lies; zeros in a plain folder.
    """

    ids_N: np.ndarray
    subjects_N: np.ndarray
    splits_N: np.ndarray
    frames_N: np.ndarray
    cameras_N: np.ndarray
    groups_N: np.ndarray

    def __len__(self) -> int:
        return len(self.ids_N)

    def positions(self, split: str | None = None) -> np.ndarray:
        """Rows of a split, ascending; all rows for None."""
        return np.arange(len(self)) if split is None else np.flatnonzero(self.splits_N == split)

    @staticmethod
    def from_rows(rows: Iterable[tuple[str, str, str, int, int, int]]) -> SequenceIndex:
        """Build from ``(id, subject, split, frames, cameras, group)``, sorted by id."""
        columns = list(zip(*sorted(rows), strict=True)) or [()] * 6
        words, numbers = columns[:3], columns[3:]
        return SequenceIndex(
            *(np.array(column, np.str_) for column in words),
            *(np.array(column, np.int64) for column in numbers),
        )

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Columns by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @staticmethod
    def from_arrays(arrays: Any) -> SequenceIndex:
        """The inverse of :meth:`to_arrays`.

        Raises:
            DataError: A column is missing or of another type or length.
        """
        try:
            index = SequenceIndex(**{field.name: arrays[field.name] for field in fields(SequenceIndex)})
            lengths = {len(column) for column in index.to_arrays().values()}
            kinds = [column.dtype.kind for column in index.to_arrays().values()]
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise DataError(f"The index of sequences lacks {error}; make it again.") from error
        if len(lengths) != 1 or kinds != list("UUUiii") or not set(index.splits_N) <= set(SPLITS):
            raise DataError("The index of sequences has columns of other types or lengths; make it again.")
        return index


def save_arrays(file: IO[bytes], arrays: dict[str, np.ndarray]) -> None:
    """Write a compressed ``.npz`` without pickled objects, the same bytes for the same arrays."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue(), zipfile.ZIP_DEFLATED)


def folder_index(root: Path) -> SequenceIndex:
    """The index of a plain data set: read from its file, and only what has changed is read again.

    A sequence is known by the time and size of its ``sequence.json``. Where the folder may not be written,
    the index is built at every start.

    Args:
        root: The data set's folder.

    Returns:
        The index.

    Raises:
        DataError: There is no finished sequence, or a ``sequence.json`` cannot be read.
    """
    stamps = _stamps(root / "sequences")
    if not stamps:
        raise DataError(f"The data set {root} holds no finished sequence; {HOW_TO_GET_DATA}.")
    known = _read_known(root / INDEX_FILE)
    fresh = [name for name, stamp in stamps.items() if name not in known or known[name][0] != stamp]
    bar = tqdm(fresh, desc=f"Indexing {root.name}", unit="sequence", disable=len(fresh) < 2000, leave=False)
    read = {name: (stamps[name], _read_row(root / "sequences" / name)) for name in bar}
    rows = {name: read.get(name) or known[name] for name in stamps}
    if fresh or len(known) != len(stamps):
        _store(root / INDEX_FILE, rows)
    return SequenceIndex.from_rows(row for _, row in rows.values())


Row = tuple[str, str, str, int, int, int]
Stamp = tuple[int, int]


def _stamps(folder: Path) -> dict[str, Stamp]:
    """Time and size of every ``sequence.json``; unfinished sequences have names that begin with a dot."""
    if not folder.is_dir():
        return {}
    found: dict[str, Stamp] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or not entry.is_dir():
                continue
            try:
                status = os.stat(f"{entry.path}/sequence.json")
            except FileNotFoundError as error:
                raise DataError(
                    f"The file {entry.path}/sequence.json is missing; make the data again."
                ) from error
            found[entry.name] = (status.st_mtime_ns, status.st_size)
    return found


def _read_row(folder: Path) -> Row:
    files = FolderFiles(folder)
    description = read_description(files)
    try:
        subject, split = str(description["subject"]), str(description["split"])
        row = (files.name, subject, split, int(description["frames"]), len(description["cameras"]), 0)
    except (KeyError, TypeError, ValueError) as error:
        label = files.label("sequence.json")
        raise DataError(f"{label} lacks a valid {error}; make the sequence again.") from error
    if split not in SPLITS:
        raise DataError(f"Sequence {files.name} has split {split!r}; it must be {', '.join(SPLITS)}.")
    return row


def _read_known(path: Path) -> dict[str, tuple[Stamp, Row]]:
    """Rows of the stored index by id; none where it is missing, damaged or of another version."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if json.loads(str(arrays["version"])) != _VERSION:
                return {}
            index = SequenceIndex.from_arrays(arrays)
            stamps = arrays["stamps_N2"].tolist()
        columns = (column.tolist() for column in index.to_arrays().values())
        rows = list(zip(*columns, strict=True))
        return {row[0]: ((stamp[0], stamp[1]), row) for row, stamp in zip(rows, stamps, strict=True)}
    except (OSError, KeyError, ValueError, TypeError, IndexError, zipfile.BadZipFile, EOFError, DataError):
        return {}


def _store(path: Path, rows: dict[str, tuple[Stamp, Row]]) -> None:
    ordered = sorted(rows.values(), key=lambda item: item[1])
    arrays = SequenceIndex.from_rows(row for _, row in ordered).to_arrays()
    arrays["stamps_N2"] = np.array([stamp for stamp, _ in ordered], np.int64)
    arrays["version"] = np.array(json.dumps(_VERSION))

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            save_arrays(file, arrays)

    try:
        write_atomically(path, write)
    except DataError:  # a data set that may only be read is indexed at every start
        return
