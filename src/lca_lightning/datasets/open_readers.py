"""Video readers that stay open between requests: opening a file takes longer than decoding a picture."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from av.video.frame import VideoFrame

from lca_lightning.datasets.video_index import open_video
from lca_lightning.datasets.video_reader import Pixels, VideoReader
from lca_lightning.datasets.video_source import VideoSource

_OPEN_READERS = 32


class _ReaderCache:
    """Least recently used open readers of this process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.closed = 0  # pictures decoded by readers that are closed
        self.readers: OrderedDict[tuple[Any, ...], VideoReader] = OrderedDict()

    def get(self, path: VideoSource, fps: float | None) -> VideoReader:
        """The open reader of a file as it is now on disk, opened when there is none."""
        key = (str(path), *_version(path), fps)
        if key not in self.readers:
            self.readers[key] = VideoReader(path, fps)
            while len(self.readers) > _OPEN_READERS:
                oldest = self.readers.popitem(last=False)[1]
                self.closed += oldest.decoded
                oldest.close()
        self.readers.move_to_end(key)
        return self.readers[key]


def _version(path: VideoSource) -> tuple[int, ...]:
    """Tells a file from one that replaced it."""
    if not isinstance(path, Path):
        return (id(path),)
    try:
        status = path.stat()
    except OSError:
        open_video(path)  # raises the right sentence
        raise
    return status.st_mtime_ns, status.st_size


_cache = _ReaderCache()
_inherited: list[_ReaderCache] = []


def _forget_inherited_readers() -> None:
    """A forked child shares file positions with its parent: keep the parent's readers aside, unused."""
    global _cache
    _inherited.append(_cache)
    _cache = _ReaderCache()


os.register_at_fork(after_in_child=_forget_inherited_readers)


def read_cached(
    path: VideoSource, frames: Iterable[int], fps: float | None, pixels: Pixels
) -> dict[int, np.ndarray]:
    """Read frames through this process' open readers; see :meth:`VideoReader.read`."""
    with _cache.lock:
        reader = _cache.get(path, fps)
        return reader.read_as(frames, lambda picture: reader.to_array(picture, pixels))


def read_pictures(
    path: VideoSource, frames: Iterable[int], fps: float | None
) -> tuple[VideoReader, dict[int, VideoFrame]]:
    """Frames as they were decoded, with the reader that knows how to convert them."""
    with _cache.lock:
        reader = _cache.get(path, fps)
        return reader, reader.read_as(frames, lambda picture: picture)


def pictures_decoded() -> int:
    """Pictures that the open readers of this process have decoded so far."""
    with _cache.lock:
        return _cache.closed + sum(reader.decoded for reader in _cache.readers.values())


def broken_frames_met(path: Path) -> int:
    """Number of frames of a file that this process had to replace so far."""
    with _cache.lock:
        return sum(len(reader.broken) for key, reader in _cache.readers.items() if key[0] == str(path))
