"""Writing videos: H.264 for colour, lossless FFV1 for masks and for linear light."""

from __future__ import annotations

import contextlib
import os
from errno import EISDIR
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.video.stream import VideoStream

from lca_lightning.datasets.video_index import BT709, VideoError, build_index
from lca_lightning.writing import write_failure

_STUDIO_SWING = 1  # luma from 16 to 235
_DEEP_FORMAT = "gbrp16le"
_COLOR_FORMATS = (".mp4", ".mkv", ".mov")


class VideoWriter:
    """Writes a video under a temporary name and renames it when it is complete.

    A context manager: leaving it normally finishes the file, leaving it by an exception removes it.

    Args:
        path: The file to make; ``.mp4``, ``.mkv`` or ``.mov``.
        fps: Frames per second.
        width: Picture width in pixels; an odd size is padded by one repeated column or row in the file.
        height: Picture height in pixels.
        quality: x264's constant rate factor, 0 (lossless) to 51; lower is better and larger.
        keyframe_interval: Pictures per group; short groups make random access fast.
        gray: Write one lossless grey channel (FFV1, ``.mkv``) instead of H.264.
        deep: Write lossless RGB of 16 bits per channel (FFV1, ``.mkv``) instead of H.264.

    Raises:
        VideoError: The size or suffix cannot be written, or the folder is not writable.
    """

    def __init__(
        self,
        path: Path | str,
        fps: float,
        width: int,
        height: int,
        *,
        quality: int = 18,
        keyframe_interval: int = 8,
        gray: bool = False,
        deep: bool = False,
    ) -> None:
        self.path = Path(path)
        self.fps, self.width, self.height = float(fps), int(width), int(height)
        self.gray, self.deep = gray, deep
        self.frame_count = 0
        self._check_arguments()
        self._partial = self.path.with_name(f".{self.path.stem}.partial-{os.getpid()}{self.path.suffix}")
        rate = Fraction(self.fps).limit_denominator(1001)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.is_dir():
                raise IsADirectoryError(EISDIR, "a folder has that name")
            self._partial.touch()  # FFmpeg opens the file late, after much has been rendered
            # Matroska files carry a random number unless asked not to: equal pictures give equal bytes.
            self._container = av.open(str(self._partial), "w", options={"fflags": "+bitexact"})
            self._stream = self._add_stream(rate, quality, keyframe_interval)
        except (OSError, av.FFmpegError) as error:
            raise self._cannot_write(error) from error
        self._tick = 1 / rate
        self._open = True

    def _check_arguments(self) -> None:
        if not 0 < self.fps < 1000:
            raise VideoError(f"{self.path} cannot be written at {self.fps} frames per second.")
        if min(self.width, self.height) < 2:
            raise VideoError(f"{self.path} cannot be written at {self.width}x{self.height} pixels.")
        allowed = (".mkv",) if self.gray or self.deep else _COLOR_FORMATS
        if self.path.suffix.lower() not in allowed:
            raise VideoError(f"{self.path} must end in {' or '.join(allowed)}.")

    def _add_stream(self, rate: Fraction, quality: int, keyframe_interval: int) -> VideoStream:
        if self.gray or self.deep:
            stream = self._container.add_stream("ffv1", rate=rate, options={"level": "3", "slicecrc": "1"})
            stream.width, stream.height = self.width, self.height
            stream.pix_fmt = "gray" if self.gray else _DEEP_FORMAT
            stream.codec_context.gop_size = 1
            return stream
        stream = self._container.add_stream(
            "libx264", rate=rate, options={"crf": str(quality), "preset": "veryfast"}
        )
        stream.width, stream.height = self.width + self.width % 2, self.height + self.height % 2
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.gop_size = keyframe_interval
        context.max_b_frames = 0
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = _STUDIO_SWING
        return stream

    def add(self, image: np.ndarray) -> None:
        """Append one picture.

        Args:
            image: ``(H, W, 3)`` uint8 sRGB; ``(H, W)`` uint8 for a grey file; ``(H, W, 3)`` uint16 for a deep
                one.

        Raises:
            VideoError: The picture has another size or type, or the disk is full.
        """
        expected = (self.height, self.width) if self.gray else (self.height, self.width, 3)
        kind = np.dtype(np.uint16 if self.deep else np.uint8)
        if image.shape != expected or image.dtype != kind:
            self.abort()
            raise VideoError(
                f"Frame {self.frame_count} of {self.path} must be {kind} of shape {expected}, "
                f"got {image.dtype} of shape {image.shape}."
            )
        try:
            for packet in self._stream.encode(self._to_picture(image)):
                self._container.mux(packet)
        except (OSError, av.FFmpegError) as error:
            self.abort()
            raise self._cannot_write(error) from error
        self.frame_count += 1

    def _to_picture(self, image: np.ndarray) -> av.VideoFrame:
        if self.gray or self.deep:
            layout = "gray" if self.gray else _DEEP_FORMAT
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format=layout)
        else:
            padding = ((0, self.height % 2), (0, self.width % 2), (0, 0))
            padded = np.pad(image, padding, mode="edge") if self.height % 2 or self.width % 2 else image
            rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(padded), format="rgb24")
            picture = rgb.reformat(format="yuv420p", dst_colorspace="ITU709")
        picture.pts, picture.time_base = self.frame_count, self._tick
        return picture

    def close(self) -> None:
        """Finish the file and give it its name.

        Raises:
            VideoError: No frame was added, or the disk is full.
        """
        if not self._open:
            return
        if not self.frame_count:
            self.abort()
            raise VideoError(f"{self.path} was not written because it got no frames.")
        try:
            for packet in self._stream.encode():
                self._container.mux(packet)
            self._container.close()
            written = len(build_index(self._partial).pts_N)
            if written != self.frame_count:
                raise OSError(f"only {written} of {self.frame_count} frames reached the disk")
            self._partial.replace(self.path)
        except (OSError, av.FFmpegError, VideoError) as error:
            self.abort()
            raise self._cannot_write(error) from error
        self._open = False

    def abort(self) -> None:
        """Stop and leave nothing behind."""
        self._open = False
        with contextlib.suppress(OSError, av.FFmpegError):  # a full disk fails here too; the file goes anyway
            self._container.close()
        with contextlib.suppress(OSError):  # there is nothing to remove where nothing could be written
            self._partial.unlink()

    def _cannot_write(self, error: Exception) -> VideoError:
        reason = write_failure(error)
        return VideoError(
            f"{self.path} cannot be written ({reason}); free some space or choose another folder."
        )

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        elif self._open:
            self.abort()
