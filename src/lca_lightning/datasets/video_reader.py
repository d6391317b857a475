"""Frame-exact decoding of sorted requests: every group of pictures once, open containers reused."""

from __future__ import annotations

import os
import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame

from lca_lightning.datasets.video_index import BT709, VideoError, VideoIndex, build_index, open_video

_OPEN_READERS = 32


class BrokenFramesWarning(UserWarning):
    """Some frames of a video could not be decoded and their nearest good neighbours stand in."""


class VideoReader:
    """One open video file.

    Args:
        path: The file.
        fps: See :func:`lca_lightning.datasets.video_index.build_index`.
        gray: Decode to one grey channel instead of RGB.
        fast: Let FFmpeg decode several frames at once; for reading a whole file in order.
    """

    def __init__(self, path: Path, fps: float | None = None, gray: bool = False, fast: bool = False) -> None:
        self.path = path
        self.index: VideoIndex = build_index(path, fps)
        self.broken: set[int] = set()
        self._good_of_group: dict[int, set[int]] = {}
        self._pixel_format = "gray" if gray else "rgb24"
        self._fast = fast
        self._open()

    def _open(self) -> None:
        self._container = open_video(self.path)
        self._stream = self._container.streams.video[0]
        # one thread: a process forked from this one must not wait for decoder threads that it lacks
        self._stream.thread_type = "AUTO" if self._fast else "NONE"

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def read(self, frames: Iterable[int]) -> dict[int, np.ndarray]:
        """Decode the frames asked for; broken ones are replaced by their nearest good neighbour.

        Args:
            frames: Frame indices in any order.

        Returns:
            ``{index: (H, W, 3) or (H, W) uint8}``.

        Raises:
            VideoError: An index lies outside the file, or nothing can be decoded.
        """
        wanted = sorted(set(frames))
        for frame in wanted:
            if not 0 <= frame < self.index.frame_count:
                count = self.index.frame_count
                raise VideoError(f"{self.path} has {count} frames; there is no frame {frame}.")
        found = self._decode(wanted)
        stand_ins = {frame: self._nearest_good(frame) for frame in wanted if frame not in found}
        if stand_ins:
            self._report(stand_ins)
            found_now = self._decode(sorted(set(stand_ins.values()) - set(found)))
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
            current = self._to_array(picture) if last is None or frame in wanted else last
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

    def _decode(self, frames: list[int]) -> dict[int, np.ndarray]:
        """Decode each group of pictures that holds a wanted frame once; broken frames are left out."""
        groups: dict[int, list[int]] = {}
        for frame in frames:
            if frame in self.index.start_of_frame and frame not in self.broken:
                groups.setdefault(self.index.start_of_frame[frame], []).append(frame)
        found: dict[int, np.ndarray] = {}
        for start, members in sorted(groups.items()):
            last = max(self.index.packet_of_frame[frame] for frame in members)
            for frame, picture in self._pictures(start, last):
                if frame in members:
                    found[frame] = self._to_array(picture)
        return found

    def _pictures(self, start: int, stop: int) -> Iterator[tuple[int, VideoFrame]]:
        """Good pictures of the packets ``start`` to ``stop`` in order of presentation."""
        first_pts = int(self.index.pts_N[start])
        damaged = False
        context = self._stream.codec_context
        for packet in self._packets(start, stop):
            try:
                pictures = context.decode(packet)
            except (OSError, av.FFmpegError):
                damaged = True
                continue
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

    def _to_array(self, picture: VideoFrame) -> np.ndarray:
        # PyAV before 17 converts by the file's matrix only where the (unused) matrix of the result differs
        matrices = ("ITU709", "ITU601") if picture.colorspace == BT709 else (None, None)
        converted = picture.reformat(None, None, self._pixel_format, *matrices)
        image = converted.to_ndarray()
        turns = round(picture.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(image, turns)) if turns else image

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


class _ReaderCache:
    """Least recently used open readers of this process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.readers: OrderedDict[tuple[str, int, int, float | None, bool], VideoReader] = OrderedDict()

    def get(self, path: Path, fps: float | None, gray: bool) -> VideoReader:
        """The open reader of a file as it is now on disk, opened when there is none."""
        if not path.is_file():
            open_video(path)  # raises the right sentence
        status = path.stat()
        key = (str(path), status.st_mtime_ns, status.st_size, fps, gray)
        if key not in self.readers:
            self.readers[key] = VideoReader(path, fps, gray)
            while len(self.readers) > _OPEN_READERS:
                self.readers.popitem(last=False)[1].close()
        self.readers.move_to_end(key)
        return self.readers[key]


_cache = _ReaderCache()
_inherited: list[_ReaderCache] = []


def _forget_inherited_readers() -> None:
    """A forked child shares file positions with its parent: keep the parent's readers aside, unused."""
    global _cache
    _inherited.append(_cache)
    _cache = _ReaderCache()


os.register_at_fork(after_in_child=_forget_inherited_readers)


def read_cached(path: Path, frames: Iterable[int], fps: float | None, gray: bool) -> dict[int, np.ndarray]:
    """Read frames through this process' open readers; see :meth:`VideoReader.read`."""
    with _cache.lock:
        return _cache.get(path, fps, gray).read(frames)


def broken_frames_met(path: Path) -> int:
    """Number of frames of a file that this process had to replace so far."""
    with _cache.lock:
        return sum(len(reader.broken) for key, reader in _cache.readers.items() if key[0] == str(path))
