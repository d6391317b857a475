"""Video files: probing, frame-exact reading, writing. FFmpeg comes inside PyAV's wheel.

Reading sorts the requests, decodes every group of pictures once and keeps containers open (random seeks one
at a time are more than ten times slower). Broken frames are replaced by their nearest good neighbour, and
counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lca_lightning.datasets.open_readers import broken_frames_met, read_cached
from lca_lightning.datasets.video_index import VideoError
from lca_lightning.datasets.video_reader import BrokenFramesWarning, VideoReader
from lca_lightning.datasets.video_writer import VideoWriter

__all__ = [
    "BrokenFramesWarning",
    "VideoError",
    "VideoInfo",
    "VideoWriter",
    "broken_frame_count",
    "iterate_frames",
    "probe_video",
    "read_frames",
]


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds.

    Args:
        width: Pixels, after the rotation that the file asks for.
        height: Pixels, after that rotation.
        fps: Average frames per second.
        frames: Number of frames.
        rotation: Counterclockwise degrees by which the stored pictures are turned for showing.
    """

    width: int
    height: int
    fps: float
    frames: int
    rotation: int


def probe_video(path: Path | str) -> VideoInfo:
    """Size, rate and frame count of a video; decodes one frame only.

    Args:
        path: The file.

    Returns:
        Its description, sizes after rotation.

    Raises:
        VideoError: The file is missing, empty, truncated beyond use, or nothing in it decodes.
    """
    reader = VideoReader(Path(path))
    try:
        picture = reader.first_picture()
    finally:
        reader.close()
    turns = round(picture.rotation / 90) % 4
    width, height = (picture.height, picture.width) if turns % 2 else (picture.width, picture.height)
    return VideoInfo(width, height, reader.index.fps, reader.index.frame_count, turns * 90)


def read_frames(
    path: Path | str, indices: Iterable[int], *, fps: float | None = None, gray: bool = False
) -> dict[int, np.ndarray]:
    """Decode chosen frames, turned upright.

    Args:
        path: The file.
        indices: Frame indices in any order, counted in order of presentation.
        fps: For files of exactly this constant rate: number frames by time, so that frames lost in a damaged
            file do not shift the later ones.
        gray: Return one grey channel.

    Returns:
        ``{index: (H, W, 3) uint8 sRGB}``, or ``(H, W)`` for ``gray``; a broken frame is replaced by its
        nearest good neighbour, counted by :func:`broken_frame_count`, with one warning per file.

    Raises:
        VideoError: The file cannot be read, or an index lies outside it.
    """
    return read_cached(Path(path), indices, fps, "gray" if gray else "rgb24")


def iterate_frames(
    path: Path | str, start: int = 0, stop: int | None = None, step: int = 1, *, gray: bool = False
) -> Iterator[tuple[int, np.ndarray]]:
    """Decode a range of frames in order with one frame in memory; the way to read a whole video.

    Args:
        path: The file.
        start: First frame.
        stop: One past the last frame; the end of the file when None.
        step: Take every ``step``-th frame.
        gray: Yield one grey channel.

    Yields:
        ``(index, (H, W, 3) uint8 sRGB)``; a broken frame repeats the last good one.

    Raises:
        VideoError: The file cannot be read.
    """
    reader = VideoReader(Path(path), pixels="gray" if gray else "rgb24", fast=True)
    try:
        count = reader.index.frame_count
        yield from reader.stream(start, count if stop is None else min(stop, count), step)
    finally:
        reader.close()


def broken_frame_count(path: Path | str) -> int:
    """Number of frames of a video that :func:`read_frames` had to replace so far in this process."""
    return broken_frames_met(Path(path))
