"""Which sequences, cameras and frames are for training and which are held out."""

from __future__ import annotations

from collections.abc import Sequence as Collection
from dataclasses import dataclass

import numpy as np

from lca_lightning.datasets.format import Dataset, Sequence
from lca_lightning.datasets.frame_store import Shot
from lca_lightning.datasets.samples import Clip, EvaluationItem
from lca_lightning.datasets.sampling import Take, fixed_references, fixed_targets
from lca_lightning.errors import ConfigError, DataError


@dataclass(frozen=True)
class HoldOut:
    """What is kept from training within a sequence.

    Args:
        train_cameras: Cameras for training and for references; None takes all that are not held out.
        test_cameras: Cameras held out; None takes those that ``train_cameras`` leaves, if it is given.
        test_frame_fraction: Part at the end of every sequence that is held out, 0 to below 1.
        only_cameras: Use no other cameras at all; None takes every camera of a sequence.
    """

    train_cameras: tuple[str, ...] | None = None
    test_cameras: tuple[str, ...] | None = None
    test_frame_fraction: float = 0.0
    only_cameras: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.test_frame_fraction < 1:
            raise ConfigError(
                f"data.init_args.test_frame_fraction must lie in [0, 1), got {self.test_frame_fraction}."
            )
        both = set(self.train_cameras or ()) & set(self.test_cameras or ())
        if both:
            raise ConfigError(f"The camera {sorted(both)[0]} is in both train_cameras and test_cameras.")

    @property
    def holds_out(self) -> bool:
        """Whether a training sequence has anything left for testing."""
        return bool(self.train_cameras or self.test_cameras or self.test_frame_fraction)

    def cameras(self, sequence: Sequence) -> tuple[list[str], list[str]]:
        """Cameras for training (and references), cameras for testing; equal where none is held out.

        Raises:
            DataError: A camera named in the configuration is not in the sequence.
        """
        names = list(self.only_cameras or sequence.cameras)
        for name in (*names, *(self.train_cameras or ()), *(self.test_cameras or ())):
            if name not in sequence.cameras:
                known = ", ".join(sequence.cameras)
                raise DataError(f"Sequence {sequence.id} has no camera {name!r}; it has {known}.")
        train = list(self.train_cameras or [name for name in names if name not in (self.test_cameras or ())])
        rest = [name for name in names if name not in train]
        if not train:
            raise DataError(f"All cameras of sequence {sequence.id} are held out; shorten test_cameras.")
        return train, list(self.test_cameras or (rest if self.train_cameras and rest else train))

    def frames(self, sequence: Sequence) -> tuple[np.ndarray, np.ndarray]:
        """Frame masks ``(T,)`` for training and for testing; all frames for both where none is held out."""
        everything = np.ones(sequence.frame_count, bool)
        if not self.test_frame_fraction:
            return everything, everything
        first = sequence.frame_count - max(1, round(sequence.frame_count * self.test_frame_fraction))
        late = np.arange(sequence.frame_count) >= first
        return ~late, late


def make_take(sequence: Sequence, cameras: Collection[str], frames_T: np.ndarray) -> Take | None:
    """Usable frames of some cameras; None where there are none.

    A frame is usable when it is marked as valid and, where person boxes are known, the person is in it.
    """
    signals = sequence.signals
    rows: dict[str, np.ndarray] = {}
    for name in cameras:
        usable = frames_T & signals.frame_valid_T.astype(bool)
        if name in signals.person_boxes:
            usable = usable & np.isfinite(signals.person_boxes[name]).all(1)
        if usable.any():
            rows[name] = usable
    return Take(tuple(rows), np.stack(list(rows.values()))) if rows else None


def training_clips(dataset: Dataset, hold_out: HoldOut, *, one_camera: bool) -> list[Clip]:
    """Sequences of split ``train`` without what is held out.

    Args:
        dataset: The data set.
        hold_out: What is kept from training.
        one_camera: Make a clip of every camera, for monocular training.

    Returns:
        Clips that can give a sample: two usable frames of a camera, or two cameras with one.

    Raises:
        DataError: There is none.
    """
    clips = []
    for sequence in dataset.sequences("train"):
        cameras, frames = hold_out.cameras(sequence)[0], hold_out.frames(sequence)[0]
        for group in [[name] for name in cameras] if one_camera else [cameras]:
            take = make_take(sequence, group, frames)
            if take is not None and (len(take.cameras) > 1 or take.usable_CT.sum() > 1):
                clips.append(Clip(sequence, take))
    if not clips:
        raise DataError(f"{dataset.root} has no sequence of split 'train' with two usable frames; add data.")
    return clips


