"""Where a video's bytes are: a file on disk, or a file inside a pack that is in memory."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, eq=False)
class VideoBytes:
    """A video file in memory.

    Args:
        name: Unique name for messages and caches, such as ``"pack/sequence/videos/front.mp4"``.
        content: The whole file.
    """

    name: str
    content: bytes | memoryview

    def __str__(self) -> str:
        return self.name


VideoSource = Path | VideoBytes


def source_size(source: VideoSource) -> int:
    """Bytes of the file, -1 where there is no such file."""
    if isinstance(source, VideoBytes):
        return len(source.content)
    return source.stat().st_size if source.is_file() else -1


def source_suffix(source: VideoSource) -> str:
    """Lower-case suffix of the file's name, such as ``".mp4"``."""
    return Path(str(source)).suffix.lower()


def as_file(source: VideoSource) -> str | io.BytesIO:
    """What FFmpeg opens."""
    return io.BytesIO(source.content) if isinstance(source, VideoBytes) else str(source)


class SourceBytes:
    """Reads byte ranges; a forked process may go on using its parent's.

    Args:
        source: The file.

    Raises:
        OSError: The file cannot be opened.
    """

    def __init__(self, source: VideoSource) -> None:
        self._descriptor = -1
        self._content = source.content if isinstance(source, VideoBytes) else None
        if not isinstance(source, VideoBytes):
            self._descriptor = os.open(source, os.O_RDONLY)
        self.size = max(source_size(source), 0)

    def read(self, offset: int, size: int) -> bytes | memoryview:
        """Bytes from ``offset``; fewer than ``size`` at the end of a truncated file."""
        if self._content is not None:
            return self._content[offset : offset + size]
        return os.pread(self._descriptor, size, offset)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self.close()
