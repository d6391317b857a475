"""Which clips a user means: files, folders, patterns and lists of paths, streamed for millions of them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from lca_lightning.errors import DataError, UsageError
from lca_lightning.preprocessing.clips import Clip, safe_name
from lca_lightning.preprocessing.frames import VIDEO_SUFFIXES


class ClipSource:
    """The clips of a command line, named one after the other; files are not opened.

    A path that is named twice is one clip. Names depend on the order only: of two videos ``walk.mp4`` the
    first is the clip ``walk``, the second ``walk-2``.

    Args:
        videos: Files, folders, patterns such as ``raw/*/front.mp4``, or ``@list.txt`` with a path a line
            (relative ones from the list's folder, lines that start with ``#`` are left out).
        calibration: Calibration file; all videos are then the cameras of one clip.
        subject: Name of the person, if given.

    Raises:
        DataError: A folder, pattern or list without videos, or a file named here that is missing.
        UsageError: No video at all.
    """

    def __init__(
        self, videos: Iterable[Path | str], calibration: Path | None = None, subject: str | None = None
    ) -> None:
        self._sources = [str(video) for video in videos]
        if not self._sources:
            raise UsageError("No video was given; name at least one file.")
        self._calibration, self._subject = calibration, subject
        seen: set[str] = set()
        for source in self._sources:
            _find(source, seen)
        self._count = 1 if calibration is not None else len(seen)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Clip]:
        files = _once(file for source in self._sources for file in _files(source))
        if self._calibration is not None:
            cameras = tuple(Path(file) for file in files)
            name = safe_name(cameras[0].resolve().parent.name or cameras[0].stem)
            yield Clip(name, cameras, safe_name(self._subject or name), self._calibration)
            return
        taken: dict[str, int] = {}
        for file in files:
            name = _free_name(safe_name(os.path.splitext(os.path.basename(file))[0]), taken)
            yield Clip(name, (Path(file),), safe_name(self._subject or name), None)


def _once(files: Iterable[str]) -> Iterator[str]:
    """Each path at its first mention."""
    seen: set[str] = set()
    for file in files:
        path = os.path.normpath(file)
        if path not in seen:
            seen.add(path)
            yield file


def _free_name(name: str, taken: dict[str, int]) -> str:
    """The name itself, or with the first number that makes it new; remembers what it gave out."""
    unique = name
    while unique in taken:
        taken[name] += 1
        unique = f"{name}-{taken[name]}"
    taken[unique] = 1
    return unique


def _files(source: str) -> Iterator[str]:
    if source.startswith("@"):
        yield from _listed(Path(source[1:]))
    elif os.path.isdir(source):
        with os.scandir(source) as entries:
            names = [entry.name for entry in entries if _is_video(entry.name)]
        yield from (os.path.join(source, name) for name in sorted(names))
    elif os.path.exists(source) or not glob.has_magic(source):
        yield source
    else:
        yield from sorted(name for name in glob.iglob(source, recursive=True) if _is_video(name))


def _is_video(name: str) -> bool:
    return name.lower().endswith(VIDEO_SUFFIXES)


def _listed(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                text = line.strip()
                if text and not text.startswith("#"):
                    yield text if os.path.isabs(text) else os.path.join(path.parent, text)
    except FileNotFoundError as error:
        raise DataError(f"List {path} does not exist; check the path after the @.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"List {path} cannot be read ({error}); it must be a UTF-8 text file with one path per line."
        ) from error


def _find(source: str, seen: set[str]) -> None:
    """Add the paths of a source to those seen; looks at names only.

    Raises:
        DataError: There is none.
    """
    single = not source.startswith("@") and not os.path.isdir(source)
    if single and not glob.has_magic(source) and not os.path.exists(source):
        raise DataError(f"Video {source} does not exist; check the path.")
    found = [os.path.normpath(file) for file in _files(source)]
    if found:
        seen.update(found)
        return
    if source.startswith("@"):
        raise DataError(f"List {source[1:]} names no video; write one path per line.")
    if single:
        raise DataError(f"Nothing matches the pattern {source}; check it, and quote it for the shell.")
    raise DataError(f"Folder {source} holds no video ({', '.join(VIDEO_SUFFIXES)}).")
