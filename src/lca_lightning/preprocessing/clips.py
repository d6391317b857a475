"""What a user asks for: clips, the options they share, and what became of each."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Options that say where and under which terms clips are written, not what is found in them.
_WITHOUT_EFFECT = ("out", "split", "licence", "provenance", "overwrite")
LONGEST_NAME = 100  # letters; most file systems allow 255 bytes with every ending


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

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return _plain(self)

    @staticmethod
    def from_json(values: dict[str, Any]) -> Clip:
        """The clip of plain values."""
        videos = tuple(Path(video) for video in values["videos"])
        return Clip(values["id"], videos, values["subject"], _path(values["calibration"]))


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
        estimator: Who finds people, landmarks and masks: a name, or ``module:Class``.
        estimator_weights: Folder of the estimator's weights; None looks where they usually lie.
        body_fits: Folder of SAM-3D-Body results that give the body; None fits landmarks.
        clip_score: What every clip must pass before it is fitted: a name, ``module:Class``, or ``none``.
        score_threshold: Smallest score kept; None takes the score's own.
        up: The axis of the calibration's world that points up; None: what its kind of file says.
        scale: Metres of one unit of the calibration's world.
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
    estimator: str = "mediapipe"
    estimator_weights: Path | None = None
    body_fits: Path | None = None
    clip_score: str = "photographic"
    score_threshold: float | None = None
    up: str | None = None
    scale: float = 1.0

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return _plain(self)

    @staticmethod
    def from_json(values: dict[str, Any]) -> PreprocessOptions:
        """The options of plain values."""
        paths = {name: _path(values[name]) for name in ("estimator_weights", "body_fits")}
        return PreprocessOptions(**{**values, "out": Path(values["out"]), **paths})

    @property
    def fingerprint(self) -> str:
        """Changes with every option that may change what becomes of a clip."""
        values = {name: value for name, value in _plain(self).items() if name not in _WITHOUT_EFFECT}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


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


def safe_name(text: str) -> str:
    """A name that is allowed as a sequence or camera: letters, digits, dot, dash and underscore, not long."""
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._-")
    if len(cleaned) > LONGEST_NAME:  # files called after it get endings and must not become too long
        cleaned = f"{cleaned[: LONGEST_NAME - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return cleaned or "clip"


def _plain(value: Any) -> dict[str, Any]:
    fields = dataclasses.asdict(value)
    return json.loads(json.dumps(fields, default=str))


def _path(value: str | None) -> Path | None:
    return None if value is None else Path(value)
