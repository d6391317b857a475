"""Verifying a whole data set: its header, every sequence, and what shows between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lca_lightning.datasets.migration import DRAFT, layout_number, migrate_header
from lca_lightning.datasets.records import FORMAT_NAME, HOW_TO_GET_DATA, read_json
from lca_lightning.datasets.schema_check import schema_violations
from lca_lightning.errors import DataError, LCAError
from lca_lightning.inspection.findings import Findings
from lca_lightning.inspection.processes import Failure, run_tasks
from lca_lightning.inspection.results import CheckOptions, DatasetResult, SequenceResult
from lca_lightning.inspection.sequence_check import FIT_THE_BODY, check_sequence
from lca_lightning.inspection.sources import (
    SequencePlace,
    is_packed,
    packed_header,
    sequence_places,
)
from lca_lightning.inspection.splits import check_duplicates, check_rights, check_splits
from lca_lightning.rig.loading import RIG_NAMES

Progress = Callable[[int, int, str], None]
_MOST_PICTURED = 200  # sequences whose thumbnails are kept when all is well with them


@dataclass(frozen=True)
class _Task:
    """One sequence to check."""

    place: SequencePlace
    rig: str
    kind: str
    options: CheckOptions


def check_dataset(
    root: Path | str, options: CheckOptions | None = None, progress: Progress | None = None
) -> DatasetResult:
    """Verify everything that can be verified of a data set.

    Args:
        root: A data set's folder, a pack, or the address of a pack.
        options: How thorough to be.
        progress: Called with the number of sequences done, that of all, and the id of the one just done.

    Returns:
        Measures and findings; broken data becomes findings.

    Raises:
        DataError: There is no data set at that place, or its layout is newer than this program.
    """
    name, options = str(root), options or CheckOptions()
    findings = Findings()
    packed = is_packed(name)
    values = packed_header(name) if packed else _read_header(Path(root), findings)
    header = _check_header(values, name, findings) if values else {}
    places = sequence_places(name)
    if not places:
        findings.error("layout", "the data set holds no finished sequence", HOW_TO_GET_DATA)
    if not packed:
        _list_leftovers(Path(root), findings)
    rig, kind = str(header.get("rig", "")), str(header.get("kind", ""))
    tasks = [_Task(place, rig, kind, options) for place in places]
    sequences: list[SequenceResult] = []
    for result in _results(tasks, options):
        if len(sequences) >= _MOST_PICTURED and not result.findings:
            for camera in result.cameras.values():
                camera.thumbnails.clear()
        sequences.append(result)
        if progress is not None:
            progress(len(sequences), len(tasks), result.id)
    sequences.sort(key=lambda sequence: sequence.id)
    _check_bodies(sequences, findings)
    check_splits(sequences, findings)
    check_duplicates(sequences, findings)
    check_rights(sequences, findings)
    every = findings.all + [finding for sequence in sequences for finding in sequence.findings]
    return DatasetResult(name, header, sequences, every)


def _read_header(root: Path, findings: Findings) -> dict[str, Any]:
    """Values of ``dataset.json`` as they are; empty when unreadable."""
    if not root.is_dir():
        raise DataError(f"There is no data set folder {root}; {HOW_TO_GET_DATA}.")
    if not (root / "dataset.json").is_file() and not (root / "sequences").is_dir():
        raise DataError(f"{root} is not a data set (it has no dataset.json); {HOW_TO_GET_DATA}.")
    try:
        return read_json(root / "dataset.json")
    except DataError as error:
        findings.error("layout", str(error).rstrip("."), "write it again, see docs/data_format.md")
        return {}


def _check_header(header: dict[str, Any], root: str, findings: Findings) -> dict[str, Any]:
    """Check the values of ``dataset.json`` and bring them to the present layout."""
    if header.get("format") != FORMAT_NAME:
        what = f"dataset.json does not say format {FORMAT_NAME!r}"
        findings.error("layout", what, "see docs/data_format.md")
        return header
    if layout_number(header) == DRAFT:
        what = "the layout is the draft of version 1, without consent and axes"
        again = "migrate the folder it was packed from and pack it again"
        findings.warning("layout", what, again if is_packed(root) else f"lca migrate-data {root}")
    header = migrate_header(header)
    for violation in schema_violations("dataset", header):
        findings.error("layout", f"dataset.json, {violation}", "see docs/data_format.md")
    rig = header.get("rig")
    if isinstance(rig, str) and rig and rig not in RIG_NAMES:
        what = f"dataset.json names the rig {rig!r}, which is none of {', '.join(RIG_NAMES)}"
        findings.error("signals", what, "write the name of the rig whose values the sequences carry")
    return header


def _check_bodies(sequences: list[SequenceResult], findings: Findings) -> None:
    """Say where nothing can be trained on; sequences with unreadable rig values have their own findings."""
    valid = [sequence.valid_frames for sequence in sequences]
    if valid and not any(frames is None or frames > 0 for frames in valid):
        what = "the data set cannot be trained on: no frame has a fitted body"
        findings.error("signals", what, FIT_THE_BODY)
        return
    trained = [sequence.valid_frames for sequence in sequences if sequence.split == "train"]
    if trained and not any(frames is None or frames > 1 for frames in trained):
        what = "the data set cannot be trained on: no sequence of split train has two frames with a body"
        findings.error("signals", what, FIT_THE_BODY)


def _list_leftovers(root: Path, findings: Findings) -> None:
    """Note what interrupted writers left behind."""
    parent = root / "sequences"
    for path in sorted(parent.iterdir()) if parent.is_dir() else []:
        if path.name.startswith("."):
            what = f"sequences/{path.name} is unfinished"
            findings.note("leftovers", what, "make that sequence again, or remove the folder")
        elif not path.is_dir():
            findings.note("leftovers", f"sequences/{path.name} is no folder", "remove it")
    for path in sorted(root.glob(".*.partial-*")):
        findings.note("leftovers", f"{path.name} is unfinished", "remove it")


def _results(tasks: list[_Task], options: CheckOptions) -> Iterator[SequenceResult]:
    """Results in the order they are ready; a crash or a hang is a finding."""
    if not options.jobs:
        yield from map(_check_task, tasks)
        return
    for task, outcome in run_tasks(_check_task, tasks, options.jobs, options.seconds, use_one_thread):
        if isinstance(outcome, Failure):
            findings = Findings(task.place.name)
            what = f"the check did not finish: {outcome}"
            findings.error("decoding", what, "a file is damaged so that decoding fails; make it again")
            outcome = SequenceResult(task.place.name, findings=findings.all)
        yield outcome


def use_one_thread() -> None:
    """One thread a process: the processes already fill the cores."""
    import torch

    torch.set_num_threads(1)


def _check_task(task: _Task) -> SequenceResult:
    try:
        files = task.place.open()
    except LCAError as error:
        findings = Findings(task.place.name)
        findings.error("layout", str(error).rstrip("."), "pack the data again")
        return SequenceResult(task.place.name, findings=findings.all)
    return check_sequence(files, task.rig, task.kind, task.options)
