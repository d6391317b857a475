"""The report of an inspection as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path

from lca_lightning.inspection.findings import CHECKS, SEVERITIES, Finding
from lca_lightning.inspection.results import CameraResult, CheckOptions, DatasetResult, SequenceResult
from lca_lightning.inspection.table import offsets_of
from lca_lightning.reports.html_page import PAGE_END, figure, page_head
from lca_lightning.writing import write_text

_MOST_SHOWN = 400  # sequences with a section of their own; those with findings come first


def write_html_report(result: DatasetResult, options: CheckOptions, path: Path | str) -> Path:
    """Write the report.

    Args:
        result: Of the inspection.
        options: It was done with.
        path: The file.

    Returns:
        The path.

    Raises:
        DataError: The file cannot be written.
    """
    return write_text(path, "\n".join(_page(result, options)) + "\n")


def _page(result: DatasetResult, options: CheckOptions) -> Iterator[str]:
    name = Path(result.root).name or result.root
    yield from page_head(f"{name}: data check")
    yield f"<h1>{escape(name)}</h1>"
    keys = ("kind", "rig", "licence", "consent", "provenance")
    facts = [f"{key}: {result.header[key]}" for key in keys if result.header.get(key)]
    yield f"<p class='facts'>{escape(' · '.join(facts))}</p>"
    counts = result.counts
    summary = ", ".join(
        f"<span class='{severity}'>{counts[severity]} {severity}{'' if counts[severity] == 1 else 's'}</span>"
        for severity in SEVERITIES
    )
    frames = "every frame" if options.full else f"{options.sample} frames per camera"
    yield f"<p>{len(result.sequences)} sequences, {frames} decoded: {summary}.</p>"
    yield from _checks(result.findings)
    yield from _findings_table(result.findings)
    yield "<h2>Sequences</h2>"
    yield (
        "<p>Outlines: <span class='red'>red is the mask</span>, <span class='blue'>blue the reprojected "
        f"rig</span>. IoU is the median overlap of the two; at least {options.minimum_iou:g} is demanded. "
        "Offsets say by how many frames the pictures run behind the rig.</p>"
    )
    ordered = sorted(result.sequences, key=lambda sequence: not sequence.findings)
    for sequence in ordered[:_MOST_SHOWN]:
        yield from _sequence(sequence, options)
    if len(ordered) > _MOST_SHOWN:
        more = len(ordered) - _MOST_SHOWN
        yield f"<p>{more} more sequences are not shown; the JSON report has them all.</p>"
    yield PAGE_END


def _checks(findings: list[Finding]) -> Iterator[str]:
    yield "<h2>Checks</h2><table>"
    for check, meaning in CHECKS.items():
        found = {finding.severity for finding in findings if finding.check == check}
        worst = next((severity for severity in SEVERITIES if severity in found), "ok")
        yield f"<tr><td class='tag {worst}'>{worst}</td><td>{check}</td><td>{escape(meaning)}</td></tr>"
    yield "</table>"


def _findings_table(findings: list[Finding]) -> Iterator[str]:
    if not findings:
        return
    yield "<h2>Findings</h2><table><tr><th></th><th>sequence</th><th>camera</th><th>what</th></tr>"
    for finding in sorted(findings, key=lambda found: SEVERITIES.index(found.severity)):
        way_out = f" <span class='way'>{escape(finding.way_out)}</span>" if finding.way_out else ""
        yield (
            f"<tr><td class='tag {finding.severity}'>{finding.severity}</td>"
            f"<td>{escape(finding.sequence)}</td><td>{escape(finding.camera)}</td>"
            f"<td>{escape(finding.what)}.{way_out}</td></tr>"
        )
    yield "</table>"


def _sequence(sequence: SequenceResult, options: CheckOptions) -> Iterator[str]:
    facts = (
        f"subject {sequence.subject or '?'}, {sequence.split or '?'}, {sequence.frames} frames "
        f"at {sequence.fps:g}/s"
    )
    yield f"<section><h3>{escape(sequence.id)}</h3><p class='facts'>{escape(facts)}</p>"
    for finding in sequence.findings:
        place = f"{escape(finding.camera)}: " if finding.camera else ""
        yield f"<div class='{finding.severity}'>{finding.severity}: {place}{escape(finding.what)}</div>"
    yield "<table><tr><th>camera</th><th>IoU</th><th>offset begin / end</th><th></th></tr>"
    for camera in sequence.cameras.values():
        yield from _camera(camera, options)
    yield "</table></section>"


def _camera(camera: CameraResult, options: CheckOptions) -> Iterator[str]:
    overlap = camera.median_overlap
    rating = "" if overlap is None else "ok" if overlap >= options.minimum_iou else "error"
    shown = "–" if overlap is None else f"{overlap:.2f}"
    yield f"<tr><td>{escape(camera.name)}</td><td class='number {rating}'>{shown}</td>"
    yield f"<td class='number'>{escape(offsets_of(camera))}</td><td><div class='pictures'>"
    for label, jpeg in camera.thumbnails:
        yield figure(label, jpeg)
    yield "</div></td></tr>"
