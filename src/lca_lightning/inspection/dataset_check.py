"""Verifying a whole data set: its header, every sequence, and what shows between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lca_lightning.datasets.files import FolderFiles
from lca_lightning.datasets.migration import DRAFT, layout_number, migrate_header, sequence_folders
from lca_lightning.datasets.records import FORMAT_NAME, HOW_TO_GET_DATA, read_json
from lca_lightning.datasets.schema_check import schema_violations
from lca_lightning.errors import DataError
from lca_lightning.inspection.findings import Findings
from lca_lightning.inspection.processes import Failure, run_tasks
from lca_lightning.inspection.results import CheckOptions, DatasetResult, SequenceResult
from lca_lightning.inspection.sequence_check import check_sequence
from lca_lightning.inspection.splits import check_duplicates, check_splits

Progress = Callable[[int, int, str], None]
_MOST_PICTURED = 200  # sequences whose thumbnails are kept when all is well with them


@dataclass(frozen=True)
class _Task:
    """One sequence to check."""

    folder: Path
    rig: str
    kind: str
    options: CheckOptions


def check_dataset(
    root: Path | str, options: CheckOptions | None = None, progress: Progress | None = None
) -> DatasetResult:
    """Verify everything that can be verified of a data set.

    Args:
        root: A data set's folder.
        options: How thorough to be.
        progress: Called with the number of sequences done, that of all, and the id of the one just done.

    Returns:
        Measures and findings; broken data becomes findings.

    Raises:
        DataError: There is no data set at that place, or its layout is newer than this program.
    """
    root, options = Path(root), options or CheckOptions()
    findings = Findings()
    header = _check_header(root, findings)
    folders = sequence_folders(root)
    if not folders:
        findings.error("layout", "the data set holds no finished sequence", HOW_TO_GET_DATA)
    _list_leftovers(root, findings)
    tasks = [
        _Task(folder, str(header.get("rig", "")), str(header.get("kind", "")), options) for folder in folders
    ]
    sequences: list[SequenceResult] = []
    for result in _results(tasks, options):
        if len(sequences) >= _MOST_PICTURED and not result.findings:
            for camera in result.cameras.values():
                camera.thumbnails.clear()
        sequences.append(result)
        if progress is not None:
            progress(len(sequences), len(tasks), result.id)
    sequences.sort(key=lambda sequence: sequence.id)
    check_splits(sequences, findings)
    check_duplicates(sequences, findings)
    every = findings.all + [finding for sequence in sequences for finding in sequence.findings]
    return DatasetResult(str(root), header, sequences, every)


def _check_header(root: Path, findings: Findings) -> dict[str, Any]:
    """Values of ``dataset.json`` in the present layout; empty when unreadable."""
    if not root.is_dir():
        raise DataError(f"There is no data set folder {root}; {HOW_TO_GET_DATA}.")
    if not (root / "dataset.json").is_file() and not (root / "sequences").is_dir():
        raise DataError(f"{root} is not a data set (it has no dataset.json); {HOW_TO_GET_DATA}.")
    try:
        header = read_json(root / "dataset.json")
    except DataError as error:
        findings.error("layout", str(error).rstrip("."), "write it again, see docs/data_format.md")
        return {}
    if header.get("format") != FORMAT_NAME:
        what = f"dataset.json does not say format {FORMAT_NAME!r}"
        findings.error("layout", what, "see docs/data_format.md")
        return header
    if layout_number(header) == DRAFT:
        what = "the layout is the draft of version 1, without consent and axes"
        findings.warning("layout", what, f"lca migrate-data {root}")
    header = migrate_header(header)
    for violation in schema_violations("dataset", header):
        findings.error("layout", f"dataset.json, {violation}", "see docs/data_format.md")
    return header


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
            findings = Findings(task.folder.name)
            what = f"the check did not finish: {outcome}"
            findings.error("decoding", what, "a file is damaged so that decoding fails; make it again")
            outcome = SequenceResult(task.folder.name, findings=findings.all)
        yield outcome


def use_one_thread() -> None:
    """One thread a process: the processes already fill the cores."""
    import torch

    torch.set_num_threads(1)


def _check_task(task: _Task) -> SequenceResult:
    return check_sequence(FolderFiles(task.folder), task.rig, task.kind, task.options)
