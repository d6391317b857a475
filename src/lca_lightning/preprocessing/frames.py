"""Frames of videos a user brings: decoded in order, upright, with clear refusals of broken files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from lca_lightning.errors import DataError

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")


class SourceVideo:
    """A video file as it came from a camera.

    Args:
        path: Any file FFmpeg reads.

    Attributes:
        width: Pixels, after turning phone videos upright.
        height: Pixels, after turning.
        fps: Frames a second.
        frame_count: What the container promises; 0 when it does not say.

    Raises:
        DataError: The file is missing, empty, or not a video.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise DataError(f"Video {self.path} does not exist; check the path.")
        if self.path.stat().st_size == 0:
            raise DataError(f"Video {self.path} is empty (0 bytes); copy it again from the camera.")
        try:
            with av.open(str(self.path)) as container:
                stream = container.streams.video[0]
                first = next(container.decode(stream))
                self.fps = float(stream.average_rate or stream.guessed_rate or 30)
                self.frame_count = int(stream.frames)
                picture = _upright(first)
        except (av.FFmpegError, IndexError, StopIteration) as error:
            raise DataError(
                f"{self.path} cannot be read as a video ({type(error).__name__}): it is truncated or of "
                f"another kind; "
                "copy it again or convert it with ffmpeg to MP4."
            ) from error
        self.height, self.width = picture.shape[:2]

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """RGB frames ``(H, W, 3)`` in order.

        Raises:
            DataError: The file ends well before the promised number of frames.
        """
        count = 0
        try:
            with av.open(str(self.path)) as container:
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                for frame in container.decode(stream):
                    count += 1
                    yield _upright(frame)
        except av.FFmpegError as error:
            raise self._truncated(count) from error
        if count < 0.95 * self.frame_count - 1:
            raise self._truncated(count)

    def _truncated(self, count: int) -> DataError:
        return DataError(
            f"{self.path} breaks off after {count} of {self.frame_count} frames: it is truncated; copy "
            f"it again, or keep "
            f"the whole frames with: ffmpeg -i {self.path.name} -frames:v {max(count - 1, 1)} whole.mp4"
        )


def _upright(frame: av.VideoFrame) -> NDArray[np.uint8]:
    picture = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    quarter_turns = round(float(getattr(frame, "rotation", 0) or 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(picture, quarter_turns)) if quarter_turns else picture
