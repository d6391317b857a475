"""Tables of results beside the paper's numbers, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

DASH = "–"


def results_table(results: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The table of an experiment: header and lines of cells.

    Args:
        results: Of an experiment.

    Returns:
        Names of columns, and cells; a cell is ``mean ± deviation (paper)``.
    """
    columns, several = results["columns"], len(results["tests"]) > 1
    header = ["", *(["test"] if several else [])]
    header += [f"{title} {name}" for title in results["sets"].values() for name in columns]
    lines = []
    for line in results["lines"]:
        cells = [line["title"], *([results["tests"][line["test"]]] if several else [])]
        for entry in line["sets"].values():
            paper = list(entry["paper"]) or [None] * len(columns)
            for score, number in zip(columns.values(), paper, strict=True):
                cells.append(_cell(score, entry["scores"].get(score), number))
        lines.append(cells)
    return header, lines


def _cell(score: str, value: Mapping[str, Any] | None, paper: float | None) -> str:
    decimals = 2 if score.startswith("psnr") else 4
    text = DASH
    if value:
        text = f"{value['mean']:.{decimals}f}"
        if value["deviation"] is not None:
            text += f" ± {value['deviation']:.{decimals}f}"
    return text if paper is None else f"{text} ({paper:.{decimals}f})"


def comparison_table(results: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The comparisons of an experiment: header and lines of cells."""
    header = ["first", "against", "set", "score", "difference", "95% interval", "subjects"]
    lines = [
        [
            _line_title(results, entry["first"]),
            _line_title(results, entry["second"]),
            results["sets"][entry["set"]],
            entry["score"],
            f"{entry['difference']:+.3f}",
            f"[{entry['low']:+.3f}, {entry['high']:+.3f}]",
            str(entry["subjects"]),
        ]
        for entry in results["comparisons"]
    ]
    return header, lines


def _line_title(results: Mapping[str, Any], name: str) -> str:
    row, _, test = name.partition("/")
    title = {entry["row"]: entry["title"] for entry in results["rows"]}[row]
    return f"{title}, {results['tests'][test]}" if len(results["tests"]) > 1 else title


def facts(results: Mapping[str, Any]) -> list[str]:
    """Where the numbers come from, in words."""
    seeds = ", ".join(_measured_seeds(results)) or "none yet"
    data = ", ".join(f"{part} `{digest[:12]}`" for part, digest in results["data"]["digests"].items())
    revision = results["code"].get("revision")
    code = f"`{results['code']['training'][:12]}`" + (f", git `{revision[:10]}`" if revision else "")
    dirty = " with changes" if results["code"].get("dirty") else ""
    seconds = sum(row["training_seconds"] for row in results["rows"])
    lines = [
        f"Scale {results['scale']}: {results['steps']} optimiser steps a row; seeds {seeds}; "
        f"protocol {', '.join(results['protocols'])}.",
        f"Data {results['data']['name']}: {data}. Code {code}{dirty}. Machine: {results['machine']}; "
        f"{seconds / 3600:.1f} hours of training. {results['date']}.",
    ]
    devices = sorted({device for row in results["rows"] for device in row.get("devices", [])})
    if devices:
        lines.append(f"Trained on {' and on '.join(devices)}.")
    for row in results["rows"]:
        stages = " then ".join(f"{stage['recipe']} {stage['steps']} steps" for stage in row["stages"])
        if row["waiting"]:
            lines.append(f"{row['title']}: not available yet, {row['waiting']}.")
        elif stages:
            lines.append(f"{row['title']}: {stages}.")
    return lines


def _measured_seeds(results: Mapping[str, Any]) -> list[str]:
    found = {seed for line in results["lines"] for score in _scores(line) for seed in score["seeds"]}
    return sorted(found, key=int)


def _scores(line: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """All that was measured of a line of the table."""
    return [score for entry in line["sets"].values() for score in entry["scores"].values()]


def missing(results: Mapping[str, Any]) -> list[str]:
    """Rows with stages, able to run, whose tests are not finished; with the seeds where some are."""
    able = {row["row"] for row in results["rows"] if row["stages"] and not row["waiting"]}
    wanted = [str(seed) for seed in results["seeds"]]
    found = set()
    for line in results["lines"]:
        scores = _scores(line)
        lacking = [seed for seed in wanted if not any(seed in score["seeds"] for score in scores)]
        if line["row"] in able and lacking:
            seeds = f" (seed {', '.join(lacking)})" if len(lacking) < len(wanted) else ""
            found.add(f"{line['title']}{seeds}")
    return sorted(found)


def markdown_table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column reads left, numbers right."""
    rule = [":--", *["--:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *lines))


def legend(results: Mapping[str, Any]) -> str:
    """What a cell of the table says."""
    papers = any(entry["paper"] for line in results["lines"] for entry in line["sets"].values())
    brackets = "; in brackets the paper's number, at its own size and data" if papers else ""
    return f"Mean ± standard deviation over seeds{brackets}."


def markdown(results: Mapping[str, Any], level: int = 1, pictures: Sequence[str] = ()) -> str:
    """A section about an experiment.

    Args:
        results: Of an experiment.
        level: Of its heading.
        pictures: Names of pictures to show under the table.
    """
    parts = [f"{'#' * level} {results['title']}", f"{results['source']}. {results['expect']}".strip()]
    parts += [markdown_table(*results_table(results))]
    parts += [legend(results)]
    if results["comparisons"]:
        parts += [
            "First minus second, means over seeds; paired bootstrap over subjects, 10,000 resamples. It says "
            "what other people would change, not other seeds, and with few people it is too narrow:",
            markdown_table(*comparison_table(results)),
        ]
    parts += [f"![{results['title']}]({name})" for name in pictures]
    parts += results.get("notes", [])
    parts += ["\n".join(f"- {fact}" for fact in facts(results))]
    absent = missing(results)
    if absent:
        parts += [f"Not run yet: {', '.join(absent)}."]
    return "\n\n".join(parts) + "\n"
