"""Results of an experiment as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from lca_lightning.experiments.tables import comparison_table, facts, missing, results_table

_STYLE = """
:root { color-scheme: light dark; --line: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1180px; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; } td, th { padding: .3rem .7rem; text-align: right;
border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums; }
td:first-child, th:first-child { text-align: left; } .facts, .hint { opacity: .75; } svg { max-width: 100%; }
"""


def html_page(results: Mapping[str, Any], pictures: Sequence[str] = ()) -> str:
    """A page about an experiment.

    Args:
        results: Of an experiment.
        pictures: SVG drawings shown under the tables.
    """
    title = escape(results["title"])
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1>",
        f"<p>{escape(results['source'])}. {escape(results['expect'])}</p>",
        _table(*results_table(results)),
        "<p class='hint'>mean ± standard deviation over seeds; in brackets the paper's, at its own size.</p>",
    ]
    if results["comparisons"]:
        parts += [
            "<h2>Differences</h2><p class='hint'>First minus second; paired bootstrap over subjects.</p>"
        ]
        parts += [_table(*comparison_table(results))]
    parts += list(pictures)
    parts += ["<ul class='facts'>", *(f"<li>{escape(fact)}</li>" for fact in facts(results)), "</ul>"]
    absent = missing(results)
    if absent:
        parts += [f"<p>Not run yet: {escape(', '.join(absent))}.</p>"]
    return "\n".join([*parts, "</body></html>"]) + "\n"


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in line) + "</tr>" for line in lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
