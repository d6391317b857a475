"""``lca runs``: list training runs with their state and scores."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lca_lightning.training.run_listing import RunSummary

_HEADS = ("RUN", "STATUS", "STEP", "RECIPE", "VAL", "BEST", "TEST", "AGE", "SIZE")
_SHOWN = ("psnr", "lpips")


def add_parser(subparsers: Any) -> None:
    """Register the arguments of ``lca runs``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "runs",
        help="list training runs with their scores",
        description=(
            "List the training runs in and below folders, newest first: state, steps, masked PSNR of the "
            "last and of the best validation, scores of `lca test`. A run that was killed shows as `stopped`."
        ),
    )
    parser.add_argument("folders", nargs="*", metavar="DIR", help="runs or folders of runs (runs)")
    parser.add_argument(
        "--sort",
        metavar="SCORE",
        help="best first by a score such as psnr or val/psnr, or by step, age, size",
    )
    parser.add_argument("--json", action="store_true", help="print everything that is known, for programs")


def run(namespace: argparse.Namespace) -> None:
    """Print the table.

    Raises:
        UsageError: A folder does not exist, or no run has the score.
    """
    from lca_lightning.errors import UsageError
    from lca_lightning.training.run_listing import find_runs

    folders = [Path(folder) for folder in namespace.folders]
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"There is no folder {folder}; name the folder that holds the runs.")
    runs = find_runs(folders or [Path("runs")])
    if namespace.sort and runs:
        runs = sorted_runs(runs, namespace.sort)
    if namespace.json:
        _print_json(runs)
    elif not runs:
        place = ", ".join(map(str, folders)) or "runs"
        print(f"There are no runs in {place}; `lca fit --config tiny/pretrain` begins one.")
    else:
        print(table([_HEADS, *map(row, runs)]))
        print(f"{len(runs)} run{'s' * (len(runs) > 1)}.{_next(runs)}")


def _next(runs: list[RunSummary]) -> str:
    """What to do with the first run that can go on, else with the first that can be tested."""
    kept = [run for run in runs if (run.path / "last.ckpt").is_file()]
    unfinished = [run for run in kept if run.status in ("interrupted", "stopped", "failed")]
    chosen = (unfinished or kept)[:1]
    verb = "fit" if unfinished else "test"
    return "".join(f" Next: lca {verb} --ckpt_path {run.path}/last.ckpt" for run in chosen)


def sorted_runs(runs: list[RunSummary], name: str) -> list[RunSummary]:
    """Put the best first; runs without the score come last.

    A score is the test's, and that of the best validation only where no run was tested: the two are of
    different people and do not compare.

    Raises:
        UsageError: No run has it; says which scores there are.
    """
    from lca_lightning.errors import UsageError
    from lca_lightning.reports.score_direction import is_better_high

    keys = (name, f"test/{name}", f"val/{name}")
    key = next((key for key in keys if any(run.sort_value(key) is not None for run in runs)), None)
    if key is None:
        known = sorted({key for run in runs for key in run.names() if "/" not in key})
        raise UsageError(f"No run has the score {name!r}; sort by {', '.join(known)}.")
    score = name.rpartition("/")[2]
    sign = -1.0 if score == "step" or is_better_high(score) else 1.0

    def order(run: RunSummary) -> tuple[bool, float]:
        value = run.sort_value(key)
        return value is None, sign * (value or 0.0)

    return sorted(runs, key=order)


def row(run: RunSummary) -> tuple[str, ...]:
    """One line of the table."""
    step = "-" if run.step is None else str(run.step)
    return (
        str(run.path),
        run.status,
        f"{step}/{run.total_steps}" if run.total_steps else step,
        run.recipe or "-",
        _score(run.validation.get("val/psnr")),
        _score(run.best.get("val/psnr")),
        _test_text(run.test),
        _age(run.age_seconds),
        _size(run.size_bytes),
    )


def table(rows: list[tuple[str, ...]]) -> str:
    """Columns under each other, two spaces between them."""
    widths = [max(len(line[column]) for line in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in rows)
    return "\n".join(line.rstrip() for line in lines)


def _test_text(scores: dict[str, float]) -> str:
    shown = [name for wanted in _SHOWN for name in scores if name.rpartition("/")[2] == wanted]
    if len(shown) > 2:  # several sets
        shown = [name for name in shown if name.endswith("psnr")]
    return ", ".join(f"{name} {scores[name]:.4g}" for name in shown) or "-"


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _age(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _print_json(runs: list[RunSummary]) -> None:
    import json
    from dataclasses import asdict

    print(json.dumps([{**asdict(run), "path": str(run.path)} for run in runs], indent=1))
