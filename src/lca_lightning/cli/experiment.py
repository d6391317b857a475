"""``lca experiment``: run a table of experiments, or continue it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

SCALES = ("tiny", "small")

_DESCRIPTION = """\
Train and test all rows of a table, and write it beside the paper's numbers.

Run the same command again to go on: what is finished is kept, a training that was stopped continues from its
last checkpoint, and nothing is reused whose configuration, data or code has changed (docs, tests, comments
do not count). Ctrl-C and --time_limit stop without loss. Trainings run from a copy of the code made at the
start; to continue an earlier copy after the code has changed, name it by --code.
"""
_EPILOG = """\
examples:
  lca experiment experiments/table1.yaml --scale tiny --jobs 2            # two processes, one core each
  lca experiment table1 --scale tiny --dry-run                            # what would run, and how long
  lca experiment table1 --scale tiny --data DIR --seeds 0 --rows mixed    # a part of it
  lca experiment table1 --scale tiny --store experiments/results          # keep the numbers for the docs
  lca experiment --write-docs docs/experiments.md --results experiments/results
"""


def add_parser(subparsers: Any) -> None:
    """Register the arguments of ``lca experiment``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "experiment",
        help="run a table of experiments, or continue it",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help="experiment, by path or packaged name")
    parser.add_argument("--scale", choices=SCALES, default="tiny", help="size of model and data (tiny)")
    parser.add_argument(
        "--out", type=Path, default=Path("experiments_output"), metavar="DIR", help="(experiments_output)"
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="folder of the benchmark (made in data/ if absent)"
    )
    parser.add_argument("--seeds", metavar="0,1,2", help="seeds (those of the file)")
    parser.add_argument("--rows", metavar="A,B", help="rows (all)")
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="processes; they share the cores (1)"
    )
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="(auto)")
    parser.add_argument(
        "--time_limit", type=float, metavar="MIN", help="stop after this many minutes, status 0"
    )
    parser.add_argument(
        "--code", metavar="NAME", help="go on with this earlier copy of the code, see OUT/code"
    )
    parser.add_argument("--store", type=Path, metavar="DIR", help="copy the results to DIR/SCALE/NAME.json")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and run nothing")
    parser.add_argument(
        "--write-docs", type=Path, metavar="PAGE", help="write a page about all stored results"
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("experiments/results"),
        metavar="DIR",
        help="stored results, for it",
    )


def run(namespace: argparse.Namespace) -> None:
    """Run the experiment, print its plan, or write the page.

    Raises:
        LCAError: Something cannot be used, or a training or test failed.
        KeyboardInterrupt: Somebody stopped it; everything is kept.
    """
    from lca_lightning.errors import UsageError

    if namespace.write_docs is not None:
        from lca_lightning.experiments.documentation import write_page

        page = write_page(namespace.results, namespace.write_docs)
        print(f"Wrote {page} from the results in {namespace.results}.")
        return
    if namespace.file is None:
        raise UsageError("Name an experiment, such as experiments/table1.yaml, or give --write-docs PAGE.")
    _run_experiment(namespace)


def _run_experiment(namespace: argparse.Namespace) -> None:
    from tqdm import tqdm

    from lca_lightning.cli.recipe_files import find_recipe
    from lca_lightning.composition import compose
    from lca_lightning.experiments.running import Request, Session

    request = Request(
        file=namespace.file,
        scale=namespace.scale,
        out=namespace.out,
        data=namespace.data,
        seeds=None if namespace.seeds is None else _numbers(namespace.seeds),
        rows=None if namespace.rows is None else namespace.rows.split(","),
        jobs=namespace.jobs,
        device=namespace.device,
        minutes=namespace.time_limit,
        code=namespace.code,
        stored=namespace.store,
    )
    session = Session(request, lambda name: compose(find_recipe(name)), lambda line: tqdm.write(line))
    if namespace.dry_run:
        session.dry_run()
        return
    outcome = session.run()
    again = f"lca experiment {namespace.file} --scale {namespace.scale} --out {namespace.out}"
    if outcome.stopped == "interrupted":
        print(f"Stopped; everything is kept. To continue, run the same command again: {again} ...")
        raise KeyboardInterrupt
    if outcome.stopped == "time":
        print(f"The time is over; everything is kept. To continue, run the same command again: {again} ...")
        return
    print(f"Wrote {session.folder}/results.json, table.md and table.html.")


def _numbers(text: str) -> list[int]:
    from lca_lightning.errors import UsageError

    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f"--seeds takes numbers such as 0,1,2, not {text!r}.") from error
