"""The findings and measures as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from lca_lightning.inspection.findings import CHECKS, SEVERITIES, Finding
from lca_lightning.inspection.results import CameraResult, DatasetResult

_MOST_CAMERAS, _MOST_FINDINGS = 40, 60


def table_lines(result: DatasetResult) -> Iterator[str]:
    """Lines that tell a person what was found.

    Args:
        result: Of the inspection.

    Yields:
        Measures by camera, findings grouped by check, and the counts.
    """
    yield from _measures(result)
    yield ""
    for check, meaning in CHECKS.items():
        found = [finding for finding in result.findings if finding.check == check]
        worst = next((s for s in ("error", "warning", "note") if any(f.severity == s for f in found)), "ok")
        yield f"  {worst:<8} {check:<16} {meaning}"
    shown = sorted(result.findings, key=lambda f: ("error", "warning", "note").index(f.severity))
    if shown:
        yield ""
    for finding in shown[:_MOST_FINDINGS]:
        yield finding_line(finding)
    if len(shown) > _MOST_FINDINGS:
        yield f"... and {len(shown) - _MOST_FINDINGS} more; --report and --json have them all"
    counts = result.counts
    yield ""
    told = ", ".join(counted(counts[severity], severity) for severity in SEVERITIES)
    yield f"{counted(len(result.sequences), 'sequence')}: {told}"


def counted(number: int, what: str) -> str:
    """A number and what it counts, such as ``1 error`` or ``2 errors``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def finding_line(finding: Finding) -> str:
    """One finding as one line."""
    place = "/".join(part for part in (finding.sequence, finding.camera) if part)
    way_out = f" -> {finding.way_out}" if finding.way_out else ""
    return f"{finding.severity}: {place + ': ' if place else ''}{finding.what}{way_out}"


def _measures(result: DatasetResult) -> Iterator[str]:
    rows = [(sequence, camera) for sequence in result.sequences for camera in sequence.cameras.values()]
    width = max([15, *(len(f"{sequence.id}/{camera.name}") for sequence, camera in rows[:_MOST_CAMERAS])])
    yield f"{'sequence/camera':<{width}}  subject     split  frames    IoU  offset begin/end (frames)"
    for sequence, camera in rows[:_MOST_CAMERAS]:
        yield (
            f"{sequence.id + '/' + camera.name:<{width}}  {sequence.subject[:10]:<10}  {sequence.split:<5}  "
            f"{sequence.frames:>6}  {_number(camera.median_overlap, '.2f'):>5}  {offsets_of(camera)}"
        )
    if len(rows) > _MOST_CAMERAS:
        yield f"... and {len(rows) - _MOST_CAMERAS} more cameras; --report and --json have them all"


def offsets_of(camera: CameraResult) -> str:
    """Offsets at the beginning and at the end, dashes where unknown."""
    return f"{_number(camera.offset_begin, '+.2f')} / {_number(camera.offset_end, '+.2f')}"


def _number(value: float | None, how: str) -> str:
    return "-" if value is None else format(value, how)
