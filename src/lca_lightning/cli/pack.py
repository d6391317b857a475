"""``lca pack``: pack a data set for streaming from disk or a bucket."""

from __future__ import annotations

import argparse
import sys
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Register the arguments of ``lca pack``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "pack",
        help="pack a data set for streaming from disk or a bucket",
        description=(
            "Pack a data set into few large files (litdata's optimised form) on disk or in an S3 bucket.\n"
            "Data modules take the result as their root. Run the same command again to go on where it\n"
            "stopped; nothing can be opened before everything is there. Broken sequences are left out and\n"
            "listed.\n\n"
            "Keys and endpoint of a bucket come from the usual AWS environment variables and files."
        ),
        epilog="examples: lca pack data/wild packs/wild --jobs 8\n          lca pack data/wild s3://bucket/wild",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("root", metavar="DIR", help="folder of the data set")
    parser.add_argument("out", metavar="OUT", help="folder to make, or s3://BUCKET/PREFIX")
    parser.add_argument("--chunk-mb", type=int, default=64, help="size of a file in MB (default: 64)")
    parser.add_argument(
        "--frames-per-item",
        type=int,
        default=1024,
        metavar="N",
        help="largest number of pictures read at once, all cameras together; longer training sequences "
        "are split into every second, third ... frame, light stages into runs of frames (default: 1024)",
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: 1)")
    parser.add_argument("--endpoint-url", metavar="URL", help="address of another S3 service than Amazon's")


def run(namespace: argparse.Namespace) -> None:
    """Pack, list what was left out, and say what comes next.

    Raises:
        UsageError: A number is out of range.
        DataError: Nothing can be packed, OUT exists or cannot be written, or the bucket does not answer.
    """
    from lca_lightning.datasets.pack import pack_dataset
    from lca_lightning.errors import ConfigError, UsageError

    try:
        summary = pack_dataset(
            namespace.root,
            namespace.out,
            chunk_mb=namespace.chunk_mb,
            frames_per_item=namespace.frames_per_item,
            jobs=namespace.jobs,
            endpoint_url=namespace.endpoint_url,
        )
    except ConfigError as error:
        raise UsageError(str(error)) from error
    for name, reason in sorted(summary.skipped.items()):
        print(f"left out {name}: {reason}", file=sys.stderr)
    if summary.whole:
        print(
            f"{len(summary.whole)} sequences were kept whole because not every picture of theirs is a key "
            f"picture, or few frames of a light stage are fully lit, such as {summary.whole[0]}."
        )
    left_out = f" ({len(summary.skipped)} left out)" if summary.skipped else ""
    print(
        f"{summary.sequences} sequences{left_out} are in {summary.out} as {summary.items} items in "
        f"{summary.chunks} files of {summary.total_bytes / 1e6:.1f} MB together; next: train on them with "
        f"--data.init_args.root {summary.out}"
    )
