"""Synthetic captures on disk: draws, moves and renders people, writes sequences of layout version 1."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from lca_lightning.datasets.format import (
    CameraRecord,
    SequenceWriter,
    Signals,
    sequence_exists,
    write_dataset_header,
)
from lca_lightning.errors import UsageError
from lca_lightning.motion.clip import Motion
from lca_lightning.motion.retarget import load_motion
from lca_lightning.rig.loading import load_rig
from lca_lightning.rig.rig import Rig, RigPose
from lca_lightning.synthesis.cameras import studio_cameras, wild_camera
from lca_lightning.synthesis.faces import face_boxes
from lca_lightning.synthesis.lighting import (
    studio_background,
    studio_environment,
    wild_background,
    wild_environment,
)
from lca_lightning.synthesis.motion import procedural_motion
from lca_lightning.synthesis.person import Person, create_person, load_template
from lca_lightning.synthesis.scene import PersonScene, RenderedFrame, load_mitsuba, use_one_thread
from lca_lightning.synthesis.textures import linear_to_srgb

KINDS = ("wild", "studio")
LICENCE = "CC0"
PROVENANCE = "synthetic"
_SECONDS_PER_TURN = 8.0


@dataclass(frozen=True)
class CaptureSettings:
    """What a synthetic data set looks like; the same settings, seed and subject give the same sequence.

    Attributes:
        kind: "wild" (one camera, random light and background) or "studio" (ring, even light, grey).
        frames: Frames per sequence.
        cameras: Cameras of the ring; "wild" has one.
        height: Picture height in pixels, even.
        width: Picture width in pixels, even.
        seed: Seed of the whole set.
        samples: Samples per pixel.
        fps: Frames per second.
        motion: A .bvh or .npz file to move everybody by, or None for procedural motion.
        rig: Name of the rig.
    """

    kind: str = "wild"
    frames: int = 24
    cameras: int = 6
    height: int = 256
    width: int = 192
    seed: int = 0
    samples: int = 24
    fps: float = 10.0
    motion: str | None = None
    rig: str = "anny"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"The kind of a capture is {' or '.join(KINDS)}, not {self.kind!r}.")
        for name in ("frames", "cameras", "samples"):
            if getattr(self, name) < 1:
                raise UsageError(f"The number of {name} must be at least 1, got {getattr(self, name)}.")
        if min(self.height, self.width) < 32 or self.height % 2 or self.width % 2:
            raise UsageError(
                f"The picture size must be even and at least 32x32, got {self.height}x{self.width}."
            )
        if self.seed < 0 or self.fps <= 0:
            raise UsageError("The seed must not be negative and the frame rate must be positive.")

    @property
    def camera_count(self) -> int:
        """Cameras per sequence."""
        return 1 if self.kind == "wild" else self.cameras

    @property
    def texture_size(self) -> int:
        """Side of the body texture in pixels."""
        return 512 if self.height <= 320 else 1024


def sequence_id(settings: CaptureSettings, subject: int) -> str:
    """Name of a subject's sequence, the same in every run."""
    return f"synthetic-{settings.seed:04d}-{subject:05d}"


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
    fps: float = 10.0,
    progress: bool = True,
) -> list[Path]:
    """Render synthetic people into a data set.

    Args:
        root: Folder of the data set; finished sequences in it are kept and skipped.
        kind: "wild" or "studio".
        subjects: Number of people, one sequence each.
        frames: Frames per sequence.
        cameras: Cameras of the studio ring.
        size: Height and width in pixels.
        seed: A person depends only on the seed and the person's number.
        samples: Samples per pixel.
        motion: A .bvh or .npz file for everybody instead of procedural motion.
        workers: Processes that render; 0 renders in this process.
        test_subjects: How many of the last subjects form the test split; an eighth when None.
        fps: Frames per second.
        progress: Show a progress bar.

    Returns:
        Folders of all sequences, in the order of the subjects.

    Raises:
        UsageError: A number is out of range.
        MissingAssetError: Mitsuba is not installed.
        DataError: The folder holds other data or cannot be written.
    """
    source = None if motion is None else str(motion)
    settings = CaptureSettings(kind, frames, cameras, *size, seed, samples, fps, source)
    held_out = _held_out_count(subjects, workers, test_subjects)
    load_mitsuba()
    if settings.motion is not None:  # before anything is written
        rig = _cached_rig(settings.rig)
        _load_clip(settings, rig, rig.neutral_identity())
    root = Path(root)
    write_dataset_header(root, kind=kind, rig=settings.rig, licence=LICENCE, provenance=PROVENANCE)
    tasks = [
        _Task(str(root), settings, subject, "test" if subject >= subjects - held_out else "train")
        for subject in range(subjects)
        if not sequence_exists(root, sequence_id(settings, subject))
    ]
    pictures = frames * settings.camera_count
    with tqdm(total=pictures * len(tasks), unit="picture", disable=not progress or not tasks) as bar:
        for done in _run(tasks, workers, bar.update):
            bar.update(done)
    return [root / "sequences" / sequence_id(settings, subject) for subject in range(subjects)]


