"""From one clip to one sequence: detect, match cameras, score, fit, judge, write."""

from __future__ import annotations

import errno
import multiprocessing
import queue
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lca_lightning.errors import (
    ConfigError,
    DataError,
    DeviceError,
    LCAError,
    MissingAssetError,
    UsageError,
)
from lca_lightning.preprocessing.clips import Clip, ClipResult, PreprocessOptions
from lca_lightning.writing import FULL_DISK

if TYPE_CHECKING:
    from lca_lightning.calibration.camera import CalibratedCamera
    from lca_lightning.preprocessing.frames import SourceVideo

CACHE_FOLDER = ".preprocess_cache"
# How often everybody in the picture is looked for.
SAMPLES_PER_SECOND = 5.0
Progress = Callable[[str, int, int], Any]
DetectTask = tuple[Path, Path, int, str, str, Path | None]
_EVERY_CLIP = (MissingAssetError, ConfigError, DeviceError, UsageError)
_FULL_DISK = (*FULL_DISK, errno.EROFS)


def process_clip(
    clip: Clip, options: PreprocessOptions, workers: int = 1, progress: Progress | None = None
) -> ClipResult:
    """Process one clip; an error that concerns only this clip becomes its reason.

    Args:
        clip: Its files.
        options: For all clips.
        workers: Cameras looked at side by side.
        progress: Called with a stage's name, what was done since the last call, and the stage's total.

    Returns:
        What became of it.

    Raises:
        LCAError: Something that every clip would meet: a missing extra or weights, a full disk.
    """
    from lca_lightning.datasets.format import sequence_exists

    if sequence_exists(options.out, clip.id) and not options.overwrite:
        return ClipResult(clip.id, None, {"already_there": True})
    try:
        return _process(clip, options, workers, progress)
    except LCAError as error:
        if isinstance(error, _EVERY_CLIP) or getattr(error.__cause__, "errno", None) in _FULL_DISK:
            raise
        if sequence_exists(options.out, clip.id) and not options.overwrite:  # another run was faster
            return ClipResult(clip.id, None, {"already_there": True})
        return ClipResult(clip.id, str(error), {"error": type(error).__name__})


def _process(clip: Clip, options: PreprocessOptions, workers: int, progress: Progress | None) -> ClipResult:
    prepared = prepare_clip(clip, options, workers, progress)
    from lca_lightning.preprocessing.fitted_clip import fit_prepared, fit_steps
    from lca_lightning.preprocessing.quality import drop_reason, measure_quality
    from lca_lightning.preprocessing.scores import score_reason
    from lca_lightning.preprocessing.writing import write_clip
    from lca_lightning.rig.loading import load_rig

    reason, scored = score_reason(clip, prepared, options)
    if reason is not None:
        return ClipResult(clip.id, reason, scored)
    prepared = replace(prepared, report={**prepared.report, **scored})
    rig = load_rig()
    fit, prepared = fit_prepared(rig, prepared, _stage(progress, "fit", fit_steps(prepared)))
    single = options.people == "single"
    quality = measure_quality(rig, prepared, fit, single)
    summary: dict[str, object] = {**quality.summary(), **prepared.report}
    for name in ("reprojection_px", "silhouette_iou"):
        summary.pop(name)
    reason = drop_reason(prepared, quality, options.minimum_height, single)
    if reason is None:
        frames = prepared.observations.frame_count
        write_clip(rig, clip, prepared, fit, quality, options, _stage(progress, "write", frames))
    return ClipResult(clip.id, reason, summary)


def _stage(progress: Progress | None, name: str, total: int) -> Callable[[int], Any] | None:
    if progress is None:
        return None
    return lambda done: progress(name, done, total)


def prepare_clip(
    clip: Clip, options: PreprocessOptions, workers: int = 1, progress: Progress | None = None
) -> Any:
    """Detections (from the cache where they are) and cameras of one clip, ready to fit.

    Raises:
        DataError: No person, wrong calibration, unreadable video.
    """
    from lca_lightning.preprocessing.frames import SourceVideo

    videos = [SourceVideo(path) for path in clip.videos]  # broken ones are found before anything is loaded
    cameras = calibrated_cameras(clip, options, videos)
    from lca_lightning.preprocessing.camera_matching import picture_inside_borders
    from lca_lightning.preprocessing.fitted_clip import prepare_monocular, prepare_multiview
    from lca_lightning.preprocessing.quality import FEWEST_FRAMES, too_short

    rates = [video.fps for video in videos]
    if max(rates) > 1.02 * min(rates):
        raise DataError(
            f"The cameras run at other rates ({min(rates):g} and {max(rates):g} frames/s), so they cannot "
            "be synchronous; convert them to one rate first."
        )
    promised = [len(range(0, video.frame_count, options.stride)) for video in videos if video.frame_count]
    if promised and min(promised) < FEWEST_FRAMES:
        raise DataError(too_short(min(promised)))
    detections = _detect_all(clip, options, workers, progress)
    detections = _same_frames(detections)
    if not any(detection.found_T.any() for detection in detections):
        raise DataError("no person: nobody was found in any frame; check that a whole body is in the picture")
    if options.body_fits is not None:
        from lca_lightning.preprocessing.body_fit_clip import prepare_from_fits

        if len(clip.videos) > 1:
            raise DataError("--body-fits gives the body of single videos; leave it out for several cameras.")
        return prepare_from_fits(clip, options.body_fits, detections[0])
    if cameras is None:
        return prepare_monocular(clip.videos[0].stem, detections[0])
    contents = [picture_inside_borders(next(iter(video))) for video in videos]
    if len(cameras) == 1:
        from lca_lightning.preprocessing.camera_matching import MatchReport, choose_size_rules

        size = [(detections[0].width, detections[0].height)]
        empty = np.zeros((1, 0, 2)), np.zeros((1, 0))
        adapted = choose_size_rules(cameras, size, contents, *empty, 1.0, MatchReport())
        return prepare_monocular(clip.videos[0].stem, detections[0], adapted[0])
    return prepare_multiview(cameras, detections, contents)


