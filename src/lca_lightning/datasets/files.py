"""The files of one sequence: in a folder, or in memory as an item of a pack."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from lca_lightning.datasets.video_source import VideoBytes, VideoSource


class SequenceFiles(Protocol):
    """What a sequence reads; paths are relative, such as ``"videos/front.mp4"``."""

    @property
    def name(self) -> str:
        """Name of the sequence."""

    def label(self, path: str) -> str:
        """What messages call a file."""

    def read(self, path: str) -> bytes:
        """A whole file; raises ``OSError`` where it is missing."""

    def size(self, path: str) -> int:
        """Bytes of a file, 0 where it is missing."""

    def video(self, path: str) -> VideoSource:
        """A video file for reading frames."""


class FolderFiles:
    """Files of a sequence in a folder of its name."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, folder.name

    def label(self, path: str) -> str:
        """Path of a file."""
        return str(self.folder / path)

    def read(self, path: str) -> bytes:
        """A whole file."""
        return (self.folder / path).read_bytes()

    def size(self, path: str) -> int:
        """Bytes of a file, 0 where it is missing."""
        file = self.folder / path
        return file.stat().st_size if file.is_file() else 0

    def video(self, path: str) -> VideoSource:
        """Path of a video file."""
        return self.folder / path


class PackedFiles:
    """Files of a sequence in memory.

    Args:
        name: Name of the sequence.
        pack: Name of the pack, for messages.
        files: Contents by relative path.
    """

    def __init__(self, name: str, pack: str, files: dict[str, bytes | memoryview]) -> None:
        self.name, self._pack, self._files = name, pack, files
        self._videos: dict[str, VideoBytes] = {}

    def label(self, path: str) -> str:
        """Where in the pack a file is."""
        return f"{self._pack}/{self.name}/{path}"

    def read(self, path: str) -> bytes:
        """A whole file."""
        if path not in self._files:
            raise FileNotFoundError(self.label(path))
        return bytes(self._files[path])

    def size(self, path: str) -> int:
        """Bytes of a file, 0 where it is missing."""
        return len(self._files.get(path, b""))

    def video(self, path: str) -> VideoSource:
        """A video file in memory, the same object at every call."""
        if path not in self._videos:
            self._videos[path] = VideoBytes(self.label(path), self._files[path])
        return self._videos[path]
