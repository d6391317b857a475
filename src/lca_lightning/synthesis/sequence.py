"""One synthetic person, from the draw to the finished sequence on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from lca_lightning.datasets.files import FolderFiles
from lca_lightning.datasets.format import SequenceWriter, Signals, sequence_exists
from lca_lightning.datasets.sequence import read_description
from lca_lightning.errors import DataError, UsageError
from lca_lightning.motion.clip import Motion
from lca_lightning.motion.retarget import load_motion
from lca_lightning.rig.loading import load_rig
from lca_lightning.rig.rig import Rig, RigPose
from lca_lightning.synthesis.atlas import load_template
from lca_lightning.synthesis.faces import face_boxes
from lca_lightning.synthesis.fit_noise import TRUTH_FILE, FitNoise, noisy_fit, write_truth
from lca_lightning.synthesis.motion import procedural_motion, with_gaze
from lca_lightning.synthesis.person import Person, create_person
from lca_lightning.synthesis.precision import stored
from lca_lightning.synthesis.proportions import random_proportions
from lca_lightning.synthesis.settings import LICENCE, PROVENANCE, CaptureSettings, sequence_id
from lca_lightning.synthesis.takes import Take, start_take
from lca_lightning.synthesis.traits import Traits, draw_traits

_SECONDS_PER_TURN = 8.0
_FASTEST_TURN = 0.7  # turns per second
_RICH = ("studio", "light_stage")
_WARDROBES = {"studio": "bareheaded", "light_stage": "tight", "stylised": "drawn"}
_STREAMS = {"person": 0, "motion": 1, "take": 2, "fit": 3}


@lru_cache(maxsize=2)
def cached_rig(name: str) -> Rig:
    """The rig, loaded once per process."""
    return load_rig(name)


def is_finished(root: str | Path, settings: CaptureSettings, subject: int, split: str) -> bool:
    """Whether a subject's sequence is on disk, with its true values where the stored ones are noisy.

    Args:
        root: Folder of the data set.
        settings: What is wanted.
        subject: Number of the person.
        split: The split that is wanted.

    Raises:
        DataError: The sequence there has another split or was made with other settings: continued, the set
            would be a mixture of two.
    """
    name = sequence_id(settings, subject)
    if not sequence_exists(root, name):
        return False
    folder = Path(root) / "sequences" / name
    description = read_description(FolderFiles(folder))
    found = {"split": description.get("split"), **description.get("quality", {})}
    wanted = {"split": split, **settings.described()}
    for key, value in wanted.items():
        if found.get(key) != value:
            raise DataError(
                f"{folder} was made with {key} {found.get(key)}, and {value} is wanted; choose an empty "
                "folder, or delete this sequence and run the same command again."
            )
    return settings.noise_strength == 0 or (folder / TRUTH_FILE).is_file()


def render_sequence(
    root: str | Path,
    settings: CaptureSettings,
    subject: int,
    split: str,
    tick: Callable[[int], object] | None = None,
) -> Path:
    """Draw, move, render and write one person.

    Args:
        root: Folder of the data set.
        settings: What to render.
        subject: Number of the person.
        split: "train", "val" or "test".
        tick: Called with 1 after each picture.

    Returns:
        Folder of the sequence.
    """
    actor = _draw_actor(settings, subject)
    take = start_take(settings, actor.person, actor.skinned_TN3, _stream(settings, subject, "take"))
    signals = _exact_signals(actor, take)
    name = sequence_id(settings, subject)
    options: dict[str, Any] = {
        "subject": name, "split": split, "fps": settings.fps, "cameras": take.cameras,
        "rig": actor.person.rig.name, "licence": LICENCE, "provenance": PROVENANCE,
        "kind": settings.kind, "consent": "synthetic", "overwrite": True, **take.storage,
    }  # fmt: skip
    with SequenceWriter(root, name, **options) as writer:
        _film(take, actor, writer, tick)
        fit = noisy_fit(
            signals,
            actor.person.rig,
            take.cameras[0].w2c_44,
            settings.fps,
            settings.noise_strength,
            _stream(settings, subject, "fit"),
            FitNoise() if len(take.cameras) == 1 else FitNoise(depth=FitNoise.sideways),
        )
        folder = writer.finish(fit, {**_worn(actor.person), **take.facts, **settings.described()})
    if settings.noise_strength > 0:
        write_truth(folder, signals)
    return folder


def _stream(settings: CaptureSettings, subject: int, purpose: str) -> np.random.Generator:
    """Random numbers of one purpose: what is added to one leaves the others as they were."""
    return np.random.default_rng([settings.seed, subject, _STREAMS[purpose]])


@dataclass(frozen=True)
class _Actor:
    """A person with a motion, in all frames by plain skinning and with swinging cloth."""

    person: Person
    motion: Motion
    skinned_TN3: np.ndarray
    points_TN3: np.ndarray

    @property
    def pose(self) -> RigPose:
        return RigPose(
            torch.from_numpy(self.motion.rotations_TJ3), torch.from_numpy(self.motion.translation_T3)
        )


def subject_traits(settings: CaptureSettings, subject: int) -> Traits:
    """What is decided about a subject, without building or rendering anything.

    Args:
        settings: Of the data set.
        subject: Number of the person.

    Returns:
        The traits of the person that `render_sequence` films.
    """
    rng = _stream(settings, subject, "person")
    proportions = random_proportions(rng) if settings.kind == "stylised" else None
    return draw_traits(cached_rig(settings.rig), rng, _wardrobe(settings), proportions)


def _wardrobe(settings: CaptureSettings) -> str:
    return _WARDROBES.get(settings.kind, "everyday")


def _draw_actor(settings: CaptureSettings, subject: int) -> _Actor:
    rig, rng = cached_rig(settings.rig), _stream(settings, subject, "person")
    proportions = random_proportions(rng) if settings.kind == "stylised" else None
    template = load_template(rig, settings.texture_size)
    person = create_person(template, rng, _wardrobe(settings), proportions)
    motion = draw_motion(settings, rig, person.identity_I, _stream(settings, subject, "motion"))
    if proportions is not None:  # the eyes no longer sit on their joints
        motion = _looking_ahead(rig, motion)
    assert motion.expression_TE is not None
    pose = RigPose(torch.from_numpy(motion.rotations_TJ3), torch.from_numpy(motion.translation_T3))
    skinned = person.posed_points(pose, torch.from_numpy(motion.expression_TE))
    return _Actor(person, motion, skinned, person.swing(skinned, settings.fps))


def _looking_ahead(rig: Rig, motion: Motion) -> Motion:
    gaze = np.zeros((len(motion), 8), np.float32)
    gaze[:, [2, 3, 6, 7]] = 1.0
    return replace(motion, gaze_T8=gaze, rotations_TJ3=with_gaze(rig, motion.rotations_TJ3, gaze))


def _exact_signals(actor: _Actor, take: Take) -> Signals:
    person, motion = actor.person, actor.motion
    assert motion.expression_TE is not None and motion.gaze_T8 is not None
    boxes = {
        camera.name: face_boxes(person.rig, person, actor.pose, actor.skinned_TN3, camera)
        for camera in take.cameras
    }
    return Signals(
        person.identity_I.numpy(),
        motion.rotations_TJ3,
        motion.translation_T3,
        motion.expression_TE,
        motion.gaze_T8,
        np.ones(len(motion), dtype=bool),
        boxes,
        lights=take.lights,
    )


def _worn(person: Person) -> dict[str, Any]:
    skirt = ["skirt"] if person.outfit.skirt is not None else []
    return {"hair": person.hair_style, "worn": skirt + person.accessories.names()}


def _film(take: Take, actor: _Actor, writer: SequenceWriter, tick: Callable[[int], object] | None) -> None:
    """Render every frame into every camera and write the pictures with their masks."""
    for frame, points_N3 in enumerate(actor.points_TN3):
        take.move_to(points_N3)
        for index, camera in enumerate(take.cameras):
            seed = frame * len(take.cameras) + index
            writer.add_frame(camera.name, *take.picture(frame, camera, seed))
            if tick is not None:
                tick(1)


def draw_motion(
    settings: CaptureSettings, rig: Rig, identity_I: torch.Tensor, rng: np.random.Generator
) -> Motion:
    """Procedural motion, or a random stretch of a motion file with procedural face and eyes."""
    seconds = settings.frames / settings.fps
    turns = max(1.0, round(seconds / _SECONDS_PER_TURN)) * (0.25 if settings.kind in _RICH else 1.0)
    turns = min(turns, seconds * _FASTEST_TURN)
    rich = settings.kind in _RICH
    drawn = procedural_motion(rig, identity_I, settings.frames, settings.fps, rng, turns, rich=rich)
    if settings.motion is None:
        return drawn
    clip = load_clip(settings, rig, identity_I)
    start = int(rng.integers(0, len(clip) - settings.frames + 1))
    stretch = _turned(clip.slice(start, start + settings.frames), rng.uniform(0, 2 * np.pi))
    assert drawn.gaze_T8 is not None
    return replace(
        stretch,
        rotations_TJ3=with_gaze(rig, stretch.rotations_TJ3, drawn.gaze_T8),
        translation_T3=stored(stretch.translation_T3),
        expression_TE=drawn.expression_TE,
        gaze_T8=drawn.gaze_T8,
    )


def _turned(motion: Motion, yaw: float) -> Motion:
    """The motion turned about the vertical, so that files facing one way show all sides over the subjects."""
    turn = Rotation.from_rotvec([0.0, yaw, 0.0])
    rotations = motion.rotations_TJ3.copy()
    rotations[:, 0] = (turn * Rotation.from_rotvec(rotations[:, 0])).as_rotvec()
    return replace(
        motion,
        rotations_TJ3=rotations,
        translation_T3=turn.apply(motion.translation_T3).astype(np.float32),
    )


def load_clip(settings: CaptureSettings, rig: Rig, identity_I: torch.Tensor) -> Motion:
    """The motion file at the wanted frame rate, long enough.

    Raises:
        UsageError: It is too short.
    """
    assert settings.motion is not None
    clip = load_motion(settings.motion, rig, identity_I, settings.fps)
    if len(clip) < settings.frames:
        raise UsageError(
            f"{settings.motion} has {len(clip)} frames at {settings.fps:g} per second but {settings.frames}"
            " were asked for; lower --frames or give a longer motion."
        )
    return clip