def _held_out_count(subjects: int, workers: int, test_subjects: int | None) -> int:
    """How many subjects form the test split, after the numbers were checked."""
    if subjects < 1 or workers < 0:
        raise UsageError(f"Needs at least one subject and no negative workers, got {subjects} and {workers}.")
    held_out = (subjects + 6) // 8 if test_subjects is None else test_subjects
    if not 0 <= held_out <= subjects:
        raise UsageError(f"The number of test subjects must lie between 0 and {subjects}, got {held_out}.")
    return held_out


@dataclass(frozen=True)
class _Task:
    root: str
    settings: CaptureSettings
    subject: int
    split: str


def _run(tasks: list[_Task], workers: int, tick: Callable[[int], object]) -> Iterator[int]:
    """Render all tasks; yields how many pictures of a finished task were not reported through ``tick``."""
    if workers == 0 or len(tasks) <= 1:
        for task in tasks:
            render_sequence(task.root, task.settings, task.subject, task.split, tick)
            yield 0
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(min(workers, len(tasks)), initializer=_start_worker) as pool:
        yield from pool.imap_unordered(_work, tasks)


def _start_worker() -> None:
    torch.set_num_threads(1)
    use_one_thread()


def _work(task: _Task) -> int:
    render_sequence(task.root, task.settings, task.subject, task.split)
    return task.settings.frames * task.settings.camera_count


