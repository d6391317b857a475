"""``lca show-data``: make a contact sheet of a data set."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Register the arguments of ``lca show-data``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "show-data",
        help="make a contact sheet of a data set",
        description=(
            "Write one picture that shows a data set: a row per sequence, a picture per camera and moment. "
            "Of a light stage every other picture is fully lit; the others say how many lights burn."
        ),
    )
    parser.add_argument("root", metavar="DIR", help="folder of the data set, plain or packed")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("contact_sheet.jpg"),
        metavar="FILE",
        help=".jpg or .png (contact_sheet.jpg)",
    )
    parser.add_argument("--sequences", type=int, default=8, metavar="N", help="most rows (8)")
    parser.add_argument("--frames", type=int, default=6, metavar="N", help="pictures in a row (6)")
    parser.add_argument("--height", type=int, default=200, metavar="PX", help="height of a picture (200)")
    parser.add_argument(
        "--overlay", action="store_true", help="outline mask (red) and reprojected rig (blue)"
    )


def run(namespace: argparse.Namespace) -> None:
    """Write the contact sheet.

    Raises:
        UsageError: A number is out of range, or the file is no picture.
        DataError: There is no data set, nothing of it can be shown, or the file cannot be written.
    """
    from tqdm import tqdm

    from lca_lightning.inspection.contact_sheet import SheetOptions, write_contact_sheet
    from lca_lightning.writing import refuse_unwritable

    options = SheetOptions(namespace.sequences, namespace.frames, namespace.overlay, namespace.height)
    refuse_unwritable(namespace.out)
    with tqdm(desc="show", unit="sequence", delay=1) as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        written = write_contact_sheet(namespace.root, namespace.out, options, advance)
    print(f"{written} shows {namespace.root}; next: lca check-data {namespace.root}")
