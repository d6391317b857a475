"""``lca bench``: measure speed against a rival, alternately in one process."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Register the arguments of ``lca bench``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "bench",
        help="measure speed against a rival",
        description="Measure speed against a rival, by turns in one process; ratio = our time / the rival's.",
    )
    parser.add_argument(
        "what", choices=sorted(BENCHMARKS), help="raster: splatting on CPU, forward and backward"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the measurements as a JSON list"
    )
    parser.add_argument("--rounds", type=int, default=21, help="timed turns of each side (default: 21)")


def run(namespace: argparse.Namespace) -> None:
    """Measure, print a table and write the file.

    Raises:
        UsageError: Fewer than one round.
        LCAError: The outputs of the two sides differ, or there is no compiler for the rival.
    """
    from lca_lightning.benchmarks.timing import format_table, write_measurements
    from lca_lightning.errors import UsageError

    if namespace.rounds < 1:
        raise UsageError(f"--rounds must be at least 1, got {namespace.rounds}.")
    measurements = BENCHMARKS[namespace.what](namespace.rounds)
    print(format_table(measurements))
    if namespace.json is not None:
        write_measurements(measurements, namespace.json)
        print(f"Wrote {namespace.json}; compare it with another machine's by the ratios, not by the times.")


def _raster(rounds: int) -> Any:
    from lca_lightning.benchmarks.raster import measure_raster

    return measure_raster(rounds=rounds, slow_rounds=min(rounds, 2))


BENCHMARKS: dict[str, Callable[[int], Any]] = {"raster": _raster}
