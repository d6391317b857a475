"""``lca import``: bring a public data set to our layout."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from lca_lightning.errors import DataError, UsageError

_MOST_LINES = 20


def add_parser(subparsers: Any) -> None:
    """Register the arguments of ``lca import``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "import",
        help="bring a public data set to our layout",
        description=(
            "Import a public data set that lies in a folder: pictures undistorted, cameras in metres, the "
            "body brought to our rig where the set allows it. Run it again to continue where it stopped; "
            "takes that cannot be read are listed in OUT/skipped.json."
        ),
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="which set; --list shows all")
    parser.add_argument("source", nargs="?", metavar="SRC", help="folder that holds the set")
    parser.add_argument("out", nargs="?", metavar="OUT", help="folder of the data set to write")
    parser.add_argument("--list", action="store_true", help="list the sets with their licences")
    parser.add_argument("--subjects", nargs="+", default=[], metavar="NAME", help="only these (patterns too)")
    parser.add_argument(
        "--cameras", nargs="+", default=[], metavar="NAME", help="only these (patterns too), or how many"
    )
    parser.add_argument("--frames", default=":", metavar="A:B:STEP", help="which frames of each take (all)")
    parser.add_argument("--max-size", type=int, metavar="PX", help="longest side of written pictures")
    parser.add_argument("--splits", type=Path, metavar="FILE", help='JSON {"SUBJECT": "train|val|test"}')
    parser.add_argument(
        "--test-fraction", type=float, default=0.1, metavar="F", help="share of subjects for testing (0.1)"
    )
    parser.add_argument(
        "--body-model", type=Path, metavar="FILE", help="SMPL-family model file that you have a licence for"
    )
    parser.add_argument(
        "--fit",
        choices=("source", "pictures"),
        default="source",
        help="pictures: where the set's own body cannot be converted, find joints in several cameras",
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="takes side by side (1)")
    parser.add_argument("--overwrite", action="store_true", help="write finished sequences again")


def run(namespace: argparse.Namespace) -> None:
    """Import the set, or list what can be imported.

    Raises:
        UsageError: An argument is missing or out of range.
        DataError: Nothing could be imported.
    """
    from lca_lightning.importers.importing import describe
    from lca_lightning.importers.registry import importer_class, importer_names

    if namespace.list:
        print("\n".join(describe(importer_names())))
        return
    if not (namespace.name and namespace.source and namespace.out):
        raise UsageError("Give NAME, SRC and OUT, such as `lca import generic ./scans ./data`; or --list.")
    if namespace.workers < 1:
        raise UsageError(f"--workers must be at least 1, got {namespace.workers}.")
    if namespace.max_size is not None and namespace.max_size < 16:
        raise UsageError(f"--max-size must be at least 16, got {namespace.max_size}.")
    if namespace.body_model is not None and not namespace.body_model.is_file():
        raise UsageError(f"There is no body model file {namespace.body_model}.")
    found = importer_class(namespace.name)
    print(f"{found.title}: {found.licence} ({found.terms_url}); only you can agree to these terms.")
    if not found.verified:
        print(
            "This importer is unverified on real data: it follows the documented layout; check the result "
            f"with `lca check-data {namespace.out}`.",
            file=sys.stderr,
        )
    _import(namespace)


def _import(namespace: argparse.Namespace) -> None:
    from lca_lightning.importers.importing import ImportOptions, import_dataset
    from lca_lightning.importers.selection import parse_frames
    from lca_lightning.importers.take_writing import TakeOptions

    take = TakeOptions(
        cameras=tuple(namespace.cameras),
        frames=parse_frames(namespace.frames),
        max_size=namespace.max_size,
        body_model=namespace.body_model,
        fit=namespace.fit,
    )
    options = ImportOptions(
        tuple(namespace.subjects),
        namespace.splits,
        namespace.test_fraction,
        namespace.workers,
        namespace.overwrite,
        take,
    )
    bar = _Bar()
    try:
        result = import_dataset(namespace.name, namespace.source, namespace.out, options, bar.update)
    finally:
        bar.close()
    for skipped in result.skipped:
        print(f"skipped {skipped.id}: {skipped.reason}")
    for summary in result.written:
        print(
            f"{summary.id}: {_counted(summary.cameras, 'camera')}, {_counted(summary.frames, 'frame')}, "
            f"{summary.valid_frames} with a body ({summary.body})"
        )
        if summary.remark:
            print(f"{summary.id}: {summary.remark}")
    if not (result.written or result.kept):
        raise DataError(
            f"None of the {len(result.skipped)} takes can be imported; "
            f"{namespace.out}/skipped.json lists why."
        )
    way_out = "run import with --fit pictures or --body-model FILE, and --overwrite"
    if namespace.fit == "pictures":
        way_out = "the line of its body above says why"
    bodiless = [summary.id for summary in result.written if not summary.valid_frames]
    for name in bodiless[:_MOST_LINES]:
        print(f"{name} cannot be trained on: no frame has a fitted body; {way_out}")
    if len(bodiless) > _MOST_LINES:
        print(f"... nor can {len(bodiless) - _MOST_LINES} more of the {len(result.written)} sequences")
    kept = f" ({len(result.kept)} were there already)" if result.kept else ""
    print(
        f"{_counted(len(result.written) + len(result.kept), 'sequence')} in {namespace.out}{kept}, "
        f"{_counted(len(result.skipped), 'take')} skipped; next: lca check-data {namespace.out}"
    )


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


class _Bar:
    """A progress bar over the pictures of the takes, opened at the first picture."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._seen: set[str] = set()

    def update(self, take: str, done: int, total: int) -> None:
        """Count pictures of a take."""
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(total=0, unit="picture")
        if take not in self._seen:
            self._seen.add(take)
            self._bar.total += total
        self._bar.set_description(take[:40], refresh=False)
        self._bar.update(done)

    def close(self) -> None:
        """Close it where it was opened."""
        if self._bar is not None:
            self._bar.close()
