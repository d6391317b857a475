"""Opening and decoding the files of one camera, counting what does not decode."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lca_lightning.datasets.files import SequenceFiles
from lca_lightning.datasets.video_index import VideoError
from lca_lightning.datasets.video_reader import BrokenFramesWarning, Pixels, VideoReader
from lca_lightning.datasets.video_source import VideoSource
from lca_lightning.inspection.findings import Findings

_REMAKE = "make the sequence again"
_RATE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class StatedVideo:
    """What a file of pictures should hold.

    Args:
        path: The file, relative to the sequence.
        label: What it is, for sentences: ``"video"``, ``"mask"``, ``"albedo layer"``.
        camera: Name of the camera.
        width: Stated width of the pictures in pixels.
        height: Stated height.
        frames: Stated number of frames.
        fps: Stated frames per second.
        pixels: What its pictures are decoded to.
    """

    path: str
    label: str
    camera: str
    width: int
    height: int
    frames: int
    fps: float
    pixels: Pixels = "rgb24"


class CheckedVideo:
    """A video that opened; remembers which frames do not decode.

    Args:
        source: The file.
        stated: What it should hold.
        findings: Receives what is wrong.
    """

    def __init__(self, source: VideoSource, stated: StatedVideo, findings: Findings) -> None:
        self.source, self.stated, self._findings = source, stated, findings
        self._reader = VideoReader(source, stated.fps, stated.pixels)
        self._tried: set[int] = set()
        self.frame_count = self._reader.index.frame_count
        self.lost = self.frame_count - len(self._reader.index.packet_of_frame)

    def check_frames(self) -> None:
        """Compare frame count and rate with what is stated."""
        stated, index = self.stated, self._reader.index
        if abs(index.fps / stated.fps - 1) > _RATE_TOLERANCE and stated.frames > 1:
            what = f"the {stated.label} runs at {index.fps:.3f} frames per second, stated are {stated.fps:g}"
            way_out = "write every camera at the same constant rate"
            self._findings.error("frames", what, way_out, stated.camera)
        elif self.frame_count != stated.frames:
            what = f"the {stated.label} has {self.frame_count} frames, stated are {stated.frames}"
            self._findings.error("frames", what, _REMAKE, stated.camera)
        elif self.lost:
            what = f"the {stated.label} has lost {self.lost} of {self.frame_count} frames"
            self._findings.error("decoding", what, "copy or record it again", stated.camera)

    def check_size(self) -> bool:
        """Compare the first good picture's size with what is stated; H.264 pads odd sizes by one pixel.

        Raises:
            VideoError: Nothing decodes.
        """
        stated, picture = self.stated, self._reader.first_picture()
        turned = round(picture.rotation / 90) % 2
        width, height = (picture.height, picture.width) if turned else (picture.width, picture.height)
        extra = height - stated.height, width - stated.width
        if extra[0] in (0, stated.height % 2) and extra[1] in (0, stated.width % 2):
            return True
        what = f"the {stated.label} is {width}x{height} pixels, stated are {stated.width}x{stated.height}"
        self._findings.error("size", what, "write K for the size of the pictures", stated.camera)
        return False

    def read(self, frames: Iterable[int]) -> dict[int, np.ndarray]:
        """Decode frames; those that do not decode are left out, padding is cut off.

        Args:
            frames: Frame indices; those that the file lacks are left out.

        Returns:
            Pictures by frame, uint8.
        """
        wanted = sorted({frame for frame in frames if 0 <= frame < self.frame_count})
        if not wanted:
            return {}
        self._tried.update(wanted)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BrokenFramesWarning)
            found = self._reader.read(wanted)
        size = slice(self.stated.height), slice(self.stated.width)
        return {frame: image[size] for frame, image in found.items() if frame not in self._reader.broken}

    def read_all(self) -> None:
        """Decode every frame once, in order, keeping none."""
        reader = VideoReader(self.source, self.stated.fps, self.stated.pixels, fast=True)
        self._tried.update(range(self.frame_count))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", BrokenFramesWarning)
                for _ in reader.stream(0, reader.index.frame_count, 1):
                    pass
            self._reader.broken.update(reader.broken)
        finally:
            reader.close()

    @property
    def broken(self) -> int:
        """Frames tried that do not decode."""
        return len(self._reader.broken)

    def close(self) -> None:
        """Close the file and report the frames that did not decode."""
        if self.broken and not self.lost:
            some = ", ".join(str(frame) for frame in sorted(self._reader.broken)[:5])
            what = (
                f"{self.broken} of {len(self._tried)} frames tried of the {self.stated.label} do not decode"
            )
            what += f" (frame {some})"
            self._findings.error("decoding", what, "copy or record it again", self.stated.camera)
        self._reader.close()


def open_checked(files: SequenceFiles, stated: StatedVideo, findings: Findings) -> CheckedVideo | None:
    """Open a video, check its counts and the size of its first good picture.

    Args:
        files: Of the sequence.
        stated: What it should hold.
        findings: Receives what is wrong.

    Returns:
        The video, or None when it is missing, unreadable or of another size.
    """
    name = stated.path
    if not files.size(name):
        findings.error("layout", f"the {stated.label} {name} is missing or empty", _REMAKE, stated.camera)
        return None
    try:
        video = CheckedVideo(files.video(name), stated, findings)
    except VideoError:
        what = f"the {stated.label} {name} does not open, it is damaged or of another format"
        findings.error("decoding", what, "copy or record it again", stated.camera)
        return None
    video.check_frames()
    try:
        fits = video.check_size()
    except VideoError:
        what = f"no frame of the {stated.label} {name} decodes"
        findings.error("decoding", what, "copy or record it again", stated.camera)
        fits = False
    if not fits:
        video.close()
        return None
    return video
