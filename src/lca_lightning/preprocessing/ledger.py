"""What became of every clip, one small file each, so that a run continues exactly where it stopped."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from lca_lightning.preprocessing.clips import Clip, PreprocessOptions
from lca_lightning.writing import write_text

LEDGER_FOLDER = ".preprocess_ledger"
FINISHED, DROPPED, CRASHED, SET_ASIDE = "finished", "dropped", "crashed", "set_aside"


@dataclass(frozen=True)
class LedgerEntry:
    """One clip.

    Attributes:
        clip: Its name.
        state: ``finished``, ``dropped`` for a reason, ``crashed`` and to be tried again, or ``set_aside``.
        videos: Its files.
        reason: Why it is not in the data set.
        category: The same in a few words, for counting.
        crashes: How often it took its process down.
        detail: The end of the traceback, if there is one.
        options: Fingerprint of the options it was judged with.
        inputs: Size and date of each video and of the calibration when it was judged.
    """

    clip: str
    state: str
    videos: tuple[str, ...]
    reason: str = ""
    category: str = ""
    crashes: int = 0
    detail: str = ""
    options: str = ""
    inputs: tuple[tuple[int, int], ...] = ()

    def is_of(self, clip: Clip) -> bool:
        """Whether it speaks of these files; folders above the last one may have been moved."""
        return [_tail(video) for video in self.videos] == [_tail(str(video)) for video in clip.videos]

    def still_holds(self, clip: Clip, options: PreprocessOptions) -> bool:
        """Whether the same files were judged with the same options."""
        return self.options == options.fingerprint and self.inputs == file_marks(clip)


def _tail(video: str) -> tuple[str, ...]:
    return Path(video).absolute().parts[-2:]


def file_marks(clip: Clip) -> tuple[tuple[int, int], ...]:
    """Size and date of each video and of the calibration, zeros where one is missing."""
    calibration = () if clip.calibration is None else _calibration_files(clip.calibration)
    return tuple(_mark(path) for path in (*clip.videos, *calibration))


def _calibration_files(path: Path) -> tuple[Path, ...]:
    """The file, or what lies in the folders in which COLMAP keeps a model."""
    folders = [folder for folder in (path, path / "sparse" / "0", path / "sparse") if folder.is_dir()]
    return (path, *(file for folder in folders for file in sorted(folder.iterdir()) if file.is_file()))


def _mark(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


class Ledger:
    """The entries of one data set.

    Args:
        out: Folder of the data set.
    """

    def __init__(self, out: Path) -> None:
        self._folder = out / LEDGER_FOLDER

    def read(self, clip_id: str) -> LedgerEntry | None:
        """The entry of a clip, or None; a damaged one counts as none."""
        try:
            values = json.loads(self._path(clip_id).read_text(encoding="utf-8"))
            videos, inputs = tuple(values.pop("videos")), tuple((a, b) for a, b in values.pop("inputs"))
            return LedgerEntry(videos=videos, inputs=inputs, **values)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def write(self, entry: LedgerEntry) -> None:
        """Write an entry, atomically.

        Raises:
            DataError: The disk is full or the folder cannot be written.
        """
        write_text(self._path(entry.clip), json.dumps(asdict(entry)) + "\n")

    def _path(self, clip_id: str) -> Path:
        # 4096 sub-folders: a million clips leave about 250 files in each.
        shelf = hashlib.sha256(clip_id.encode()).hexdigest()[:3]
        return self._folder / shelf / f"{clip_id}.json"
