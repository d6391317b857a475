"""Which frames of a take become references and targets: options, and the draws of training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lca_lightning.datasets.frame_store import Shot
from lca_lightning.datasets.sampling import Draw, Take, shot_generator
from lca_lightning.errors import ConfigError

_TIME_WEIGHT = 0.1  # the whole length of a clip counts as much as a tenth of half a turn


@dataclass(frozen=True)
class ReferencePolicy:
    """How reference views are chosen; a step has 1, 2, 4 or 8 of them in the recipes.

    Args:
        far_apart: Probability that a further view is the candidate that looks from the direction farthest
            from those of the views so far (then farthest in time); otherwise any candidate. In evaluation
            every value above 0 means always.
        face: Probability that the first view shows the face, where a candidate does.
        sharpest: Frames that compete for each candidate; the sharpest wins. 1 does not look at sharpness.
        candidates: Candidates for each view, spread over the clip and the cameras.
    """

    far_apart: float = 0.75
    face: float = 0.9
    sharpest: int = 2
    candidates: int = 4

    def __post_init__(self) -> None:
        for name in ("far_apart", "face"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(
                    f"data.init_args.references.{name} must lie in [0, 1], got {getattr(self, name)}."
                )
        for name in ("sharpest", "candidates"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"data.init_args.references.{name} must be at least 1, got {getattr(self, name)}."
                )


@dataclass(frozen=True)
class TargetPolicy:
    """How targets are chosen where a take has several cameras.

    Args:
        other_cameras: Targets come from cameras that give no reference.
        other_frames: Targets come from moments that give no reference.
    """

    other_cameras: bool = True
    other_frames: bool = True


@dataclass(frozen=True)
class Candidates:
    """Frames that may become references, as columns of equal length ``N``."""

    cameras_N: np.ndarray
    frames_N: np.ndarray
    yaw_N: np.ndarray
    face_N: np.ndarray

    @staticmethod
    def of(take: Take, cameras_N: np.ndarray, frames_N: np.ndarray) -> Candidates:
        """Look up direction and face of some frames of a take."""
        none = np.zeros(len(frames_N))
        yaw_N = none if take.yaw_CT is None else take.yaw_CT[cameras_N, frames_N]
        face_N = none > 0 if take.face_CT is None else take.face_CT[cameras_N, frames_N]
        return Candidates(cameras_N, frames_N, yaw_N, face_N)

    def distances(self, place: int) -> np.ndarray:
        """How far all are from one: angle over half a turn, plus a small part for time, ``(N,)``."""
        turn_N = np.abs((self.yaw_N - self.yaw_N[place] + np.pi) % (2 * np.pi) - np.pi) / np.pi
        length = max(int(np.ptp(self.frames_N)), 1)
        return turn_N + _TIME_WEIGHT * np.abs(self.frames_N - self.frames_N[place]) / length


def draw_shots(
    seed: int,
    number: int,
    take: Take,
    views: int,
    targets: int,
    references: ReferencePolicy | None = None,
    policy: TargetPolicy | None = None,
    partially_lit: float | None = None,
) -> Draw:
    """References and targets of a training sample (LCA section 3.2).

    One camera: both are different frames of it. Several: unless the policy says otherwise, some cameras give
    references and others targets, at other moments. With too few frames there are fewer references and
    targets repeat; where one moment is all there is, cameras still differ.

    Args:
        seed: Of the run.
        number: Of the sample.
        take: Needs two frames of a camera, or two cameras with one.
        views: Reference views wanted.
        targets: Target frames wanted.
        references: Options for references.
        policy: Options for targets.
        partially_lit: Share of targets from frames that cannot be references (in a light stage: partially lit
            ones); None draws from all frames alike.

    Returns:
        The frames; none is both reference and target. Empty references if no frame may serve as one.
    """
    references, policy = references or ReferencePolicy(), policy or TargetPolicy()
    generator = shot_generator(seed, number)
    near, far = _cameras(generator, take, targets, policy)
    kept = _kept_shot(generator, take, int(far[0]))
    candidates = _candidates(generator, take, near, views, kept, references, policy)
    chosen = _choose_references(generator, candidates, views, references)
    shots = [Shot(take.cameras[candidates.cameras_N[n]], int(candidates.frames_N[n])) for n in chosen]
    picked: list[Shot] = []
    for position, camera in enumerate(far):
        if position >= targets and picked:
            break  # a further camera is asked only where those before have no frame to spare
        share = max(1, len(range(position, targets, min(len(far), targets))))
        frames = _free_frames(take, camera, shots, policy)
        parts = _by_light(generator, take, frames, share, partially_lit)
        picked += [Shot(take.cameras[camera], int(f)) for part, n in parts for f in _pick(generator, part, n)]
    while picked and len(picked) < targets:  # some cameras had no frame to spare
        picked.append(picked[len(picked) % len(set(picked))])
    return Draw(tuple(shots), tuple(picked))


def _cameras(
    generator: np.random.Generator, take: Take, targets: int, policy: TargetPolicy
) -> tuple[np.ndarray, np.ndarray]:
    """Cameras that may give references, and those that give targets in the order they are asked."""
    order = generator.permutation(len(take.cameras))
    able = np.array([len(take.reference_frames(camera)) > 0 for camera in order])
    if len(order) == 1 or not policy.other_cameras:
        # one with a frame to spare first: a camera of a single frame cannot give both
        spare = np.array([len(take.frames(camera)) < 2 for camera in order])
        return order[able], order[np.argsort(spare, kind="stable")]
    order = order[np.argsort(able, kind="stable")]  # cameras without reference frames give targets
    reserved = max(1, min(targets, len(order) // 2), int((~able).sum()))
    reserved = min(reserved, len(order) - 1)
    near = order[reserved:]
    return near[[len(take.reference_frames(camera)) > 0 for camera in near]], order[:reserved]


def _kept_shot(generator: np.random.Generator, take: Take, camera: int) -> tuple[int, int] | None:
    """Camera and moment that references leave to the targets, so that there is always one."""
    frames = take.reference_frames(camera)
    return (camera, int(generator.choice(frames))) if len(frames) else None


def _candidates(
    generator: np.random.Generator,
    take: Take,
    near: np.ndarray,
    views: int,
    kept: tuple[int, int] | None,
    references: ReferencePolicy,
    policy: TargetPolicy,
) -> Candidates:
    """One frame from each of many equal stretches of every camera, the sharpest of a few; and one face."""
    able = {int(camera): take.reference_frames(camera) for camera in near}
    if kept is not None:
        # a single moment seen by several cameras is both; then only the kept camera is spared
        for everywhere in (policy.other_frames, False):
            spared = {c: f[f != kept[1]] if everywhere or c == kept[0] else f for c, f in able.items()}
            if any(len(frames) for frames in spared.values()):
                able = spared
                break
    share = -(-views * references.candidates // max(len(able), 1))
    found: list[tuple[int, int]] = []
    for camera, frames in able.items():
        parts = min(share, len(frames))
        found += [(camera, f) for f in _sharpest(generator, take, camera, frames, parts, references)]
    if take.face_CT is not None:
        faces = {c: f[take.face_CT[c, f]] for c, f in able.items()}
        shown = [camera for camera, frames in faces.items() if len(frames)]
        if shown:
            camera = shown[generator.integers(len(shown))]
            (sharpest,) = _sharpest(generator, take, camera, faces[camera], 1, references)
            found.append((camera, sharpest))
    columns = np.array(list(dict.fromkeys(found)), int).reshape(-1, 2)
    return Candidates.of(take, columns[:, 0], columns[:, 1])


def _sharpest(
    generator: np.random.Generator,
    take: Take,
    camera: int,
    frames: np.ndarray,
    stretches: int,
    policy: ReferencePolicy,
) -> list[int]:
    """The sharpest of a few frames of each of as many equal stretches."""
    if not stretches:
        return []
    edges = np.arange(stretches + 1) * len(frames) // stretches
    drawn_SK = generator.random((stretches, policy.sharpest)) * np.diff(edges)[:, None]
    tried_SK = frames[edges[:-1, None] + drawn_SK.astype(int)]
    if take.sharpness_CT is None:
        return tried_SK[:, 0].tolist()
    sharpness_SK = take.sharpness_CT[camera][tried_SK]
    best_S = np.where(np.isnan(sharpness_SK), -1.0, sharpness_SK).argmax(1)
    return tried_SK[np.arange(stretches), best_S].tolist()


def _choose_references(
    generator: np.random.Generator, candidates: Candidates, views: int, policy: ReferencePolicy
) -> list[int]:
    """Places of the chosen candidates."""
    count = len(candidates.frames_N)
    if not count:
        return []
    faces = np.flatnonzero(candidates.face_N)
    wanted = generator.random() < policy.face and len(faces) > 0
    chosen = [int(faces[generator.integers(len(faces))]) if wanted else int(generator.integers(count))]
    nearest_N = candidates.distances(chosen[0])
    free_N = np.ones(count, bool)
    while len(chosen) < min(views, count):
        free_N[chosen[-1]] = False
        if generator.random() < policy.far_apart:
            place = int(np.where(free_N, nearest_N, -1.0).argmax())
        else:
            rest = np.flatnonzero(free_N)
            place = int(rest[generator.integers(len(rest))])
        chosen.append(place)
        nearest_N = np.minimum(nearest_N, candidates.distances(place))
    return chosen


def _free_frames(take: Take, camera: int, references: list[Shot], policy: TargetPolicy) -> np.ndarray:
    """Frames of a target camera that no reference uses."""
    frames, name = take.frames(camera), take.cameras[camera]
    own = _without(frames, [shot.frame for shot in references if shot.camera == name])
    if policy.other_frames or len(take.cameras) == 1:
        other = _without(frames, [shot.frame for shot in references])
        return other if len(other) else own
    return own


def _without(frames: np.ndarray, taken: list[int]) -> np.ndarray:
    """Ascending frames that are not taken."""
    if not len(frames):
        return frames
    free = np.ones(max(frames[-1], *taken, 0) + 1, bool)
    free[taken] = False
    return frames[free[frames]]


def _by_light(
    generator: np.random.Generator, take: Take, frames: np.ndarray, count: int, share: float | None
) -> list[tuple[np.ndarray, int]]:
    """Frames to pick from, with how many: fully and partially lit ones apart where a share is given."""
    if share is None or take.reference_T is None:
        return [(frames, count)]
    lit = take.reference_T[frames]
    partially = int(generator.binomial(count, share))
    if not lit.any() or lit.all():
        return [(frames, count)]
    return [(frames[lit], count - partially), (frames[~lit], partially)]


def _pick(generator: np.random.Generator, frames: np.ndarray, count: int) -> np.ndarray:
    """``count`` frames, distinct while there are enough."""
    if not len(frames) or not count:
        return np.array([], int)
    return generator.choice(frames, count, replace=len(frames) < count)
