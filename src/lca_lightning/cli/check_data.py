"""``lca check-data``: verify a data set."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from lca_lightning.errors import DataError, UsageError


def add_parser(subparsers: Any) -> None:
    """Register the arguments of ``lca check-data``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "check-data",
        help="verify a data set and write a report",
        description=(
            "Verify everything that can be verified of a data set, sequence by sequence: layout, decoding, "
            "frame counts, cameras, masks against the reprojected rig, synchronisation, splits, duplicates, "
            "licence and consent. Ends with status 1 when there are errors."
        ),
    )
    parser.add_argument("root", metavar="DIR", help="folder of the data set, plain or packed")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write an HTML report with thumbnails")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write findings and measures as JSON")
    parser.add_argument("--sample", type=int, default=8, metavar="N", help="frames looked at per camera (8)")
    parser.add_argument("--full", action="store_true", help="decode every frame of every video")
    parser.add_argument(
        "--minimum-iou", type=float, default=0.7, metavar="X", help="least overlap of mask and rig (0.7)"
    )
    parser.add_argument("--no-sync", action="store_true", help="leave out the comparison of motion")
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="processes side by side (one a core); 0 works in this process"
    )
    parser.add_argument(
        "--time-limit", type=float, default=900.0, metavar="S", help="seconds for one sequence (900)"
    )


def run(namespace: argparse.Namespace) -> None:
    """Check the data set and print what was found.

    Raises:
        UsageError: A number is out of range.
        DataError: There is no data set, a report cannot be written, or the data set has errors.
    """
    if namespace.jobs is not None and namespace.jobs < 0:
        raise UsageError(f"--jobs must not be negative, got {namespace.jobs}.")
    from tqdm import tqdm

    from lca_lightning.inspection.dataset_check import check_dataset
    from lca_lightning.inspection.html_report import write_html_report
    from lca_lightning.inspection.results import CheckOptions
    from lca_lightning.inspection.table import counted, table_lines
    from lca_lightning.writing import refuse_unwritable, write_text

    jobs = _cores() if namespace.jobs is None else namespace.jobs
    options = CheckOptions(
        sample=namespace.sample,
        full=namespace.full,
        minimum_iou=namespace.minimum_iou,
        synchronisation=not namespace.no_sync,
        jobs=jobs,
        seconds=namespace.time_limit,
    )
    for path in (namespace.report, namespace.json):
        if path is not None:
            refuse_unwritable(path)
    with tqdm(desc="check", unit="sequence") as bar:

        def advance(done: int, total: int, name: str) -> None:
            bar.total = total
            bar.set_postfix_str(name, refresh=False)
            bar.update(done - bar.n)

        result = check_dataset(namespace.root, options, advance)
    for line in table_lines(result):
        print(line)
    if namespace.report is not None:
        print(f"report: {write_html_report(result, options, namespace.report)}")
    if namespace.json is not None:
        written = write_text(namespace.json, json.dumps(result.to_json(), indent=2) + "\n")
        print(f"findings as JSON: {written}")
    errors = result.counts["error"]
    if errors:
        told = (
            ""
            if namespace.report
            else f"; `lca check-data {namespace.root} --report report.html` shows pictures"
        )
        raise DataError(f"{namespace.root} has {counted(errors, 'error')}{told}.")
    found = (
        "no error was found in any frame"
        if options.full
        else "no error was found in the frames looked at; --full decodes all"
    )
    print(f"{namespace.root} can be used: {found}; next: lca show-data {namespace.root}")


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