@lru_cache(maxsize=2)
def _cached_rig(name: str) -> Rig:
    return load_rig(name)


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
        split: "train" or "test".
        tick: Called with 1 after each picture.

    Returns:
        Folder of the sequence.
    """
    started = time.perf_counter()
    rng = np.random.default_rng([settings.seed, subject])
    rig = _cached_rig(settings.rig)
    person = create_person(load_template(rig, settings.texture_size), rng)
    motion = _motion(settings, rig, person, rng)
    pose = RigPose(torch.from_numpy(motion.rotations_TJ3), torch.from_numpy(motion.translation_T3))
    assert motion.expression_TE is not None and motion.gaze_T8 is not None
    points = person.posed_points(pose, torch.from_numpy(motion.expression_TE))
    look = _look(settings, points, rng)
    scene = PersonScene(person, look.environment_HW3, settings.samples)
    name = sequence_id(settings, subject)
    with SequenceWriter(
        root,
        name,
        subject=name,
        split=split,
        fps=settings.fps,
        cameras=look.cameras,
        rig=rig.name,
        licence=LICENCE,
        provenance=PROVENANCE,
        kind=settings.kind,
    ) as writer:
        _render_frames(scene, points, look, writer, tick)
        boxes = {camera.name: face_boxes(rig, person, pose, points, camera) for camera in look.cameras}
        signals = Signals(
            person.identity_I.numpy(),
            motion.rotations_TJ3,
            motion.translation_T3,
            motion.expression_TE,
            motion.gaze_T8,
            np.ones(settings.frames, dtype=bool),
            boxes,
        )
        quality = {
            "hair": person.hair_style,
            "seconds": round(time.perf_counter() - started, 2),
            **asdict(settings),
        }
        quality["motion"] = Path(settings.motion).name if settings.motion else "procedural"
        return writer.finish(signals, quality)


def _render_frames(
    scene: PersonScene,
    points_TN3: NDArray,
    look: _Look,
    writer: SequenceWriter,
    tick: Callable[[int], object] | None,
) -> None:
    """Render every frame into every camera and write the pictures with their masks."""
    for frame, points_N3 in enumerate(points_TN3):
        scene.move_to(points_N3)
        for index, camera in enumerate(look.cameras):
            seed = frame * len(look.cameras) + index
            rendered = scene.render(camera.K_33, camera.w2c_44, camera.width, camera.height, seed)
            writer.add_frame(camera.name, *finish_picture(rendered, look.background_HW3, look.exposure))
            if tick is not None:
                tick(1)


@dataclass(frozen=True)
class _Look:
    cameras: list[CameraRecord]
    environment_HW3: NDArray
    background_HW3: NDArray
    exposure: float


def _look(settings: CaptureSettings, points_TN3: NDArray, rng: np.random.Generator) -> _Look:
    height, width = settings.height, settings.width
    if settings.kind == "studio":
        cameras = studio_cameras(points_TN3, settings.cameras, height, width, rng)
        return _Look(cameras, studio_environment(rng), studio_background(height, width), 0.9)
    camera = wild_camera(points_TN3, height, width, rng)
    environment, background = wild_environment(rng), wild_background(height, width, rng)
    return _Look([camera], environment, background, float(np.exp(rng.uniform(np.log(0.5), np.log(0.95)))))


def _motion(settings: CaptureSettings, rig: Rig, person: Person, rng: np.random.Generator) -> Motion:
    """Procedural motion, or a random stretch of a motion file with procedural face and eyes."""
    turns = max(1.0, round(settings.frames / settings.fps / _SECONDS_PER_TURN))
    turns *= 1.0 if settings.kind == "wild" else 0.25
    drawn = procedural_motion(rig, person.identity_I, settings.frames, settings.fps, rng, turns)
    if settings.motion is None:
        return drawn
    clip = _load_clip(settings, rig, person.identity_I)
    start = int(rng.integers(0, len(clip) - settings.frames + 1))
    stretch = _turned(clip.slice(start, start + settings.frames), rng.uniform(0, 2 * np.pi))
    assert drawn.gaze_T8 is not None
    rotations = rig.with_gaze(torch.from_numpy(stretch.rotations_TJ3), torch.from_numpy(drawn.gaze_T8))
    return replace(
        stretch, rotations_TJ3=rotations.numpy(), expression_TE=drawn.expression_TE, gaze_T8=drawn.gaze_T8
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


def _load_clip(settings: CaptureSettings, rig: Rig, identity_I: torch.Tensor) -> Motion:
    """The motion file at the wanted frame rate, long enough."""
    assert settings.motion is not None
    clip = load_motion(settings.motion, rig, identity_I, settings.fps)
    if len(clip) < settings.frames:
        raise UsageError(
            f"{settings.motion} has {len(clip)} frames at {settings.fps:g} per second but {settings.frames}"
            " were asked for; lower --frames or give a longer motion."
        )
    return clip


def finish_picture(
    rendered: RenderedFrame, background_HW3: NDArray, exposure: float
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Put a rendering over its background and store it as sRGB.

    Args:
        rendered: Premultiplied linear colour and coverage.
        background_HW3: Linear RGB.
        exposure: Factor on the person's light.

    Returns:
        sRGB picture ``(H, W, 3)`` and mask ``(H, W)``, both uint8.
    """
    alpha = rendered.alpha_HW[..., None]
    linear = rendered.color_HW3 * exposure + background_HW3 * (1 - alpha)
    picture = np.round(linear_to_srgb(linear) * 255).astype(np.uint8)
    return picture, np.round(rendered.alpha_HW * 255).astype(np.uint8)
