"""Fixed references and targets for validation, test and prediction."""

from __future__ import annotations

from collections.abc import Sequence as Collection
from dataclasses import dataclass

import numpy as np

from lca_lightning.datasets.captures import HoldOut
from lca_lightning.datasets.format import Sequence
from lca_lightning.datasets.frame_store import Shot
from lca_lightning.datasets.policies import Candidates, ReferencePolicy
from lca_lightning.datasets.reader import SequenceSource
from lca_lightning.datasets.sampling import Take, spread
from lca_lightning.datasets.takes import make_take
from lca_lightning.errors import DataError


@dataclass(frozen=True)
class EvaluationItem:
    """Fixed references and a few targets; the references may be another subject's.

    Args:
        position: Of the targets' sequence in the data set.
        targets: Frames to reproduce.
        reference_position: Of the references' sequence.
        references: Photos the avatar is made from.
    """

    position: int
    targets: tuple[Shot, ...]
    reference_position: int
    references: tuple[Shot, ...]


@dataclass(frozen=True)
class EvaluationRule:
    """How items are made.

    Args:
        views: Reference views.
        limit: Largest number of targets of a sequence; None for all.
        targets_per_item: Targets that share one item (and so one run of the encoder).
        one_camera: References and targets come from the same camera, each camera apart.
        apart: Where the hold-out names no cameras, every second camera gives references and the others
            targets; for sequences that are not trained on.
        other_subject: Take the references from the next subject.
        early_targets: Where cameras and frames are held out, take targets from held-out cameras in the frames
            of training: what is chosen by validation is then not chosen on what is tested.
        lit_references: In a light stage: references are fully lit.
        policy: How references are chosen.
        also_views: Other numbers of reference views that the same targets are tested with: none of their
            references is a target either.
    """

    views: int
    limit: int | None
    targets_per_item: int
    one_camera: bool = False
    apart: bool = True
    other_subject: bool = False
    early_targets: bool = False
    lit_references: bool = False
    policy: ReferencePolicy = ReferencePolicy()
    also_views: tuple[int, ...] = ()


def evaluation_items(
    dataset: SequenceSource, positions: Collection[int], hold_out: HoldOut, rule: EvaluationRule
) -> list[EvaluationItem]:
    """Items of some sequences.

    Args:
        dataset: The data set.
        positions: Of sequences to evaluate; of training sequences only what is held out is a target.
        hold_out: Cameras and frames kept from training; in other sequences it separates references from
            targets in the same way.
        rule: What an item consists of.

    Returns:
        The items in order of sequences.

    Raises:
        DataError: No frame is usable, references leave no target, or ``other_subject`` is asked of a single
            subject.
    """
    usable = [
        fixed
        for position in positions
        for near, far in _camera_pairs(dataset.sequence(position), hold_out, rule.one_camera, rule.apart)
        if (fixed := _Fixed.of(dataset, position, hold_out, near, far, rule)) is not None
    ]
    if not usable:
        raise DataError(
            f"{dataset.root} has no usable frame for evaluation: none is valid and shows a person in its"
            " mask; check the data with `lca check-data`."
        )
    items: list[EvaluationItem] = []
    for fixed, source in zip(usable, _next_subjects(usable) if rule.other_subject else usable, strict=True):
        shots = fixed_targets(fixed.targets, fixed.kept_out, rule.limit)
        for start in range(0, len(shots), rule.targets_per_item):
            part = shots[start : start + rule.targets_per_item]
            items.append(EvaluationItem(fixed.position, part, source.position, source.references))
    if not items:
        raise DataError(
            f"Every usable frame of {dataset.root} for evaluation serves as a reference; "
            f"set data.init_args.test_views below {rule.views}, or add longer sequences."
        )
    return items


