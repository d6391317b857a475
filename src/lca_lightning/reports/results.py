"""What a test found: scores of every frame, their means by set, number of references and task."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lca_lightning.metrics.protocol import COUNTS, average_rows

ALL, NOVEL_VIEW, SELF_REENACTMENT = "all", "novel_view", "self_reenactment"
TASKS = (ALL, NOVEL_VIEW, SELF_REENACTMENT)


@dataclass(frozen=True)
class FrameResult:
    """Scores of one target frame.

    Args:
        set: Name of the test set.
        views: Reference views asked for.
        task: ``novel_view``, ``self_reenactment``, or empty where the data does not name its references.
        subject: Who is shown.
        frame: ``"sequence/camera/frame"``.
        angle: Degrees from the nearest reference view, NaN where unknown.
        references: Reference views that were there.
        scores: Scores by protocol, NaN where the mask is empty or a score does not apply.
    """

    set: str
    views: int
    task: str
    subject: str
    frame: str
    angle: float
    references: int
    scores: Mapping[str, Mapping[str, float]]

    @property
    def key(self) -> tuple[str, int, str, str]:
        """What makes it the same frame in another process."""
        return self.set, self.views, self.subject, self.frame

    @property
    def has_mask(self) -> bool:
        """Whether any score could be computed."""
        return any(not math.isnan(value) for scores in self.scores.values() for value in scores.values())


@dataclass(frozen=True)
class Summary:
    """Mean scores of some frames under one protocol: by subject, then over subjects.

    Args:
        set: Name of the test set.
        views: Reference views asked for.
        task: One of ``TASKS``.
        protocol: Whose scores they are.
        scores: Means of the scores that some frame has; none where no frame has a mask.
        frames: Frames that count.
        subjects: Their subjects.
        frames_without_mask: Frames left out because their mask is empty.
    """

    set: str
    views: int
    task: str
    protocol: str
    scores: Mapping[str, float]
    frames: int
    subjects: int
    frames_without_mask: int


@dataclass
class TestResults:
    """Everything a report is written from.

    Args:
        frames: One entry for each frame, set and number of references.
        protocols: Names in order.
        checkpoint: File that was tested, empty for an untrained model.
        checkpoint_sha256: Digest of that file, empty likewise.
        step: Optimiser steps behind it.
        cost: Seconds, milliseconds and sizes, see ``training.cost``.
        remarks: Sentences about how the test was done.
    """

    __test__ = False  # not a test class, whatever its name says to pytest

    frames: Sequence[FrameResult]
    protocols: Sequence[str]
    checkpoint: str = ""
    checkpoint_sha256: str = ""
    step: int = 0
    cost: Mapping[str, object] = field(default_factory=dict)
    remarks: Sequence[str] = ()

    def groups(self) -> dict[tuple[str, int], list[FrameResult]]:
        """Frames by set, in the order they were tested, and number of references, fewest first."""
        found: dict[tuple[str, int], list[FrameResult]] = {}
        for frame in self.frames:
            found.setdefault((frame.set, frame.views), []).append(frame)
        names = list(dict.fromkeys(name for name, _ in found))
        return dict(sorted(found.items(), key=lambda group: (names.index(group[0][0]), group[0][1])))

    def summaries(self) -> list[Summary]:
        """Means of every set, number of references, task and protocol that has frames."""
        return [
            summarize(chosen, protocol, task)
            for frames in self.groups().values()
            for protocol in self.protocols
            for task in TASKS
            if (chosen := [frame for frame in frames if task in (ALL, frame.task)])
        ]

    def notes(self) -> list[str]:
        """What a reader of the numbers must know, one sentence each."""
        notes = [*self.remarks]
        targets: dict[str, set[frozenset[tuple[str, str]]]] = {}
        for (name, views), frames in self.groups().items():
            notes += _notes(f"{name}, {views} reference view{'' if views == 1 else 's'}", views, frames)
            targets.setdefault(name, set()).add(frozenset((f.subject, f.frame) for f in frames))
        differing = [name for name, found in targets.items() if len(found) > 1]
        return notes + [
            f"{name}: target frames differ between the numbers of references; do not compare those rows."
            for name in differing
        ]


def summarize(frames: Iterable[FrameResult], protocol: str, task: str) -> Summary:
    """Mean scores of frames of one set and one number of references.

    Args:
        frames: At least one.
        protocol: Whose scores to take.
        task: What the frames have in common.
    """
    frames = list(frames)
    means = average_rows([(frame.subject, frame.frame, dict(frame.scores[protocol])) for frame in frames])
    counts = [int(means[name]) for name in COUNTS]
    scores = {name: value for name, value in means.items() if name not in COUNTS}
    return Summary(frames[0].set, frames[0].views, task, protocol, scores, *counts)


def _notes(where: str, views: int, frames: Sequence[FrameResult]) -> list[str]:
    """What is to be known of the frames of one set and one number of references."""
    notes = []
    empty = sum(not frame.has_mask for frame in frames)
    if empty:
        notes.append(f"{where}: {empty} of {len(frames)} frames have an empty mask and are not scored.")
    few = [frame for frame in frames if frame.references < views]
    if few:
        people, least = len({frame.subject for frame in few}), min(frame.references for frame in few)
        notes.append(
            f"{where}: {people} of {len({frame.subject for frame in frames})} subjects have fewer usable"
            f" reference frames; {len(few)} frames were made from fewer views, some from {least}."
        )
    if not any(frame.task for frame in frames):
        notes.append(f"{where}: the data does not name its references, so tasks are not told apart.")
    return notes
