"""What a user asks for: clips, the options they share, and what became of each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lca_lightning.errors import DataError, UsageError
from lca_lightning.preprocessing.frames import VIDEO_SUFFIXES


@dataclass(frozen=True)
class Clip:
    """One synchronised set of videos of one person, or a single video.

    Attributes:
        id: Name of the sequence.
        videos: One file per camera.
        subject: Name of the person.
        calibration: Of the cameras; None for a single camera of unknown lens.
    """

    id: str
    videos: tuple[Path, ...]
    subject: str
    calibration: Path | None


@dataclass(frozen=True)
class PreprocessOptions:
    """Options of ``lca preprocess`` that hold for every clip.

    Attributes:
        out: Folder of the data set.
        stride: Take every so many frames.
        max_side: Longer side of the written pictures, pixels.
        people: ``single`` leaves out frames in which somebody else of comparable size is seen, ``main``
            keeps them
            and follows the person most present.
        split: ``train``, ``val`` or ``test``.
        licence: Of the footage.
        provenance: Where the footage comes from.
        minimum_height: Smallest usable stature in pixels of the source video.
        overwrite: Write clips again that are already there.
    """

    out: Path
    stride: int = 1
    max_side: int = 768
    people: str = "single"
    split: str = "train"
    licence: str = "unknown"
    provenance: str = ""
    minimum_height: float = 120.0
    overwrite: bool = False


@dataclass(frozen=True)
class ClipResult:
    """What became of a clip.

    Attributes:
        id: Name of the clip.
        reason: Why it was dropped; None when it was written.
        summary: Plain values for people and for ``dropped.json``.
    """

    id: str
    reason: str | None
    summary: dict[str, object]


def plan_clips(videos: list[Path], calibration: Path | None, subject: str | None) -> list[Clip]:
    """Group videos into clips: all cameras of one clip when a calibration is given, else one clip each.

    Args:
        videos: Files or folders of videos.
        calibration: Calibration file, if any.
        subject: Name of the person, if given.

    Returns:
        Clips with distinct ids.

    Raises:
        DataError: A folder without videos or a missing file.
        UsageError: No video at all.
    """
    files: list[Path] = []
    for path in videos:
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in VIDEO_SUFFIXES)
            if not inside:
                raise DataError(f"Folder {path} holds no video ({', '.join(VIDEO_SUFFIXES)}).")
            files += inside
        elif not path.exists():
            raise DataError(f"Video {path} does not exist; check the path.")
        else:
            files.append(path)
    if not files:
        raise UsageError("No video was given; name at least one file.")
    if calibration is not None:
        name = safe_name(files[0].resolve().parent.name or files[0].stem)
        return [Clip(name, tuple(files), safe_name(subject or name), calibration)]
    clips: list[Clip] = []
    for file in files:
        name = safe_name(file.stem)
        taken = {clip.id for clip in clips}
        unique = next(n for n in [name, *(f"{name}-{i}" for i in range(2, len(files) + 2))] if n not in taken)
        clips.append(Clip(unique, (file,), safe_name(subject or unique), None))
    return clips


def safe_name(text: str) -> str:
    """A name that is allowed as a sequence or camera: letters, digits, dot, dash and underscore."""
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._-")
    return cleaned or "clip"
