"""What a test finds out: scores of every frame from all processes, pictures of a few, the files."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from lightning.pytorch.utilities import rank_zero_warn

from lca_lightning.batch import Batch
from lca_lightning.errors import DataError, MissingAssetError
from lca_lightning.metrics.protocol import Protocol, ScoredFrames, build_protocol
from lca_lightning.metrics.views import nearest_view_angles, region_masks
from lca_lightning.model.avatar_model import AvatarModel, AvatarOutput
from lca_lightning.reports.metrics_files import write_metrics_csv, write_metrics_json
from lca_lightning.reports.metrics_table import write_metrics_table
from lca_lightning.reports.results import NOVEL_VIEW, SELF_REENACTMENT, FrameResult, TestResults
from lca_lightning.reports.selection import ShownFrame, chosen_frames
from lca_lightning.reports.test_page import write_test_page
from lca_lightning.rig.rig import Rig
from lca_lightning.training.cost import CostMeter
from lca_lightning.training.pictures import Rendered, report_pictures

FILES = ("metrics.json", "metrics.csv", "metrics.md", "report.html")


@dataclass(frozen=True)
class Place:
    """Where a frame can be read again.

    Args:
        loader: Number of the data loader.
        item: Index in its data set.
    """

    loader: int
    item: int


class Evaluation:
    """Scores the frames of a test by several protocols; a pass over the data has one number of references.

    Args:
        protocols: Names of the protocols.
        passes: Passes after which the report is written.

    Attributes:
        results: Rows of the passes that have ended, equal in all processes.
        step: Optimiser steps behind the tested checkpoint.
    """

    def __init__(self, protocols: Sequence[str] = ("masked",), passes: int = 1) -> None:
        self.names, self.passes, self.step = tuple(protocols), passes, 0
        self.cost = CostMeter()
        self.remarks: list[str] = []
        self.results = TestResults([], self.names)
        self.shown: list[ShownFrame] = []
        self._protocols: list[Protocol] = []
        self._sets: list[tuple[str, int | None]] = []
        self._frames: list[tuple[FrameResult, Place]] = []
        self._ended = 0

    @property
    def complete(self) -> bool:
        """Whether all passes have ended."""
        return self._ended >= self.passes

    def begin(self, names: Sequence[str], sets: Sequence[Any]) -> None:
        """Begin a pass.

        Args:
            names: Name of the set behind each data loader.
            sets: The data sets. They may know how many ``views`` were asked for, else the most in a batch
                count; and subject and frame of those ``without_person``, which are reported though no sample
                shows them.
        """
        if self.complete:  # a test after the test
            self.results, self.shown, self._ended = TestResults([], self.names), [], 0
        self._protocols = self._protocols or [self._build(name) for name in self.names]
        self._sets = [(name, getattr(found, "views", None)) for name, found in zip(names, sets, strict=True)]
        self._frames = []
        for loader, found in enumerate(sets):
            for subject, frame in getattr(found, "without_person", ()):
                self._frames.append((self._unscored(loader, subject, frame), Place(loader, -1)))
        self.cost.begin()

    def note_limits(self, names: Sequence[str], batches: Sequence[float], whole: Sequence[int]) -> None:
        """Note which sets are tested in part only, so that nobody takes their scores for those of the whole.

        Args:
            names: Name of the set behind each data loader.
            batches: Batches of each that this process tests, as `trainer.limit_test_batches` wants it.
            whole: Batches that each has for this process.
        """
        for name, tested, all_of_them in zip(names, batches, whole, strict=True):
            note = (
                f"{name}: only {tested} of {all_of_them} batches were tested (trainer.limit_test_batches);"
                " these are not the scores of the whole test set."
            )
            if tested < all_of_them and note not in self.remarks:
                self.remarks.append(note)

    def _build(self, name: str) -> Protocol:
        """A protocol; without its perceptual score, and saying so, where that lacks its weights."""
        try:
            return build_protocol(name)
        except MissingAssetError as error:
            self.remarks.append(f"{name}: without LPIPS. {error}")
            rank_zero_warn(self.remarks[-1])
            return build_protocol(name, lpips=False)

    def add(self, model: AvatarModel, batch: Batch, output: AvatarOutput, places: Sequence[Place]) -> None:
        """Score a batch and now and then time the model.

        Args:
            model: That rendered it.
            batch: On the model's device.
            output: Its renderings.
            places: Of each row of the batch.
        """
        name, asked = self._sets[places[0].loader]
        counts = [int(count) for count in batch.references.view_mask_BV.sum(1)]
        views = asked or max(counts)
        for (b, _), (subject, frame, angle, scores) in zip(
            _rows(batch), self._score(scored_frames(batch, output, model.rig)), strict=True
        ):
            task = _task(frame, None if batch.reference_shots is None else batch.reference_shots[b])
            found = FrameResult(name, views, task, subject, frame, angle, counts[b], scores)
            self._frames.append((found, places[b]))
        self.cost.watch(model, batch, views)

    def _unscored(self, loader: int, subject: str, frame: str) -> FrameResult:
        """A frame that no sample shows, because its mask is empty."""
        name, views = self._sets[loader]
        nothing = {
            protocol.name: dict.fromkeys(protocol.score_names, math.nan) for protocol in self._protocols
        }
        return FrameResult(name, views or 1, "", subject, frame, math.nan, views or 1, nothing)

    def _score(self, frames: ScoredFrames) -> list[tuple[str, str, float, dict[str, dict[str, float]]]]:
        """Subject, frame, angle and scores by protocol of each picture, row by row."""
        columns = {}
        for protocol in self._protocols:
            protocol.to(frames.images_BT3HW.device)
            protocol.reset()
            protocol.update(frames)
            columns[protocol.name] = [scores for _, _, scores in protocol.rows()]
        angles = [math.nan] * len(frames.names)
        if frames.angles_BT is not None:
            angles = frames.angles_BT.flatten().tolist()
        return [
            (subject, frame, angles[n], {name: rows[n] for name, rows in columns.items()})
            for n, (subject, frame) in enumerate(frames.names)
        ]

    def end_pass(self) -> dict[Place, list[ShownFrame]]:
        """Join the rows of all processes; a frame that several of them saw counts once.

        Returns:
            Frames to show, without pictures, by where they can be read.

        Raises:
            DataError: No frame was evaluated, or every mask is empty.
        """
        found: dict[tuple[str, int, str, str], tuple[FrameResult, Place]] = {}
        for frame, place in _gathered(self._frames):
            found.setdefault(frame.key, (frame, place))
        if not any(frame.has_mask for frame, _ in found.values()):
            why = "every mask is empty" if found else "the test set is empty"
            raise DataError(f"No frame was evaluated: {why}; check the data with `lca check-data`.")
        order = sorted(found.values(), key=lambda pair: (pair[1].loader, *pair[0].key))
        these = replace(self.results, frames=[frame for frame, _ in order])
        self.results = replace(self.results, frames=[*self.results.frames, *these.frames])
        self._ended, self._frames = self._ended + 1, []
        wanted: dict[Place, list[ShownFrame]] = {}
        for shown in chosen_frames(these):
            self.shown.append(shown)
            wanted.setdefault(found[shown.result.key][1], []).append(shown)
        return wanted

    def means(self) -> dict[str, float]:
        """Mean scores of all frames of each set, for loggers: ``set/protocol/score``."""
        several = len({summary.views for summary in self.results.summaries()}) > 1
        return {
            f"{summary.set}{f'/{summary.views}_views' if several else ''}/{summary.protocol}/{name}": value
            for summary in self.results.summaries()
            if summary.task == "all"
            for name, value in summary.scores.items()
        }

    def write(self, folder: Path, checkpoint: str, model: AvatarModel) -> None:
        """Write ``FILES``, each atomically.

        Args:
            folder: Where to write; made when missing.
            checkpoint: File that was tested, empty for an untrained model.
            model: That was tested.
        """
        digest = _digest(Path(checkpoint)) if checkpoint else ""
        cost = self.cost.cost(model)
        groups = list(self.results.groups())
        self.shown.sort(key=lambda shown: groups.index((shown.result.set, shown.result.views)))
        results = replace(
            self.results,
            checkpoint=checkpoint,
            checkpoint_sha256=digest,
            step=self.step,
            cost=cost,
            remarks=tuple(self.remarks),
        )
        write_metrics_csv(results, folder / "metrics.csv")
        write_metrics_table(results, folder / "metrics.md")
        write_test_page(results, self.shown, folder / "report.html")
        write_metrics_json(results, folder / "metrics.json")  # last: who finds it finds the others


def scored_frames(batch: Batch, output: AvatarOutput, rig: Rig | None = None) -> ScoredFrames:
    """What protocols score of a batch.

    Args:
        batch: On the model's device.
        output: The model's renderings of it, over white.
        rig: Finds face and hands in the targets, where given.
    """
    return ScoredFrames(
        output.animated.images_BT3HW.float(),
        output.animated.alphas_BT1HW.float(),
        batch.targets.images_BT3HW,
        batch.targets.masks_BT1HW,
        batch.subjects,
        batch.frames,
        None if rig is None else region_masks(rig, batch),
        nearest_view_angles(batch),
    )


def take_pictures(
    model: AvatarModel, sets: Sequence[Any], wanted: Mapping[Place, Sequence[ShownFrame]]
) -> None:
    """Render the frames to show once more, in place: which they are is known only when all are scored.

    Args:
        model: In evaluation mode.
        sets: Data set behind each loader.
        wanted: From `Evaluation.end_pass`.
    """
    device = model.anchor_fingerprint_A3.device
    for place, frames in wanted.items():
        batch = Batch.collate([sets[place.loader][place.item]]).to(device)
        rendered = Rendered.of(model(batch))
        for frame in frames:
            target = batch.frames[0].index(frame.result.frame)
            frame.pictures.update(report_pictures(batch, rendered, 0, target))


def item_places(loader: Any, number: int, batch_idx: int, rows: int) -> list[Place]:
    """Where the rows of a batch come from.

    Args:
        loader: The data loader, whose sampler gives the same order whenever it is asked.
        number: Of the loader.
        batch_idx: Number of the batch in this process.
        rows: Of the batch.
    """
    indices = list(loader.sampler)
    first = batch_idx * (loader.batch_size or 1)
    return [Place(number, int(index)) for index in indices[first : first + rows]]


def _task(frame: str, references: Sequence[str] | None) -> str:
    """Whether the camera of a target is one of the references'; empty where nobody knows."""
    if references is None:
        return ""
    return SELF_REENACTMENT if _camera(frame) in map(_camera, references) else NOVEL_VIEW


def _camera(shot: str) -> str:
    return shot.split("/")[-2]


def _rows(batch: Batch) -> list[tuple[int, int]]:
    return [(b, t) for b, frames in enumerate(batch.frames) for t in range(len(frames))]


def _gathered(rows: list[Any]) -> list[Any]:
    """Join the rows of all processes."""
    if not torch.distributed.is_initialized():
        return rows
    parts: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, rows)
    return [row for part in parts for row in part]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
