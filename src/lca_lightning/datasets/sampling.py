"""Which frames form a sample, as pure functions of the seed and the sample's number.

The number of a sample is ``(step * world_size + rank) * batch_size + slot``: it depends neither on the number
of loading workers nor on what was drawn before. A run that resumes at a step sees what the straight run saw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lca_lightning.datasets.frame_store import Shot

_ORDER, _VIEWS, _SHOTS = 0, 1, 2  # separate streams of random numbers


@dataclass(frozen=True)
class Take:
    """What may be drawn from one sequence.

    Args:
        cameras: Camera names ``C``; every one has at least one usable frame.
        usable_CT: True where a camera's frame may be used.
    """

    cameras: tuple[str, ...]
    usable_CT: np.ndarray

    def frames(self, camera: int) -> np.ndarray:
        """Usable frame indices of one camera, ascending."""
        return np.flatnonzero(self.usable_CT[camera])


@dataclass(frozen=True)
class Draw:
    """References and targets of one sample."""

    references: tuple[Shot, ...]
    targets: tuple[Shot, ...]


def sample_number(step: int, rank: int, world_size: int, batch_size: int, slot: int) -> int:
    """Number of a sample in the endless stream of a run; ``slot`` counts within the rank's batch."""
    return (step * world_size + rank) * batch_size + slot


def draw_take(seed: int, number: int, take_count: int) -> int:
    """Index of the take of a sample: each run over all takes is a fresh permutation of them."""
    lap, position = divmod(number, take_count)
    return int(np.random.default_rng([seed, _ORDER, lap]).permutation(take_count)[position])


def draw_view_count(seed: int, step: int, view_counts: tuple[int, ...]) -> int:
    """Number of reference views of a step; equal on all ranks, so that none waits for another."""
    return int(np.random.default_rng([seed, _VIEWS, step]).choice(view_counts))


def draw_monocular(seed: int, number: int, take: Take, views: int, targets: int) -> Draw:
    """References and targets from different frames of one camera.

    The camera is drawn where the take has several. With fewer than ``views + 1`` usable frames there are
    fewer references; targets repeat where too few frames are left.

    Args:
        seed: Of the run.
        number: Of the sample.
        take: Needs a camera with at least two usable frames.
        views: Reference views wanted.
        targets: Target frames wanted.

    Returns:
        The frames; no frame is both reference and target.
    """
    generator = np.random.default_rng([seed, _SHOTS, number])
    able = [index for index in range(len(take.cameras)) if len(take.frames(index)) > 1]
    camera = int(generator.choice(able))
    frames = take.frames(camera)
    references = _one_per_stratum(generator, frames, min(views, len(frames) - 1))
    chosen = _choose(generator, np.setdiff1d(frames, references), targets)
    name = take.cameras[camera]
    return Draw(
        tuple(Shot(name, int(frame)) for frame in references),
        tuple(Shot(name, int(frame)) for frame in chosen),
    )


def draw_multiview(seed: int, number: int, take: Take, views: int, targets: int) -> Draw:
    """References from some cameras and frames, targets from other cameras and other frames.

    Of ``C`` cameras, between half of ``min(views, C - 1)`` and all of them give references and the rest give
    targets. A take with one camera falls back to :func:`draw_monocular`. Where the other frames are used up
    (a take of very few frames), targets may share frames with references, never camera and frame.

    Args:
        seed: Of the run.
        number: Of the sample.
        take: What may be drawn.
        views: Reference views wanted; fewer where the reference cameras have fewer usable frames.
        targets: Target frames wanted.

    Returns:
        The frames; no camera is both reference and target.
    """
    if len(take.cameras) == 1:
        return draw_monocular(seed, number, take, views, targets)
    generator = np.random.default_rng([seed, _SHOTS, number])
    most = min(views, len(take.cameras) - 1)
    reference_cameras = int(generator.integers((most + 1) // 2, most + 1))
    order = generator.permutation(len(take.cameras))
    references: list[Shot] = []
    for position, camera in enumerate(order[:reference_cameras]):
        share = len(range(position, views, reference_cameras))
        frames = take.frames(camera)
        chosen = _one_per_stratum(generator, frames, min(share, max(len(frames) - 1, 1)))
        references += [Shot(take.cameras[camera], int(frame)) for frame in chosen]
    used = np.array([shot.frame for shot in references])
    picked: list[Shot] = []
    target_cameras = order[reference_cameras:]
    for position, camera in enumerate(target_cameras[:targets]):
        share = len(range(position, targets, len(target_cameras)))
        frames = take.frames(camera)
        free = np.setdiff1d(frames, used)
        picked += [
            Shot(take.cameras[camera], int(frame))
            for frame in _choose(generator, free if len(free) else frames, share)
        ]
    return Draw(tuple(references), tuple(picked))


def _one_per_stratum(generator: np.random.Generator, frames: np.ndarray, count: int) -> np.ndarray:
    """``count`` distinct frames, one from each of as many equal stretches of the clip."""
    return np.array([generator.choice(part) for part in np.array_split(frames, count)])


def _choose(generator: np.random.Generator, frames: np.ndarray, count: int) -> np.ndarray:
    """``count`` frames, distinct while there are enough."""
    return generator.choice(frames, count, replace=len(frames) < count)


def spread(count: int, wanted: int) -> np.ndarray:
    """``min(wanted, count)`` positions spread evenly over ``range(count)``."""
    wanted = min(wanted, count)
    return ((np.arange(wanted) + 0.5) * count / max(wanted, 1)).astype(int)


def fixed_references(take: Take, views: int) -> tuple[Shot, ...]:
    """References for evaluation: the cameras in turn, frames spread evenly over the clip.

    Args:
        take: The cameras and frames that references may come from.
        views: Reference views wanted; fewer where the take has fewer usable frames.

    Returns:
        Distinct shots, the same at every call.
    """
    shots: list[Shot] = []
    cameras = spread(len(take.cameras), views)
    for position, camera in enumerate(cameras):
        frames = take.frames(int(camera))
        share = len(range(position, views, len(cameras)))
        # cameras look at different moments: each is shifted by its part of a stretch
        shift = (position + 0.5) / len(cameras) - 0.5
        places = (np.arange(share) + 0.5 + shift) * len(frames) / max(share, 1)
        for place in np.unique(np.clip(places, 0, len(frames) - 1).astype(int)):
            shots.append(Shot(take.cameras[int(camera)], int(frames[place])))
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