def evaluation_items(
    dataset: Dataset,
    splits: tuple[str, ...],
    hold_out: HoldOut,
    *,
    views: int,
    limit: int | None,
    targets_per_item: int,
    one_camera: bool,
    other_subject: bool = False,
    validation: bool = False,
) -> list[EvaluationItem]:
    """Fixed references and targets of held-out sequences, else of what training sequences hold out.

    Args:
        dataset: The data set.
        splits: Splits to look for, the first that has sequences is taken; then ``train`` with its hold-out.
        hold_out: Cameras and frames kept from training; in sequences of other splits it separates references
            from targets in the same way.
        views: Reference views.
        limit: Largest number of targets of a sequence; None for all.
        targets_per_item: Targets that share one item (and so one run of the encoder).
        one_camera: References and targets come from the same camera, each camera apart.
        other_subject: Take the references from the next subject.
        validation: Where cameras and frames are held out, take targets from held-out cameras in the frames
            of training: what is chosen by validation is then not chosen on what is tested.

    Returns:
        The items in order of sequences.

    Raises:
        DataError: Nothing is held out, references leave no target, or ``other_subject`` is asked of a
            single subject.
    """
    found = next((found for split in splits if (found := dataset.sequences(split))), [])
    if not found and not hold_out.holds_out:
        raise DataError(
            f"{dataset.root} has no sequence of split {' or '.join(splits)} and nothing else is held out; "
            "set test_frame_fraction (for example 0.2) or test_cameras under data.init_args."
        )
    usable = [
        fixed
        for sequence in found or dataset.sequences("train")
        for near, far in _camera_pairs(sequence, hold_out, one_camera)
        if (fixed := _Fixed.of(sequence, hold_out, near, far, views, validation)) is not None
    ]
    if not usable:
        raise DataError(f"{dataset.root} has no usable frame for evaluation in split {' or '.join(splits)}.")
    items: list[EvaluationItem] = []
    for fixed, source in zip(usable, _next_subjects(usable) if other_subject else usable, strict=True):
        shots = fixed_targets(fixed.targets, fixed.references, limit)
        for start in range(0, len(shots), targets_per_item):
            part = shots[start : start + targets_per_item]
            items.append(EvaluationItem(fixed.sequence, part, source.sequence, source.references))
    if not items:
        raise DataError(
            f"Every usable frame of {dataset.root} in split {' or '.join(splits)} serves as a reference; "
            f"set data.init_args.test_views below {views}, or add longer sequences."
        )
    return items


def _camera_pairs(
    sequence: Sequence, hold_out: HoldOut, one_camera: bool
) -> list[tuple[list[str], list[str]]]:
    """Cameras of references and of targets, for each clip of the sequence."""
    near, far = hold_out.cameras(sequence)
    if one_camera:
        return [([name], [name]) for name in near]
    if near == far and sequence.split != "train" and len(near) > 1:
        return [(near[::2], near[1::2])]  # no camera serves both purposes
    return [(near, far)]


@dataclass(frozen=True)
class _Fixed:
    """References of a clip and where its targets come from."""

    sequence: Sequence
    references: tuple[Shot, ...]
    targets: Take

    @staticmethod
    def of(
        sequence: Sequence, hold_out: HoldOut, near: list[str], far: list[str], views: int, validation: bool
    ) -> _Fixed | None:
        """References from near cameras and early frames, targets from far ones; None where either lacks."""
        early, late = hold_out.frames(sequence)
        if validation and not set(near) & set(far):
            late = early
        sources, targets = make_take(sequence, near, early), make_take(sequence, far, late)
        if sources is None or targets is None:
            return None
        return _Fixed(sequence, fixed_references(sources, views), targets)


def _next_subjects(usable: list[_Fixed]) -> list[_Fixed]:
    """For each sequence one of the next subject in order of names."""
    by_subject: dict[str, list[_Fixed]] = {}
    for fixed in usable:
        by_subject.setdefault(fixed.sequence.subject, []).append(fixed)
    names = sorted(by_subject)
    if len(names) < 2:
        raise DataError("References from another subject need test sequences of at least two subjects.")
    following = {name: by_subject[names[(place + 1) % len(names)]] for place, name in enumerate(names)}
    seen: dict[str, int] = {}
    sources = []
    for fixed in usable:
        choices = following[fixed.sequence.subject]
        count = seen.setdefault(fixed.sequence.subject, 0)
        seen[fixed.sequence.subject] += 1
        sources.append(choices[count % len(choices)])
    return sources
