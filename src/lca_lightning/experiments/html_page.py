"""Results of an experiment as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from lca_lightning.experiments.tables import comparison_table, facts, legend, missing, results_table
from lca_lightning.reports.html_page import PAGE_END, page_head, table


def html_page(results: Mapping[str, Any], pictures: Sequence[str] = ()) -> str:
    """A page about an experiment.

    Args:
        results: Of an experiment.
        pictures: SVG drawings shown under the tables.
    """
    title = escape(results["title"])
    parts = [
        *page_head(results["title"]),
        f"<h1>{title}</h1>",
        f"<p>{escape(results['source'])}. {escape(results['expect'])}</p>",
        *_table(*results_table(results), texts=2 if len(results["tests"]) > 1 else 1),
        f"<p class='way'>{escape(legend(results))}</p>",
    ]
    if results["comparisons"]:
        parts += [
            "<h2>Differences</h2><p class='way'>First minus second; paired bootstrap over subjects.</p>"
        ]
        parts += _table(*comparison_table(results), texts=3)
    parts += list(pictures)
    parts += [f"<p>{escape(note)}</p>" for note in results.get("notes", [])]
    parts += ["<ul class='facts'>", *(f"<li>{escape(fact)}</li>" for fact in facts(results)), "</ul>"]
    absent = missing(results)
    if absent:
        parts += [f"<p>Not run yet: {escape(', '.join(absent))}.</p>"]
    return "\n".join([*parts, PAGE_END]) + "\n"


def _table(header: Sequence[str], lines: Sequence[Sequence[str]], texts: int = 1) -> Iterator[str]:
    return table([header, *lines], texts)
