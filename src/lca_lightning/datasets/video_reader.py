"""Frame-exact decoding of sorted requests: every group of pictures once, open containers reused."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, TypeVar

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, VideoReformatter

from lca_lightning.datasets.matroska_packets import read_matroska_table
from lca_lightning.datasets.video_index import (
    BT709,
    VideoError,
    VideoIndex,
    build_index,
    index_of_table,
    open_video,
)
from lca_lightning.datasets.video_packets import PacketTable, read_packet_table
from lca_lightning.datasets.video_source import SourceBytes, VideoSource

Pixels = Literal["rgb24", "gray", "gbrp16le"]  # 8-bit sRGB, one grey channel, RGB of 16 bits
Converted = TypeVar("Converted")

_UNSPECIFIED = 2  # colour matrix of H.273


class BrokenFramesWarning(UserWarning):
    """Some frames of a video could not be decoded and their nearest good neighbours stand in."""


class VideoReader:
    """One open video file.

    Args:
        path: The file.
        fps: See :func:`lca_lightning.datasets.video_index.build_index`.
        pixels: What pictures are decoded to.
        fast: Let FFmpeg decode several frames at once; for reading a whole file in order.
    """

    def __init__(
        self, path: VideoSource, fps: float | None = None, pixels: Pixels = "rgb24", fast: bool = False
    ) -> None:
        self.path = path
        self.pixels: Pixels = pixels
        self._fast = fast
        self.decoded = 0  # pictures so far
        self._reformatter = VideoReformatter()  # one for all pictures: its tables take longer than a picture
        self.broken: set[int] = set()
        self._good_of_group: dict[int, set[int]] = {}
        self._table = None if fast else read_packet_table(path) or read_matroska_table(path)
        self.index: VideoIndex = (
            build_index(path, fps) if self._table is None else index_of_table(self._table, fps)
        )
        if self._table is None:
            self._open()
        else:
            self._bytes = SourceBytes(path)
            self._context = _decoder(self._table)

    def _open(self) -> None:
        self._container = open_video(self.path)
        self._stream = self._container.streams.video[0]
        # one thread: a process forked from this one must not wait for decoder threads that it lacks
        self._stream.thread_type = "AUTO" if self._fast else "NONE"
        self._context = self._stream.codec_context

    def close(self) -> None:
        """Close the file."""
        if self._table is None:
            self._container.close()
        else:
            self._bytes.close()

    def read(self, frames: Iterable[int]) -> dict[int, np.ndarray]:
        """Frames as arrays ``(H, W, 3)`` or ``(H, W)``, turned upright; see :meth:`read_as`."""
        return self.read_as(frames, self.to_array)

    def read_as(
        self, frames: Iterable[int], convert: Callable[[VideoFrame], Converted]
    ) -> dict[int, Converted]:
        """Decode the frames asked for; broken ones are replaced by their nearest good neighbour.

        Args:
            frames: Frame indices in any order.
            convert: Called once for each picture, right after it is decoded.

        Returns:
            ``{index: converted picture}``.

        Raises:
            VideoError: An index lies outside the file, or nothing can be decoded.
        """
        wanted = sorted(set(frames))
        for frame in wanted:
            if not 0 <= frame < self.index.frame_count:
                count = self.index.frame_count
                raise VideoError(f"{self.path} has {count} frames; there is no frame {frame}.")
        found = self._decode(wanted, convert)
        stand_ins = {frame: self._nearest_good(frame) for frame in wanted if frame not in found}
        if stand_ins:
            self._report(stand_ins)
            found_now = self._decode(sorted(set(stand_ins.values()) - set(found)), convert)
            known = {**found, **found_now}
            found.update({frame: known[good] for frame, good in stand_ins.items()})
        return {frame: found[frame] for frame in wanted}

    def stream(self, start: int, stop: int, step: int) -> Iterator[tuple[int, np.ndarray]]:
        """Decode a range in order, keeping one frame in memory; a broken frame repeats the last good one."""
        wanted = range(start, stop, step)
        if not wanted:
            return
        position = 0
        last: np.ndarray | None = None
        for frame, picture in self._pictures(self._first_packet(start), len(self.index.pts_N) - 1):
            current = self.to_array(picture) if last is None or frame in wanted else last
            stand_in = current if last is None else last
            while position < len(wanted) and wanted[position] < frame:
                self._report({wanted[position]: frame})
                yield wanted[position], stand_in
                position += 1
            if position == len(wanted):
                return
            last = current
            if wanted[position] == frame:
                yield frame, current
                position += 1
        if last is None:
            raise self._nothing_decodes()
        for frame in wanted[position:]:
            self._report({frame: frame})
            yield frame, last

    def first_picture(self) -> VideoFrame:
        """The first frame that decodes, for its size and rotation."""
        for _, picture in self._pictures(0, len(self.index.pts_N) - 1):
            return picture
        raise self._nothing_decodes()

    def _first_packet(self, frame: int) -> int:
        starts = self.index.start_of_frame
        earlier = [starts[known] for known in starts if known <= frame]
        return starts.get(frame, max(earlier, default=0))

    def _decode(self, frames: list[int], convert: Callable[[VideoFrame], Converted]) -> dict[int, Converted]:
        """Decode each group of pictures that holds a wanted frame once; broken frames are left out."""
        groups: dict[int, list[int]] = {}
        for frame in frames:
            if frame in self.index.start_of_frame and frame not in self.broken:
                groups.setdefault(self.index.start_of_frame[frame], []).append(frame)
        found: dict[int, Converted] = {}
        for start, members in sorted(groups.items()):
            last = max(self.index.packet_of_frame[frame] for frame in members)
            pictures: Iterable[tuple[int, VideoFrame]] = self._pictures(start, last)
            if last == start and self._table is not None:
                pictures = self._lone_picture(self._table, start)
            for frame, picture in pictures:
                if frame in members:
                    found[frame] = convert(picture)
        return found

    def _lone_picture(self, table: PacketTable, place: int) -> Iterable[tuple[int, VideoFrame]]:
        """A picture that is decoded alone: what :meth:`_pictures` gives, at a fraction of the calls."""
        try:
            (packet,) = self._packets_of_table(table, place, place)
            pictures = self._context.decode(packet) or self._context.decode(None)
        except (OSError, ValueError, av.FFmpegError):
            return []
        self.decoded += len(pictures)
        return [
            (self.index.frame_of_pts[picture.pts], picture)
            for picture in pictures
            if picture.pts in self.index.frame_of_pts and not picture.is_corrupt
        ]

    def _pictures(self, start: int, stop: int) -> Iterator[tuple[int, VideoFrame]]:
        """Good pictures of the packets ``start`` to ``stop`` in order of presentation."""
        first_pts = int(self.index.pts_N[start])
        damaged = False
        for packet in self._packets(start, stop):
            try:
                pictures = self._context.decode(packet)
            except (OSError, av.FFmpegError):
                damaged = True
                continue
            self.decoded += len(pictures)
            for picture in pictures:
                time = picture.pts if picture.pts is not None else picture.dts
                if time is None or time < first_pts:
                    continue
                # an error spreads to every later picture until the next key frame
                damaged = picture.is_corrupt if picture.key_frame else damaged or picture.is_corrupt
                frame = self.index.frame_of_pts.get(time)
                if frame is not None and not damaged:
                    yield frame, picture

    def _packets(self, start: int, stop: int) -> Iterator[Packet | None]:
        """Packets ``start`` to ``stop`` in decoding order, then None, which drains the decoder."""
        if self._table is not None:
            yield from self._packets_of_table(self._table, start, stop)
            yield None
            return
        remaining = stop - start + 1
        began = False
        for packet in self._packets_from(start):
            if not packet.size or not remaining:
                break
            time = packet.pts if packet.pts is not None else packet.dts
            if not began and time != int(self.index.pts_N[start]):
                continue
            began = True
            remaining -= 1
            yield packet
        yield None

    def _packets_of_table(self, table: PacketTable, start: int, stop: int) -> Iterator[Packet]:
        self._context.flush_buffers()
        for place in range(start, stop + 1):
            content = self._bytes.read(int(table.offsets_N[place]), int(table.sizes_N[place]))
            if len(content) < table.sizes_N[place]:
                break  # the end of a truncated file
            packet = Packet(bytes(content))
            packet.pts = packet.dts = int(table.pts_N[place])
            packet.time_base = table.time_base
            yield packet

    def _packets_from(self, start: int) -> Iterator[Packet]:
        """Packets from a place at or before ``start``; reopens the file where seeking overshoots."""
        target = int(min(self.index.dts_N[start], self.index.pts_N[start]))
        try:
            self._container.seek(target, stream=self._stream, backward=True)
            packets = self._container.demux(self._stream)
            first = next(packets)
            time = first.dts if first.dts is not None else first.pts
            overshot = time is None or time > self.index.dts_N[start]
        except (OSError, av.FFmpegError, StopIteration):
            overshot = True
        if overshot:
            self.close()
            self._open()
            packets = self._container.demux(self._stream)
        else:
            yield first
        try:
            yield from packets
        except (OSError, av.FFmpegError):
            return

    def _nearest_good(self, frame: int) -> int:
        count = self.index.frame_count
        for distance in range(1, count):
            for neighbour in (frame - distance, frame + distance):
                if 0 <= neighbour < count and self._is_good(neighbour):
                    return neighbour
        raise self._nothing_decodes()

    def _is_good(self, frame: int) -> bool:
        start = self.index.start_of_frame.get(frame)
        if start is None or frame in self.broken:
            return False
        if start not in self._good_of_group:
            members = [member for member, key in self.index.start_of_frame.items() if key == start]
            stop = max(self.index.packet_of_frame[member] for member in members)
            self._good_of_group[start] = {good for good, _ in self._pictures(start, stop)}
        return frame in self._good_of_group[start]

    def reformat(self, picture: VideoFrame, layout: str) -> VideoFrame:
        """Another pixel layout by the file's colour matrix."""
        matrix = picture.colorspace
        if matrix == _UNSPECIFIED and self._table is not None:
            matrix = self._table.matrix
        # PyAV before 17 converts by the file's matrix only where the (unused) matrix of the result differs
        matrices = (Colorspace.ITU709, Colorspace.ITU601) if matrix == BT709 else (None, None)
        return self._reformatter.reformat(
            picture, format=layout, src_colorspace=matrices[0], dst_colorspace=matrices[1], threads=1
        )

    def to_array(self, picture: VideoFrame, pixels: Pixels | None = None) -> np.ndarray:
        """A decoded picture as an upright array, ``(H, W, 3)`` or ``(H, W)``."""
        image = self.reformat(picture, pixels or self.pixels).to_ndarray()
        turns = round(picture.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(image, turns)) if turns else image

    def to_rgba(self, picture: VideoFrame) -> np.ndarray:
        """A decoded picture as an upright writable array ``(H, W, 4)``, opaque, without a copy."""
        converted = self.reformat(picture, "rgba")
        plane = converted.planes[0]
        pixels = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size // 4, 4)
        pixels = pixels[: converted.height, : converted.width]
        return np.rot90(pixels, round(picture.rotation / 90) % 4)

    def to_gray(self, picture: VideoFrame) -> np.ndarray:
        """A decoded picture as an upright array ``(H, W)``, without a copy where it is grey already."""
        grey = picture if picture.format.name == "gray" else self.reformat(picture, "gray")
        plane = grey.planes[0]
        pixels = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        pixels = pixels[: grey.height, : grey.width]
        return np.rot90(pixels, round(picture.rotation / 90) % 4)

    def _report(self, stand_ins: dict[int, int]) -> None:
        if not self.broken:
            warnings.warn(
                f"{self.path} has broken frames (the first met is {min(stand_ins)}); their nearest good "
                "neighbours stand in.",
                BrokenFramesWarning,
                stacklevel=4,
            )
        self.broken.update(stand_ins)

    def _nothing_decodes(self) -> VideoError:
        return VideoError(
            f"No frame of {self.path} can be decoded, the file is damaged; copy or record it again."
        )


def _decoder(table: PacketTable) -> av.VideoCodecContext:
    """A decoder of its own for pictures that are read by their place in the file."""
    context: Any = av.VideoCodecContext.create(table.codec, "r")
    context.extradata = table.extradata
    if table.size is not None:
        context.width, context.height = table.size
    context.thread_type, context.thread_count = "NONE", 1
    return context
