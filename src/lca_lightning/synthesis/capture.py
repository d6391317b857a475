"""Synthetic data sets on disk: many people, rendered in parallel, continued where a run stopped."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from lca_lightning.child_processes import end_with_parent
from lca_lightning.datasets.format import write_dataset_header
from lca_lightning.errors import DataError, UsageError
from lca_lightning.synthesis.environments import environment_files
from lca_lightning.synthesis.sensor import load_mitsuba, use_one_thread
from lca_lightning.synthesis.sequence import cached_rig, is_finished, load_clip, render_sequence
from lca_lightning.synthesis.settings import (
    LICENCE,
    PROVENANCE,
    CaptureSettings,
    held_out_counts,
    sequence_id,
    split_of,
)


@dataclass(frozen=True)
class SubjectTask:
    """One sequence to make: a subject of a data set."""

    root: str
    settings: CaptureSettings
    subject: int
    split: str

    @property
    def path(self) -> Path:
        """Folder of the sequence."""
        return Path(self.root) / "sequences" / sequence_id(self.settings, self.subject)


def synthesize(
    root: str | Path,
    kind: str = "wild",
    subjects: int = 1,
    frames: int = 24,
    *,
    cameras: int = 6,
    size: tuple[int, int] = (256, 192),
    seed: int = 0,
    samples: int = 24,
    motion: str | Path | None = None,
    workers: int = 0,
    test_subjects: int | None = None,
    val_subjects: int | None = None,
    fps: float = 10.0,
    environments: str | Path | None = None,
    fit_noise: float | None = None,
    shard: tuple[int, int] = (1, 1),
    progress: bool = True,
) -> list[Path]:
    """Render synthetic people into a data set.

    Args:
        root: Folder of the data set; finished sequences in it are kept and skipped.
        kind: "wild", "studio", "light_stage" or "stylised".
        subjects: Number of people, one sequence each.
        frames: Frames per sequence.
        cameras: Cameras of the ring of a studio or light stage.
        size: Height and width in pixels.
        seed: A person depends only on the kind, the seed and the person's number.
        samples: Samples per pixel.
        motion: A .bvh or .npz file for everybody instead of procedural motion.
        workers: Processes that render; 0 renders in this process.
        test_subjects: How many of the last subjects form the test split; an eighth when None.
        val_subjects: How many before them form the val split; an eighth, rounded down, when None.
        fps: Frames per second.
        environments: Folder of captured environment maps for "wild"; procedural ones when None.
        fit_noise: Strength of the errors of the stored rig values; 1 for "wild" and 0 elsewhere when None.
        shard: (i, n): make every n-th sequence from the i-th on, counted from 1; n machines with one i each
            make the whole set.
        progress: Show a progress bar.

    Returns:
        Folders of the shard's sequences, in the order of the subjects.

    Raises:
        UsageError: A number is out of range.
        MissingAssetError: Mitsuba is not installed.
        DataError: The folder holds other data or cannot be written.
    """
    source, maps = (None if value is None else str(value) for value in (motion, environments))
    settings = CaptureSettings(
        kind, frames, cameras, *size, seed, samples, fps, source, environments=maps, fit_noise=fit_noise
    )
    tasks = subject_tasks(root, settings, subjects, val_subjects, test_subjects)
    return render_tasks(tasks, workers, shard, progress)


def subject_tasks(
    root: str | Path,
    settings: CaptureSettings,
    subjects: int,
    val_subjects: int | None = None,
    test_subjects: int | None = None,
) -> list[SubjectTask]:
    """All sequences of a data set, see `synthesize`; writes nothing.

    Raises:
        UsageError: The numbers of subjects do not fit.
    """
    held_out = held_out_counts(subjects, val_subjects, test_subjects, settings.kind)
    return [
        SubjectTask(str(root), settings, subject, split_of(subject, subjects, held_out))
        for subject in range(subjects)
    ]


def render_tasks(
    tasks: list[SubjectTask], workers: int = 0, shard: tuple[int, int] = (1, 1), progress: bool = True
) -> list[Path]:
    """Make the sequences of one or more data sets that are not there yet.

    Args:
        tasks: All sequences.
        workers: Processes that render; 0 renders in this process.
        shard: See `synthesize`.
        progress: Show a progress bar.

    Returns:
        Folders of the shard's sequences, in the order given.

    Raises:
        UsageError: Negative workers or an impossible shard.
        DataError: A sequence is there that was made for another split or with other settings.
    """
    part, parts = shard
    if workers < 0 or not 1 <= part <= parts:
        raise UsageError(
            f"Needs no negative workers and a shard i/n with 1 <= i <= n, got {workers} and {part}/{parts}."
        )
    load_mitsuba()
    for settings in {task.settings: None for task in tasks}:
        _check_sources(settings)
    for root, settings in {task.root: task.settings for task in tasks}.items():
        write_dataset_header(
            root, kind=settings.kind, rig=settings.rig, licence=LICENCE, provenance=PROVENANCE,
            consent="synthetic",
        )  # fmt: skip
    mine = tasks[part - 1 :: parts]
    missing = [task for task in mine if not is_finished(task.root, task.settings, task.subject, task.split)]
    total = sum(task.settings.pictures for task in missing)
    with tqdm(total=total, unit="picture", disable=not progress or not missing) as bar:
        for done in _run(missing, workers, bar.update):
            bar.update(done)
    return [task.path for task in mine]


def _check_sources(settings: CaptureSettings) -> None:
    """Refuse files that cannot be used before anything is written."""
    if settings.motion is not None:
        rig = cached_rig(settings.rig)
        load_clip(settings, rig, rig.neutral_identity())
    if settings.environments is not None:
        environment_files(settings.environments)


def _run(tasks: list[SubjectTask], workers: int, tick: Callable[[int], object]) -> Iterator[int]:
    """Render all tasks; yields how many pictures of a finished task were not reported through ``tick``."""
    if workers == 0 or len(tasks) <= 1:
        for task in tasks:
            render_sequence(task.root, task.settings, task.subject, task.split, tick)
            yield 0
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(tasks)), context, _start_worker) as pool:
        waiting = [pool.submit(_work, task) for task in tasks]
        try:
            for done in as_completed(waiting):
                yield done.result()
        except BrokenProcessPool as error:
            raise DataError(
                "A process of the synthesis was killed, maybe for want of memory; use fewer --workers and "
                "run the same command again, finished sequences are kept."
            ) from error
        finally:
            for future in waiting:
                future.cancel()


def _start_worker() -> None:
    end_with_parent()
    torch.set_num_threads(1)
    use_one_thread()


def _work(task: SubjectTask) -> int:
    render_sequence(task.root, task.settings, task.subject, task.split)
    return task.settings.pictures