def frames_without_person(
    dataset: SequenceSource, positions: Collection[int], hold_out: HoldOut, rule: EvaluationRule
) -> tuple[tuple[str, str], ...]:
    """Frames that might have been targets if their masks showed anybody, for reports.

    Args:
        dataset: The data set.
        positions: Of sequences to evaluate.
        hold_out: As for `evaluation_items`.
        rule: As for `evaluation_items`.

    Returns:
        Subject and ``"sequence/camera/frame"`` of every valid frame of a target camera with an empty mask.
    """
    found = []
    for position in positions:
        sequence = dataset.sequence(position)
        boxes = sequence.signals.person_boxes
        for near, far in _camera_pairs(sequence, hold_out, rule.one_camera, rule.apart):
            considered_T = _frames(sequence, hold_out, near, far, rule)[1]
            considered_T = considered_T & sequence.signals.frame_valid_T.astype(bool)
            for camera in (name for name in far if name in boxes):
                lost_T = considered_T & ~np.isfinite(boxes[camera]).all(1)
                names = (shot_name(sequence, Shot(camera, int(frame))) for frame in np.flatnonzero(lost_T))
                found += [(sequence.subject, name) for name in names]
    return tuple(dict.fromkeys(found))


def shot_name(sequence: Sequence, shot: Shot) -> str:
    """``"sequence/camera/frame"``, as batches name it."""
    return f"{sequence.id}/{shot.camera}/{shot.frame:06d}"


