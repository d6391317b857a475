"""``lca migrate-data``: bring a data set of an earlier layout to the present one."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Register the arguments of ``lca migrate-data``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "migrate-data",
        help="bring a data set of an earlier layout to the present one",
        description=(
            "Bring the JSON files of a data set to the present layout; videos and signals stay as they are. "
            "Each file is replaced as a whole; run it again when it was interrupted. A data set that is in "
            "the present layout stays as it is, and one of a newer layout is refused."
        ),
    )
    parser.add_argument("root", type=Path, metavar="DIR", help="folder of the data set")
    parser.add_argument("--dry-run", action="store_true", help="say what would change, write nothing")


def run(namespace: argparse.Namespace) -> None:
    """Migrate the data set and say what changed.

    Raises:
        DataError: It cannot be migrated.
    """
    from tqdm import tqdm

    from lca_lightning.datasets.migration import DRAFT, STEPS, migrate_dataset

    def bar(folders: Iterable[Path]) -> Iterable[Path]:
        return tqdm(folders, desc="migrate", unit="sequence", delay=2)

    result = migrate_dataset(namespace.root, namespace.dry_run, bar)
    for path in result.unreadable:
        print(f"left as it is: {path} is not readable; `lca check-data {namespace.root}` says more")
    if not result.changed:
        print(f"{namespace.root} is in layout version {result.target} already; nothing changed.")
        return
    for step in STEPS:
        if step.source >= result.source:
            print(f"{'draft' if step.source == DRAFT else step.source} -> {step.target}: {step.summary}")
    verb = "would be written" if namespace.dry_run else "were written"
    following = (
        f"lca migrate-data {namespace.root}" if namespace.dry_run else f"lca check-data {namespace.root}"
    )
    print(f"{len(result.changed)} files of {namespace.root} {verb}; next: {following}")