def calibrated_cameras(
    clip: Clip, options: PreprocessOptions, videos: list[SourceVideo] | None = None
) -> list[CalibratedCamera] | None:
    """The calibrated camera of each video; None for a clip without calibration.

    Args:
        clip: Its files.
        options: Say how the calibration's world lies.
        videos: Those of the clip, where they are open already.

    Raises:
        DataError: The calibration or a video is unreadable, or knows no camera of a video's name.
    """
    if clip.calibration is None:
        return None
    from lca_lightning.calibration.loading import load_calibration
    from lca_lightning.preprocessing.camera_matching import match_names
    from lca_lightning.preprocessing.frames import SourceVideo

    if not clip.calibration.exists():
        raise DataError(f"Calibration {clip.calibration} does not exist; check the path.")
    videos = videos or [SourceVideo(path) for path in clip.videos]
    sizes = {path.stem: (video.width, video.height) for path, video in zip(clip.videos, videos, strict=True)}
    known = load_calibration(clip.calibration, up=options.up, scale=options.scale, sizes=sizes)
    return match_names(list(clip.videos), known, clip.calibration)


def _same_frames(detections: list[Any]) -> list[Any]:
    """Cut synchronised cameras to the frames all of them have."""
    count = min(len(detection.frames_T) for detection in detections)
    return [
        replace(
            detection,
            **{
                name: getattr(detection, name)[:count]
                for name in (
                    "frames_T",
                    "body_TP3",
                    "world_TP3",
                    "hands_T2P3",
                    "face_TP3",
                    "crowd_T",
                    "masks_png",
                )
            },
        )
        for detection in detections
    ]


def _detect_all(clip: Clip, options: PreprocessOptions, workers: int, progress: Progress | None) -> list[Any]:
    from lca_lightning.preprocessing.frames import SourceVideo

    folder = options.out / CACHE_FOLDER / clip.id
    frames = sum(SourceVideo(path).frame_count for path in clip.videos)
    tick = _stage(progress, "detect", frames)
    estimator = (options.estimator, options.estimator_weights)
    settings = [(path, folder, options.stride, options.people, *estimator) for path in clip.videos]
    if workers <= 1 or len(settings) == 1:
        return [detect_video(task, tick) for task in settings]
    context = multiprocessing.get_context("spawn")
    # Workers report frames through a queue, so that the bar moves while a video is being read.
    with (
        context.Manager() as manager,
        ProcessPoolExecutor(min(workers, len(settings)), mp_context=context) as pool,
    ):
        ticks = manager.Queue()
        futures = [pool.submit(_detect_reporting, task, ticks) for task in settings]
        while not all(future.done() for future in futures):
            try:
                done = ticks.get(timeout=0.5)
            except queue.Empty:
                continue
            if tick is not None:
                tick(done)
        return [future.result() for future in futures]


def _detect_reporting(task: DetectTask, ticks: Any) -> Any:
    return detect_video(task, ticks.put)


def detect_video(task: DetectTask, progress: Callable[[int], Any] | None = None) -> Any:
    """Detections of one video, from the cache when they are there.

    Args:
        task: The video, the cache folder, the stride, whom to follow, the estimator and its weights.
        progress: Called with 1 per frame.

    Returns:
        Its ``ClipDetections``.

    Raises:
        DataError: Nobody was found, or the video is unreadable.
    """
    from lca_lightning.preprocessing.clip_detection import (
        ClipDetections,
        cache_name,
        crowded_frames,
        detect_track,
        sample_people,
    )
    from lca_lightning.preprocessing.estimators.registry import load_estimator
    from lca_lightning.preprocessing.frames import SourceVideo

    path, folder, stride, people, estimator, weights = task
    video = SourceVideo(path)
    other = () if estimator == "mediapipe" else (estimator, str(weights))
    cached = folder / cache_name(path, stride, people, *other)
    if cached.is_file():
        return ClipDetections.load(cached)
    every = max(1, round(video.fps / SAMPLES_PER_SECOND))
    detector = load_estimator(estimator, weights)
    try:
        tracks = sample_people(detector, video, every)
        if not tracks:
            raise DataError(
                f"no person: nobody was found in {path.name}; check that a whole body is in the picture, or "
                "leave this video out"
            )
        last = max(max(track.sightings) for track in tracks) + every
        count = max(video.frame_count, last + 1)
        main = choose_main(tracks, count, every, people)
        crowded = crowded_frames(main, tracks, count, every)
        detections = detect_track(detector, video, main, crowded, stride, every, progress)
    finally:
        detector.close()
    detections.save(cached)
    return detections


def choose_main(tracks: list[Any], count: int, every: int, people: str) -> Any:
    """The person of a clip.

    Args:
        tracks: People, the most present first.
        count: Frames of the video.
        every: Distance of sampled frames.
        people: With ``main`` the most present person; with ``single`` another one if that one is hardly ever
            alone
            in the picture and the other is.
    """
    from lca_lightning.preprocessing.clip_detection import crowded_frames
    from lca_lightning.preprocessing.people import COMPARABLE

    def alone(track: Any) -> int:
        crowded = crowded_frames(track, tracks, count, every)
        return sum(not crowded[frame] for frame in track.sightings)

    if people == "main" or alone(tracks[0]) > 0.5 * len(tracks[0].sightings):
        return tracks[0]
    similar = [track for track in tracks if track.scale > COMPARABLE * tracks[0].scale]
    return max(similar, key=alone)
