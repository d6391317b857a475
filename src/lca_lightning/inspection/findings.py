"""What an inspection has to say: one finding each, gathered per sequence."""

from __future__ import annotations

from dataclasses import asdict, dataclass

SEVERITIES = ("error", "warning", "note")
"""An error makes the data unusable or a test dishonest; a warning may; a note only informs."""

CHECKS = {
    "layout": "files, folders and JSON follow the layout",
    "decoding": "videos open and decode",
    "frames": "frame counts and rates agree",
    "size": "pictures and masks have the stated size",
    "signals": "rig values are complete and finite",
    "cameras": "cameras are sound and see the person",
    "masks": "masks show somebody",
    "overlap": "masks and the reprojected rig overlap",
    "synchronisation": "the pictures move when the rig moves",
    "splits": "nobody is in two splits",
    "duplicates": "nothing is there twice",
    "rights": "licence and consent are stated",
    "leftovers": "nothing unfinished lies about",
}


@dataclass(frozen=True)
class Finding:
    """One thing that an inspection noticed.

    Args:
        severity: See `SEVERITIES`.
        check: Which check noticed it, see `CHECKS`.
        what: What is the matter, one sentence without the sequence's name.
        way_out: What to do about it.
        sequence: Id of the sequence; empty for the data set as a whole.
        camera: Name of the camera; empty for the sequence as a whole.
    """

    severity: str
    check: str
    what: str
    way_out: str
    sequence: str = ""
    camera: str = ""

    def to_json(self) -> dict[str, str]:
        """Plain values."""
        return asdict(self)


class Findings:
    """Gathers the findings of one sequence, or of the data set as a whole.

    Args:
        sequence: Id of the sequence; empty for the data set.
    """

    def __init__(self, sequence: str = "") -> None:
        self.sequence = sequence
        self.all: list[Finding] = []

    def error(self, check: str, what: str, way_out: str, camera: str = "") -> None:
        """Add an error."""
        self.all.append(Finding("error", check, what, way_out, self.sequence, camera))

    def warning(self, check: str, what: str, way_out: str, camera: str = "") -> None:
        """Add a warning."""
        self.all.append(Finding("warning", check, what, way_out, self.sequence, camera))

    def note(self, check: str, what: str, way_out: str = "", camera: str = "") -> None:
        """Add a note."""
        self.all.append(Finding("note", check, what, way_out, self.sequence, camera))


def count_severities(findings: list[Finding]) -> dict[str, int]:
    """Number of findings of each severity."""
    return {severity: sum(found.severity == severity for found in findings) for severity in SEVERITIES}
