"""What an inspection is asked to do, and what it measures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lca_lightning.errors import UsageError
from lca_lightning.inspection.findings import Finding, count_severities


@dataclass(frozen=True)
class CheckOptions:
    """How thorough an inspection is.

    Args:
        sample: Frames of each camera that are decoded, compared with the rig and looked for elsewhere.
        full: Decode every frame of every video.
        minimum_iou: Least median overlap of mask and reprojected rig of every camera.
        synchronisation: Compare the motion in the masks with the rig's.
        jobs: Processes side by side; 0 checks in this process, which a crashing decoder takes with it.
        seconds: Time limit for one sequence; a process that exceeds it is ended.
        thumbnails: Pictures of each camera in the report.
    """

    sample: int = 8
    full: bool = False
    minimum_iou: float = 0.7
    synchronisation: bool = True
    jobs: int = 0
    seconds: float = 900.0
    thumbnails: int = 2

    def __post_init__(self) -> None:
        if self.sample < 1 or self.jobs < 0 or self.seconds <= 0 or not 0 <= self.minimum_iou <= 1:
            raise UsageError(
                "An inspection needs a sample of at least one frame, no negative number of jobs, a positive "
                "time limit and a minimum IoU between 0 and 1."
            )


@dataclass(frozen=True)
class Signature:
    """What one masked picture looks like, in few bytes.

    Args:
        camera: Name of the camera.
        frame: Frame index.
        code: Perceptual hash of 64 bits.
        colors: The masked person on 12x12 pixels, uint8 RGB.
    """

    camera: str
    frame: int
    code: int
    colors: np.ndarray


@dataclass
class CameraResult:
    """What was measured of one camera.

    Args:
        name: Of the camera.
        overlaps: Intersection over union of mask and reprojected rig by frame index.
        offset_begin: Frames by which the pictures run behind the rig (positive: late) at the beginning; None
            where it could not be measured.
        offset_end: The same at the end.
        broken_frames: Frames that do not decode, of those tried.
        thumbnails: JPEG files as bytes with their labels.
    """

    name: str
    overlaps: dict[int, float] = field(default_factory=dict)
    offset_begin: float | None = None
    offset_end: float | None = None
    broken_frames: int = 0
    thumbnails: list[tuple[str, bytes]] = field(default_factory=list)

    @property
    def median_overlap(self) -> float | None:
        """Median over the frames compared; None when there are none."""
        return float(np.median(list(self.overlaps.values()))) if self.overlaps else None

    @property
    def drift(self) -> float | None:
        """Frames by which the offset grows over the sequence."""
        if self.offset_begin is None or self.offset_end is None:
            return None
        return self.offset_end - self.offset_begin

    def to_json(self) -> dict[str, Any]:
        """Plain values without pictures."""
        return {
            "silhouette_iou_median": _round(self.median_overlap),
            "silhouette_iou": {str(frame): _round(value) for frame, value in sorted(self.overlaps.items())},
            "offset_begin_frames": _round(self.offset_begin),
            "offset_end_frames": _round(self.offset_end),
            "drift_frames": _round(self.drift),
            "broken_frames": self.broken_frames,
        }


@dataclass
class SequenceResult:
    """What was measured of one sequence, and the findings.

    Args:
        id: Of the sequence.
        subject: Name of the person; empty when unreadable.
        split: ``"train"``, ``"val"``, ``"test"``, or empty when unreadable.
        licence: Of the footage; empty when unreadable.
        consent: On what it rests that the person may be shown; empty when unreadable.
        frames: Frames of every camera, 0 when unreadable.
        fps: Frames per second, 0 when unreadable.
        has_body: Whether a fitted body came with it.
        valid_frames: Frames with a fitted body; None where the rig values are unreadable.
        cameras: One each.
        findings: Of this sequence.
        origin: Sequence that it is a part of, in a pack; else its id.
        digests: Hash of each file of pictures, by its path inside the sequence.
        signatures: Of sampled masked pictures.
    """

    id: str
    subject: str = ""
    split: str = ""
    licence: str = ""
    consent: str = ""
    frames: int = 0
    fps: float = 0.0
    has_body: bool = False
    valid_frames: int | None = None
    cameras: dict[str, CameraResult] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    origin: str = ""
    digests: dict[str, str] = field(default_factory=dict)
    signatures: list[Signature] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain values without pictures."""
        return {
            "subject": self.subject,
            "split": self.split,
            "licence": self.licence,
            "consent": self.consent,
            "frames": self.frames,
            "fps": self.fps,
            "has_body": self.has_body,
            "valid_frames": self.valid_frames,
            "cameras": {name: camera.to_json() for name, camera in self.cameras.items()},
        }


@dataclass
class DatasetResult:
    """What was measured of a data set.

    Args:
        root: As given.
        header: Values of ``dataset.json``; empty when unreadable.
        sequences: In order of their ids.
        findings: All of them, the data set's first, then sequence by sequence.
    """

    root: str
    header: dict[str, Any]
    sequences: list[SequenceResult]
    findings: list[Finding]

    @property
    def counts(self) -> dict[str, int]:
        """Number of findings of each severity."""
        return count_severities(self.findings)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON report."""
        return {
            "root": self.root,
            "header": self.header,
            "counts": self.counts,
            "findings": [finding.to_json() for finding in self.findings],
            "sequences": {sequence.id: sequence.to_json() for sequence in self.sequences},
        }


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
