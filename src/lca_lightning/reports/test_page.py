"""``report.html`` of a test: tables, cost, and the best, median and worst frames side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from lca_lightning.reports.html_page import PAGE_END, encoded_png, figure, page_head, table
from lca_lightning.reports.metrics_table import formatted, table_cells
from lca_lightning.reports.results import FrameResult, Summary, TestResults
from lca_lightning.reports.selection import RANKED_BY, ShownFrame
from lca_lightning.writing import write_text

MOST_LISTED = 200  # frames without mask; metrics.csv has all
PROTOCOLS = {
    "masked": "Scores inside the person's mask, beside scores that see what lies outside it.",
    "composite": "The whole picture, background set to white by the true mask on both (ExAvatar, NeuMan).",
    "lhm": "Pictures 512 pixels wide with SSIM and LPIPS on SqueezeNet, as LHM reports them.",
}
_COST = {
    "create_seconds": ("create an avatar", "s", 3),
    "decode_ms": ("a frame: decode", "ms", 2),
    "skin_ms": ("a frame: skin", "ms", 2),
    "raster_ms": ("a frame: raster", "ms", 2),
    "frame_ms": ("a frame: all three", "ms", 2),
    "gaussians": ("Gaussians", "", 0),
    "parameters": ("trained parameters", "", 0),
    "frozen_parameters": ("parameters of the frozen image encoder", "", 0),
}


def write_test_page(results: TestResults, shown: Sequence[ShownFrame], path: Path) -> Path:
    """Write the report, atomically.

    Args:
        results: Of the test.
        shown: Chosen frames with their pictures.
        path: The file.

    Raises:
        DataError: The file cannot be written.
    """
    return write_text(path, "\n".join(_page(results, shown)) + "\n")


def _page(results: TestResults, shown: Sequence[ShownFrame]) -> Iterator[str]:
    name = Path(results.checkpoint).name if results.checkpoint else "untrained model"
    yield from page_head(f"{name}: test")
    yield f"<h1>Test of {escape(name)}</h1>"
    facts = [results.checkpoint, f"step {results.step}"] if results.checkpoint else []
    if results.checkpoint_sha256:
        facts.append(f"SHA-256 {results.checkpoint_sha256[:12]}…")
    yield f"<p class='facts'>{escape(' · '.join(facts))}</p>"
    yield "<p>Means by subject, then over subjects. Protocols are never to be compared with each other.</p>"
    for note in results.notes():
        yield f"<p class='warning'>{escape(note)}</p>"
    summaries = results.summaries()
    for protocol in results.protocols:
        yield f"<h2>Protocol {escape(protocol)}</h2><p>{escape(PROTOCOLS.get(protocol, ''))}</p>"
        yield from table(table_cells(results, protocol), texts=3)
    yield from _cost(results)
    for protocol in results.protocols:
        yield from _pictures(protocol, [frame for frame in shown if frame.protocol == protocol], summaries)
    yield from _without_mask([frame for frame in results.frames if not frame.has_mask])
    yield PAGE_END


def _cost(results: TestResults) -> Iterator[str]:
    cost = results.cost
    if not cost:
        return
    yield "<h2>Cost</h2>"
    rows = [["what", "value"]]
    for key, (text, unit, digits) in _COST.items():
        value = cost.get(key)
        if isinstance(value, (int, float)):
            rows.append([text, f"{value:,.{digits}f} {unit}".strip()])
    by_views = cost.get("create_seconds_by_views")
    if isinstance(by_views, dict) and len(by_views) > 1:
        rows += [[f"create from {views} views", f"{seconds:.3f} s"] for views, seconds in by_views.items()]
    yield from table(rows)
    yield (
        f"<p class='way'>Measured on {escape(str(cost.get('device')))}, {cost.get('views')} reference views, "
        f"median over {cost.get('measured_subjects')} subjects, one frame at a time after warming up. "
        "`lca bench` measures finished avatars.</p>"
    )


def _pictures(protocol: str, shown: Sequence[ShownFrame], summaries: Sequence[Summary]) -> Iterator[str]:
    if not shown:
        return
    yield f"<h2>Best, median and worst frames, {escape(protocol)}</h2>"
    yield (
        f"<p>Ranked by {RANKED_BY.upper()} within each set. Truth and prediction are over white; the error "
        "is their mean absolute difference over the colours, three times as bright. Masks: white where both "
        "agree, cyan where the prediction lacks something, red where it has too much.</p>"
    )
    means = {(s.set, s.views): s for s in summaries if s.protocol == protocol and s.task == "all"}
    group = None
    for frame in shown:
        place = (frame.result.set, frame.result.views)
        if place != group:
            group = place
            mean = formatted(RANKED_BY, means[place].scores.get(RANKED_BY))
            yield f"<h3>{escape(place[0])}, {place[1]} reference views: {RANKED_BY} {mean} on average</h3>"
        yield from _frame(frame)


def _frame(frame: ShownFrame) -> Iterator[str]:
    result = frame.result
    values = result.scores[frame.protocol].items()
    scores = [f"{name} {formatted(name, value)}" for name, value in values if value == value]
    facts = [result.task.replace("_", " ")] if result.task else []
    if result.angle == result.angle:
        facts.append(f"{result.angle:.0f}° from the nearest reference")
    yield f"<section><h3>{frame.rank}: {escape(result.subject)}, {escape(result.frame)}</h3>"
    yield f"<p class='facts'>{escape(' · '.join([*facts, *scores]))}</p><div class='pictures'>"
    for label, picture_HW3 in frame.pictures.items():
        yield figure(label, encoded_png(picture_HW3), "png")
    yield "</div></section>"


def _without_mask(frames: Sequence[FrameResult]) -> Iterator[str]:
    if not frames:
        return
    yield "<h2>Frames without a mask</h2><p>Their masks are empty: no score counts them.</p><ul>"
    for frame in frames[:MOST_LISTED]:
        place = f"{frame.set}, {frame.views} views: {frame.subject}, {frame.frame}"
        yield f"<li>{escape(place)}</li>"
    yield "</ul>"
    if len(frames) > MOST_LISTED:
        yield f"<p>and {len(frames) - MOST_LISTED} more, see metrics.csv.</p>"
