"""Running the pipeline over any number of clips: bounded work in flight, retries, exact continuation."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lca_lightning.errors import DataError
from lca_lightning.preprocessing.clip_process import STOPPED, TIMED_OUT, ClipJob, Outcome, Progress
from lca_lightning.preprocessing.clip_sources import ClipSource
from lca_lightning.preprocessing.clips import Clip, ClipResult, PreprocessOptions
from lca_lightning.preprocessing.engines import Engine, make_engine
from lca_lightning.preprocessing.ledger import (
    CRASHED,
    DROPPED,
    FINISHED,
    SET_ASIDE,
    Ledger,
    LedgerEntry,
    file_marks,
)
from lca_lightning.preprocessing.run_report import RunReport, category
from lca_lightning.writing import refuse_unwritable, write_failure

# Below this a data set cannot grow by a clip.
LEAST_FREE_BYTES = 100 * 1024 * 1024
_POLL_SECONDS = 0.5
OnClip = Callable[[RunReport], Any]


@dataclass(frozen=True)
class RunSettings:
    """How clips are run.

    Attributes:
        engine: ``local`` or ``ray``.
        address: Of a Ray cluster.
        workers: Clips side by side on this machine, or cameras of a single clip.
        minutes: Longest time a clip may take.
        retries: How often a clip whose process crashed is tried again.
        retry_failed: Try clips again that were dropped or set aside.
    """

    engine: str = "local"
    address: str | None = None
    workers: int = 2
    minutes: float = 60.0
    retries: int = 2
    retry_failed: bool = False


def preprocess(
    clips: ClipSource | list[Clip],
    options: PreprocessOptions,
    settings: RunSettings | None = None,
    progress: Progress | None = None,
    on_clip: OnClip | None = None,
    function: str | None = None,
) -> RunReport:
    """Turn clips into sequences of a data set; run again after any end, it continues where it stopped.

    Args:
        clips: What to process; read one after the other.
        options: For all clips.
        settings: How they are run.
        progress: Called with the progress inside a clip, when clips run one at a time on this machine.
        on_clip: Called with the counts so far after every clip.
        function: What runs for each clip, ``module:name``; the pipeline by default.

    Returns:
        Counts and lists, also written to ``summary.json``, ``dropped.json`` and ``set_aside.json``.

    Raises:
        LCAError: Something is wrong for all clips alike (a missing extra, an unwritable folder, a full disk).
    """
    settings = settings or RunSettings()
    if function is None:
        _check_options(options)
        _check_calibration(clips, options)
    _prepare_folder(options.out)
    one_by_one = len(clips) == 1
    job = ClipJob(options, settings.minutes, settings.workers if one_by_one else 1)
    if function is not None:
        job = replace(job, function=function)
    # Several clips side by side would write over each other's bars.
    watched = progress if one_by_one else None
    workers = 1 if one_by_one else min(settings.workers, len(clips))
    engine = make_engine(settings.engine, job, workers, settings.address, watched)
    report = RunReport(len(clips))
    run = _Run(engine, Ledger(options.out), options, settings, report, on_clip)
    finished = False
    try:
        run.all(clips)
        finished = True
    finally:
        engine.close()
        report.write(options.out, finished)
    return report


def _check_options(options: PreprocessOptions) -> None:
    """Refuse what no clip can be run with, before a million are tried."""
    from lca_lightning.preprocessing.estimators.registry import check_estimator
    from lca_lightning.preprocessing.scores import make_score

    check_estimator(options.estimator, options.estimator_weights)
    make_score(options.clip_score, options.score_threshold)
    if options.body_fits is not None and not options.body_fits.is_dir():
        raise DataError(f"Folder {options.body_fits} of --body-fits does not exist; check the path.")


def _check_calibration(clips: ClipSource | list[Clip], options: PreprocessOptions) -> None:
    """Refuse a calibration that cannot be used before anything is looked at."""
    from lca_lightning.datasets.format import sequence_exists
    from lca_lightning.preprocessing.pipeline import calibrated_cameras

    if len(clips) != 1:
        return  # only a single clip has one
    clip = next(iter(clips))
    if options.overwrite or not sequence_exists(options.out, clip.id):
        calibrated_cameras(clip, options)


def _prepare_folder(out: Path) -> None:
    refuse_unwritable(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(out).free
    except OSError as error:
        reason = write_failure(error)
        raise DataError(f"Folder {out} cannot be made ({reason}); choose another --out.") from error
    if free < LEAST_FREE_BYTES:
        raise DataError(
            f"Only {free // 2**20} MB are free for {out}; free some space or choose another --out, then run "
            "again to continue."
        )


class _Run:
    """The loop: fills the engine from the clips, settles what comes back."""

    def __init__(
        self,
        engine: Engine,
        ledger: Ledger,
        options: PreprocessOptions,
        settings: RunSettings,
        report: RunReport,
        on_clip: OnClip | None,
    ) -> None:
        self.engine, self.ledger, self.options, self.settings = engine, ledger, options, settings
        self.report, self.on_clip = report, on_clip
        self.crashes: dict[str, int] = {}
        self.again: deque[Clip] = deque()

    def all(self, clips: Iterable[Clip]) -> None:
        """Run everything that is still to be done."""
        self._tell()
        todo = self._to_do(clips)
        running = 0
        while True:
            while self.engine.room > 0:
                clip = self.again.popleft() if self.again else next(todo, None)
                if clip is None:
                    break
                self.engine.submit(clip)
                running += 1
            if not running:
                return
            for clip, outcome in self.engine.finished(_POLL_SECONDS):
                running -= 1
                self._settle(clip, outcome)

    def _to_do(self, clips: Iterable[Clip]) -> Iterator[Clip]:
        """Clips that must run; the others are counted on the way."""
        from lca_lightning.datasets.format import sequence_exists

        for clip in clips:
            entry = self.ledger.read(clip.id)
            if entry is not None and not entry.is_of(clip):
                self._leave_out(_taken(clip, entry))
            elif sequence_exists(self.options.out, clip.id) and not self.options.overwrite:
                self.report.keep(ClipResult(clip.id, None, {"already_there": True}), already_there=True)
                self._tell()
            elif entry is not None and self._is_settled(clip, entry):
                self._leave_out(entry)
            else:
                retried = self.settings.retry_failed or entry is None or entry.state != CRASHED
                self.crashes[clip.id] = 0 if retried or entry is None else entry.crashes
                yield clip

    def _is_settled(self, clip: Clip, entry: LedgerEntry) -> bool:
        if self.settings.retry_failed:
            return False
        if entry.state == SET_ASIDE:
            return True
        return entry.state == DROPPED and entry.still_holds(clip, self.options)

    def _settle(self, clip: Clip, outcome: Outcome) -> None:
        if outcome.failure == STOPPED:
            raise DataError(outcome.detail)
        if outcome.result is not None:
            self._judged(clip, outcome.result)
            return
        crashes = self.crashes.get(clip.id, 0) + (outcome.failure != TIMED_OUT)
        entry = self._entry(
            clip, CRASHED, reason=outcome.detail, category="crashed", crashes=crashes, detail=outcome.trace
        )
        if outcome.failure == TIMED_OUT:
            way_out = "cut it into shorter clips, or raise --clip-minutes and pass --retry-failed"
            entry = replace(
                entry, state=SET_ASIDE, category=TIMED_OUT, reason=f"timed out: {outcome.detail}; {way_out}"
            )
        elif crashes > self.settings.retries:
            reason = (
                f"crashed: {crashes} times, lastly because {outcome.detail}; --retry-failed tries it again"
            )
            entry = replace(entry, state=SET_ASIDE, reason=reason)
        if entry.state == SET_ASIDE:
            self.ledger.write(entry)
            self.report.worked += 1
            self.crashes.pop(clip.id, None)
            self._leave_out(entry)
            return
        self.ledger.write(entry)
        self.crashes[clip.id] = crashes
        self.again.append(clip)

    def _judged(self, clip: Clip, result: ClipResult) -> None:
        self.report.worked += 1
        self.crashes.pop(clip.id, None)
        if result.reason is None:
            self.ledger.write(self._entry(clip, FINISHED))
            self.report.keep(result, already_there=bool(result.summary.get("already_there")))
            self._tell()
            return
        entry = self._entry(clip, DROPPED, reason=result.reason, category=category(result.reason))
        self.ledger.write(entry)
        self._leave_out(entry)

    def _entry(self, clip: Clip, state: str, **values: Any) -> LedgerEntry:
        videos = tuple(str(video) for video in clip.videos)
        marks, options = file_marks(clip), self.options.fingerprint
        return LedgerEntry(clip.id, state, videos, inputs=marks, options=options, **values)

    def _leave_out(self, entry: LedgerEntry) -> None:
        self.report.left_out.append(entry)
        self._tell()

    def _tell(self) -> None:
        if self.on_clip is not None:
            self.on_clip(self.report)


def _taken(clip: Clip, entry: LedgerEntry) -> LedgerEntry:
    """Another video of that name was here before."""
    reason = (
        f"name taken: the clip {clip.id} of this data set was made from {', '.join(entry.videos)}; rename "
        "the video or choose another --out"
    )
    videos = tuple(str(video) for video in clip.videos)
    return LedgerEntry(clip.id, DROPPED, videos, reason=reason, category="name taken")
