"""From a public data set to our layout: which takes, which split, in which processes, what was skipped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path

from lca_lightning.child_processes import end_with_parent
from lca_lightning.datasets.records import SPLITS, read_json
from lca_lightning.datasets.writer import sequence_exists
from lca_lightning.errors import DataError, LCAError, MissingAssetError, UsageError
from lca_lightning.importers.registry import importer_class
from lca_lightning.importers.selection import choose_cameras, choose_frames, matches, sequence_name
from lca_lightning.importers.source import BrokenTake, Importer, SourceTake
from lca_lightning.importers.take_writing import TakeOptions, TakeSummary, write_take
from lca_lightning.writing import FULL_DISK, refuse_unwritable, write_text

Report = Callable[[str, int, int], object]


@dataclass(frozen=True)
class ImportOptions:
    """What to import and how.

    Attributes:
        subjects: Names or patterns of subjects, empty for all.
        splits: JSON file ``{"SUBJECT": "train" | "val" | "test"}``, or None.
        test_fraction: Share of subjects kept for testing where neither ``splits`` nor the set says.
        workers: Processes, one take each; 0 and 1 import in this process.
        overwrite: Write finished sequences again.
        take: How one take is written.
    """

    subjects: tuple[str, ...] = ()
    splits: Path | None = None
    test_fraction: float = 0.1
    workers: int = 1
    overwrite: bool = False
    take: TakeOptions = field(default_factory=TakeOptions)


@dataclass
class ImportResult:
    """What an import did.

    Attributes:
        written: Sequences written now, with what is known of their bodies.
        kept: Ids of sequences that were there already.
        skipped: Takes that could not be imported.
    """

    written: list[TakeSummary] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    skipped: list[BrokenTake] = field(default_factory=list)


def import_dataset(
    name: str, source: str | Path, out: str | Path, options: ImportOptions, report: Report | None = None
) -> ImportResult:
    """Import a public data set, take by take; run it again to continue.

    Args:
        name: Importer, see `registry.importer_names`.
        source: The folder that holds the set.
        out: Folder of the data set to write.
        options: What to import.
        report: Called with a take's id, pictures done now and pictures in all.

    Returns:
        What was written, kept and skipped; the skipped are listed in ``skipped.json`` too.

    Raises:
        UsageError: Unknown importer or nonsensical numbers.
        DataError: The folder is not that set, nothing matches, or the disk is full.
    """
    if not 0 <= options.test_fraction < 1:
        raise UsageError(f"--test-fraction must lie in [0, 1), got {options.test_fraction}.")
    if options.workers < 0:
        raise UsageError(f"--workers must not be negative, got {options.workers}.")
    importer, out = importer_class(name)(source), Path(out)
    refuse_unwritable(out)
    splits = _read_splits(options.splits)
    result = ImportResult()
    takes = _plan(importer, out, options, splits, result)
    if not (takes or result.kept or result.skipped):
        wanted = f" of the subjects {', '.join(options.subjects)}" if options.subjects else ""
        raise DataError(f"{source} holds no take{wanted} of {importer.title}; it expects {importer.expects}.")
    jobs = [_Job(name, str(source), str(out), take, options) for take in takes]
    for outcome in _run(jobs, options.workers, report):
        (result.skipped if isinstance(outcome, BrokenTake) else result.written).append(outcome)  # type: ignore
    _list_skipped(out, result)
    return result


@dataclass(frozen=True)
class _Job:
    name: str
    source: str
    out: str
    take: SourceTake
    options: ImportOptions


def _plan(
    importer: Importer, out: Path, options: ImportOptions, splits: dict[str, str], result: ImportResult
) -> list[SourceTake]:
    """Takes to import, each with its split; the others go into the result."""
    planned: list[SourceTake] = []
    kind, names = _kind_there(out), dict[str, str]()
    people = {} if options.overwrite else _splits_there(out)
    for take in importer.takes():
        if isinstance(take, BrokenTake):
            result.skipped.append(take)
            continue
        if options.subjects and not matches(take.subject, options.subjects):
            continue
        name = sequence_name(importer.name, take.id)
        if names.setdefault(name, take.id) != take.id:
            reason = f"its sequence would be called {name}, as that of {names[name]} is"
            result.skipped.append(BrokenTake(take.id, f"{reason}; rename it in the source"))
            continue
        if sequence_exists(out, name) and not options.overwrite:
            result.kept.append(name)
            continue
        kind = kind or take.kind or importer.kind
        if (take.kind or importer.kind) != kind:
            reason = f"it is of kind {take.kind or importer.kind} but {out} holds {kind}"
            result.skipped.append(BrokenTake(take.id, f"{reason}; import it into another folder"))
            continue
        split = splits.get(take.subject) or take.split or subject_split(take.subject, options.test_fraction)
        if people.setdefault(take.subject, split) != split:
            reason = f"it would be in {split}, but {take.subject} is in {people[take.subject]} already"
            way_out = "use the same splits for all takes of a person, or import into another folder"
            result.skipped.append(BrokenTake(take.id, f"{reason}; {way_out}"))
            continue
        planned.append(replace(take, split=split))
    return planned


def _splits_there(out: Path) -> dict[str, str]:
    """Split of each person of whom the data set holds a sequence."""
    described = (read_json(path) for path in sorted(out.glob("sequences/*/sequence.json")))
    return {str(record.get("subject")): str(record.get("split")) for record in described}


def _kind_there(out: Path) -> str:
    return str(read_json(out / "dataset.json").get("kind", "")) if (out / "dataset.json").is_file() else ""


def subject_split(subject: str, test_fraction: float) -> str:
    """Split of a subject by its name alone, so that all takes of a person share it on every machine.

    Args:
        subject: Name.
        test_fraction: Expected share of ``"test"``; a larger one keeps the test subjects of a smaller one.

    Returns:
        ``"test"`` or ``"train"``.
    """
    number = int.from_bytes(hashlib.sha256(subject.encode()).digest()[:8], "big")
    return "test" if number < test_fraction * 2**64 else "train"


def _read_splits(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    splits = read_json(Path(path))
    wrong = sorted(str(subject) for subject, split in splits.items() if split not in SPLITS)
    if wrong:
        raise DataError(f"{path} gives subject {wrong[0]} a split that is none of {', '.join(SPLITS)}.")
    return splits


def _work(job: _Job, tick: Callable[[int, int], object] | None = None) -> TakeSummary | BrokenTake:
    """Import one take; a broken one becomes a reason, a full disk ends everything."""
    try:
        importer = importer_class(job.name)(job.source)
        return write_take(importer, job.take, job.out, job.options.take, job.options.overwrite, tick)
    except MissingAssetError:
        raise
    except Exception as error:  # the boundary around foreign files: one take must not end the import
        if _disk_is_full(error):
            raise DataError(
                f"The disk is full while writing {job.take.id} to {job.out} ({_disk_is_full(error)}); free "
                "some space and run the same command again, finished sequences are kept."
            ) from error
        said = str(error) if isinstance(error, LCAError) else f"{type(error).__name__}: {error}"
        return BrokenTake(job.take.id, said)


def _disk_is_full(error: BaseException | None) -> str:
    """What the system says where a disk, a quota or a file takes no more, else nothing."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL_DISK:
            return error.strerror or "no space left"
        error = error.__cause__
    return ""


