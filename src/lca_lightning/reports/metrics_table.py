"""``metrics.md``: one table a protocol, never two protocols in one."""

from __future__ import annotations

from pathlib import Path

from lca_lightning.reports.metrics_files import score_columns
from lca_lightning.reports.results import TestResults
from lca_lightning.reports.score_direction import is_better_high
from lca_lightning.writing import write_text

COUNT_COLUMNS = ("frames", "subjects", "without mask")
_ROW_COLUMNS = ("set", "views", "task")


def write_metrics_table(results: TestResults, path: Path) -> Path:
    """Write ``metrics.md``, atomically."""
    return write_text(path, metrics_table(results))


def metrics_table(results: TestResults) -> str:
    """The means of a test in Markdown.

    Args:
        results: Of the test.

    Returns:
        Text of a heading, a table for each protocol with a row for each set, number of references and task,
        and the notes.
    """
    tested = f"`{results.checkpoint}`, step {results.step}" if results.checkpoint else "an untrained model"
    lines = ["# Test", "", f"Of {tested}. Means by subject, then over subjects.", ""]
    for protocol in results.protocols:
        lines += [f"## Protocol `{protocol}`", "", *_table(table_cells(results, protocol)), ""]
    lines += [f"- {note}" for note in results.notes()]
    return "\n".join(lines).rstrip() + "\n"


def table_cells(results: TestResults, protocol: str) -> list[list[str]]:
    """Heading and rows of the table of one protocol; scores with an arrow towards the better end."""
    summaries = [summary for summary in results.summaries() if summary.protocol == protocol]
    names = [score for owner, score in score_columns(results) if owner == protocol]
    heading = [f"{name} {'↑' if is_better_high(name) else '↓'}" for name in names]
    rows = [[*_ROW_COLUMNS, *heading, *COUNT_COLUMNS]]
    for summary in summaries:
        scores = [formatted(name, summary.scores.get(name)) for name in names]
        counts = (summary.frames, summary.subjects, summary.frames_without_mask)
        rows.append([summary.set, str(summary.views), summary.task, *scores, *map(str, counts)])
    return rows


def formatted(score: str, value: float | None) -> str:
    """A score as people read it: decibels with two digits, others with four; a dash where there is none."""
    if value is None or value != value:
        return "–"
    return f"{value:.2f}" if score.startswith("psnr") else f"{value:.4f}"


def _table(rows: list[list[str]]) -> list[str]:
    heading, *body = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    rule = ["---"] * len(_ROW_COLUMNS) + ["---:"] * (len(rows[0]) - len(_ROW_COLUMNS))
    return [heading, "|" + "|".join(rule) + "|", *body]
