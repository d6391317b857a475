"""Bringing data sets of earlier layouts to the present one, file by file.

A step turns the JSON values of one layout into those of the next. It is a pure function that leaves values it
has already changed as they are, so that an interrupted migration is simply run again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lca_lightning.datasets.records import FORMAT_NAME, FORMAT_VERSION, HOW_TO_GET_DATA, read_json
from lca_lightning.errors import DataError
from lca_lightning.writing import write_text

Values = dict[str, Any]
DRAFT = 0
"""Number of the layout before version 1 was final: its files say version 1 but lack the consent."""


@dataclass(frozen=True)
class Step:
    """From one layout to the next.

    Args:
        source: Number of the earlier layout.
        target: Number of the next layout.
        summary: What changes, for people.
        header: Turns the values of ``dataset.json``.
        sequence: Turns the values of ``sequence.json``.
    """

    source: int
    target: int
    summary: str
    header: Callable[[Values], Values]
    sequence: Callable[[Values], Values]


@dataclass(frozen=True)
class MigrationResult:
    """What a migration did, or would do.

    Args:
        source: Number of the layout found, 0 for the draft of version 1.
        target: Number of the layout now.
        changed: Files that were or would be written.
        unreadable: Files that are no JSON objects and were left as they are.
    """

    source: int
    target: int
    changed: tuple[Path, ...]
    unreadable: tuple[Path, ...]


def _finish_header(values: Values) -> Values:
    kept = {key: value for key, value in values.items() if key != "color_space"}
    kept.setdefault("licence", "unknown")
    kept.setdefault("consent", "unknown")
    kept.setdefault("provenance", "")
    kept.setdefault("units", "metres")
    kept.setdefault("axes", "y up, right-handed")
    kept.setdefault("cameras", "OpenCV axes, world to camera")
    kept.setdefault("pixel_center", 0.5)
    return {**kept, "version": 1}


def _finish_sequence(values: Values) -> Values:
    finished = dict(values)
    finished.setdefault("licence", "unknown")
    finished.setdefault("provenance", "")
    finished.setdefault("consent", "unknown")
    finished.setdefault("color", "srgb")
    finished.setdefault("undistorted", True)
    return finished


STEPS: tuple[Step, ...] = (
    Step(
        DRAFT,
        1,
        "consent, axes and pixel centres are stated, the colour encoding stands in each sequence",
        _finish_header,
        _finish_sequence,
    ),
)


def layout_number(header: Values) -> int:
    """Number of the layout that a header describes.

    Args:
        header: Values of ``dataset.json``.

    Returns:
        The version, or 0 for drafts of version 1.

    Raises:
        DataError: The version is no number or newer than this program's.
    """
    version = header.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 0:
        raise DataError(f"dataset.json has no valid version (it says {version!r}); make the data set again.")
    if version > FORMAT_VERSION:
        raise DataError(
            f"The data set has layout version {version} but this program knows versions up to "
            f"{FORMAT_VERSION}; install a newer lca-lightning."
        )
    return DRAFT if version == 1 and not {"consent", "axes", "pixel_center"} <= set(header) else version


def migrate_header(header: Values) -> Values:
    """Values of ``dataset.json`` in the present layout; unchanged when they are in it already.

    Raises:
        DataError: The version is not known.
    """
    number = layout_number(header)
    for step in STEPS:
        if step.source >= number:
            header = step.header(header)
    return header


def migrate_sequence(values: Values, number: int = DRAFT) -> Values:
    """Values of ``sequence.json`` in the present layout.

    Args:
        values: As read.
        number: Layout of the data set; steps that a sequence has behind it change nothing.

    Returns:
        New values, or equal ones when they are in the present layout already.
    """
    for step in STEPS:
        if step.source >= number:
            values = step.sequence(values)
    return values


def migrate_dataset(
    root: Path | str,
    dry_run: bool = False,
    progress: Callable[[Iterable[Path]], Iterable[Path]] = lambda folders: folders,
) -> MigrationResult:
    """Bring a data set on disk to the present layout.

    Sequences are written one by one and ``dataset.json`` last, each file atomically: an interrupted migration
    leaves a data set that reads as before, and runs on when called again.

    Args:
        root: The data set's folder.
        dry_run: Write nothing, only report.
        progress: Wraps the sequences' folders for a progress bar.

    Returns:
        What was written.

    Raises:
        DataError: The folder is no data set or packed, its version is newer, or it cannot be written.
    """
    root = Path(root)
    if not (root / "dataset.json").is_file():
        packed = (root / "index.json").is_file()
        way_out = "pack its source again" if packed else HOW_TO_GET_DATA
        raise DataError(f"{root} is not a plain data set (it has no dataset.json); {way_out}.")
    header = read_json(root / "dataset.json")
    if header.get("format") != FORMAT_NAME:
        raise DataError(f"{root / 'dataset.json'} does not describe a data set of format {FORMAT_NAME!r}.")
    source = layout_number(header)
    changed: list[Path] = []
    unreadable: list[Path] = []
    for folder in progress(sequence_folders(root)):
        path = folder / "sequence.json"
        try:
            values = read_json(path)
        except DataError:
            unreadable.append(path)
            continue
        # a sequence may have been copied in from an older data set: every step looks at it
        _write_changed(path, values, migrate_sequence(values), dry_run, changed)
    _write_changed(root / "dataset.json", header, migrate_header(header), dry_run, changed)
    return MigrationResult(source, FORMAT_VERSION, tuple(changed), tuple(unreadable))


def sequence_folders(root: Path) -> list[Path]:
    """Folders of finished sequences, in order of their name."""
    parent = root / "sequences"
    found = sorted(parent.iterdir()) if parent.is_dir() else []
    return [folder for folder in found if folder.is_dir() and not folder.name.startswith(".")]


def _write_changed(path: Path, old: Values, new: Values, dry_run: bool, changed: list[Path]) -> None:
    if new == old:
        return
    if not dry_run:
        write_text(path, json.dumps(new, indent=2) + "\n")
    changed.append(path)