def fixed_references(take: Take, views: int, policy: ReferencePolicy | None = None) -> tuple[Shot, ...]:
    """References for evaluation: what the policy prefers, without chance.

    The first view shows the face from as far in front as possible; each further one looks from the direction
    farthest from those before, then from the farthest moment. Where directions are unknown or
    ``policy.far_apart`` is 0, cameras take turns and frames are spread evenly.

    Args:
        take: The cameras and frames that references may come from.
        views: Reference views wanted; fewer where the take has fewer usable frames.
        policy: Options.

    Returns:
        Distinct shots, the same at every call; empty where no frame may serve as a reference.
    """
    policy = policy or ReferencePolicy()
    if take.yaw_CT is None or not policy.far_apart:
        return _spread_references(take, views)
    cameras: list[int] = []
    frames: list[int] = []
    for camera in range(len(take.cameras)):
        able = take.reference_frames(camera)
        count = min(len(able), -(-views * policy.candidates // len(take.cameras)))
        for part in np.array_split(able, count) if count else []:
            cameras.append(camera)
            frames.append(_best(take, camera, part, policy))
    candidates = Candidates.of(take, np.array(cameras, int), np.array(frames, int))
    return tuple(
        Shot(take.cameras[candidates.cameras_N[place]], int(candidates.frames_N[place]))
        for place in _farthest(candidates, views, bool(policy.face))
    )


def _best(take: Take, camera: int, frames: np.ndarray, policy: ReferencePolicy) -> int:
    middle = int(frames[len(frames) // 2])
    if take.sharpness_CT is None or policy.sharpest == 1:
        return middle
    tried = frames[spread(len(frames), policy.sharpest)]
    return int(tried[np.argmax(np.nan_to_num(take.sharpness_CT[camera, tried], nan=-1.0))])


def _farthest(candidates: Candidates, views: int, face: bool) -> list[int]:
    """Places of candidates far from each other, beginning with the most frontal."""
    count = len(candidates.frames_N)
    if not count:
        return []
    able = np.flatnonzero(candidates.face_N) if face and candidates.face_N.any() else np.arange(count)
    chosen = [int(able[np.argmin(np.abs(candidates.yaw_N[able]))])]
    nearest_N = candidates.distances(chosen[0])
    while len(chosen) < min(views, count):
        nearest_N[chosen] = -1.0
        chosen.append(int(np.argmax(nearest_N)))
        nearest_N = np.minimum(nearest_N, candidates.distances(chosen[-1]))
    return chosen


def _spread_references(take: Take, views: int) -> tuple[Shot, ...]:
    """The cameras in turn, frames spread evenly over the clip."""
    shots: list[Shot] = []
    able = [camera for camera in range(len(take.cameras)) if len(take.reference_frames(camera))]
    cameras = [able[place] for place in spread(len(able), views)]
    for position, camera in enumerate(cameras):
        frames = take.reference_frames(camera)
        share = len(range(position, views, len(cameras)))
        # cameras look at different moments: each is shifted by its part of a stretch
        shift = (position + 0.5) / len(cameras) - 0.5
        places = (np.arange(share) + 0.5 + shift) * len(frames) / max(share, 1)
        for place in np.unique(np.clip(places, 0, len(frames) - 1).astype(int)):
            shots.append(Shot(take.cameras[camera], int(frames[place])))
    return tuple(shots)


def fixed_targets(take: Take, references: tuple[Shot, ...], limit: int | None) -> tuple[Shot, ...]:
    """Targets for evaluation: all cameras and frames in order, or ``limit`` of them spread evenly.

    Frames that serve as references are left out; where nothing remains only the references themselves are.

    Args:
        take: The cameras and frames that targets may come from.
        references: The references in use.
        limit: Largest number of targets, or None.

    Returns:
        Distinct shots, the same at every call.
    """
    shots = [
        Shot(name, int(frame)) for index, name in enumerate(take.cameras) for frame in take.frames(index)
    ]
    moments = {shot.frame for shot in references}
    kept = [shot for shot in shots if shot.frame not in moments] or [s for s in shots if s not in references]
    if limit is None or len(kept) <= limit:
        return tuple(kept)
    return tuple(kept[position] for position in spread(len(kept), limit))


def _camera_pairs(
    sequence: Sequence, hold_out: HoldOut, one_camera: bool, apart: bool
) -> list[tuple[list[str], list[str]]]:
    """Cameras of references and of targets, for each clip of the sequence."""
    near, far = hold_out.cameras(sequence)
    if one_camera:
        return [([name], [name]) for name in near]
    if near == far and apart and len(near) > 1:
        return [(near[::2], near[1::2])]  # no camera serves both purposes
    return [(near, far)]


def _frames(
    sequence: Sequence, hold_out: HoldOut, near: list[str], far: list[str], rule: EvaluationRule
) -> tuple[np.ndarray, np.ndarray]:
    """Where references and where targets may come from, ``(T,)`` bool each."""
    early, late = hold_out.frames(sequence)
    return early, early if rule.early_targets and not set(near) & set(far) else late


@dataclass(frozen=True)
class _Fixed:
    """References of a clip and where its targets come from; what is kept out is none of them."""

    position: int
    subject: str
    references: tuple[Shot, ...]
    targets: Take
    kept_out: tuple[Shot, ...]

    @staticmethod
    def of(
        dataset: SequenceSource,
        position: int,
        hold_out: HoldOut,
        near: list[str],
        far: list[str],
        rule: EvaluationRule,
    ) -> _Fixed | None:
        """References from near cameras and early frames, targets from far ones; None where either lacks."""
        sequence = dataset.sequence(position)
        early, late = _frames(sequence, hold_out, near, far, rule)
        sources = make_take(sequence, near, early, lit_references=rule.lit_references)
        targets = make_take(sequence, far, late)
        if sources is None or targets is None:
            return None
        references = fixed_references(sources, rule.views, rule.policy)
        others = (fixed_references(sources, views, rule.policy) for views in rule.also_views)
        kept_out = tuple(dict.fromkeys((*references, *(shot for shots in others for shot in shots))))
        return _Fixed(position, sequence.subject, references, targets, kept_out) if references else None


def _next_subjects(usable: list[_Fixed]) -> list[_Fixed]:
    """For each clip one of the next subject in order of names."""
    by_subject: dict[str, list[_Fixed]] = {}
    for fixed in usable:
        by_subject.setdefault(fixed.subject, []).append(fixed)
    names = sorted(by_subject)
    if len(names) < 2:
        raise DataError("References from another subject need test sequences of at least two subjects.")
    following = {name: by_subject[names[(place + 1) % len(names)]] for place, name in enumerate(names)}
    seen: dict[str, int] = {}
    sources = []
    for fixed in usable:
        choices = following[fixed.subject]
        count = seen.setdefault(fixed.subject, 0)
        seen[fixed.subject] += 1
        sources.append(choices[count % len(choices)])
    return sources