def _run(jobs: list[_Job], workers: int, report: Report | None) -> Iterator[TakeSummary | BrokenTake]:
    report = report or (lambda take, done, total: None)
    if workers <= 1 or len(jobs) <= 1:
        for job in jobs:
            yield _work(job, lambda done, total, job=job: report(job.take.id, done, total))  # type: ignore
        return
    with ProcessPoolExecutor(min(workers, len(jobs)), get_context("spawn"), end_with_parent) as pool:
        waiting: dict[Future[TakeSummary | BrokenTake], _Job] = {pool.submit(_work, job): job for job in jobs}
        pending = set(waiting)
        for job in jobs:
            report(job.take.id, 0, _pictures(job))
        try:
            while pending:
                finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in finished:
                    report(waiting[future].take.id, _pictures(waiting[future]), 0)
                    yield future.result()
        except BrokenProcessPool as error:
            raise DataError(
                "A process of the import was killed, maybe for want of memory; use fewer --workers or a "
                "smaller --max-size and run the same command again, finished sequences are kept."
            ) from error
        finally:
            for future in pending:
                future.cancel()


def _pictures(job: _Job) -> int:
    """Pictures that a take will write; 0 where the choice leaves nothing."""
    take, options = job.take, job.options.take
    try:
        cameras = choose_cameras(take.cameras, options.cameras)
        return len(cameras) * len(choose_frames(take.frame_count, options.frames))
    except DataError:
        return 0


def _list_skipped(out: Path, result: ImportResult) -> None:
    """Write ``skipped.json``, or remove the one of an earlier run that no longer holds."""
    path = out / "skipped.json"
    if result.skipped:
        write_text(path, json.dumps([asdict(take) for take in result.skipped], indent=2) + "\n")
    else:
        path.unlink(missing_ok=True)


def describe(importers: Iterable[str]) -> list[str]:
    """One line an importer for ``lca import --list``."""
    lines = []
    for name in importers:
        try:
            found = importer_class(name)
        except (LCAError, ImportError, AttributeError) as error:
            lines.append(f"{name:<16} cannot be loaded: {error}")
            continue
        mark = "" if found.verified else " [unverified on real data]"
        lines.append(f"{name:<16} {found.title}: {found.kind}, {found.licence}, {found.access}{mark}")
    return lines
