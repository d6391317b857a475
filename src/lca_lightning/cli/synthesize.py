"""``lca synthesize``: render synthetic people into a data set."""

from __future__ import annotations

import argparse
from typing import Any

from lca_lightning.cli.picture_size import parse_size


def add_parser(subparsers: Any) -> None:
    """Register the arguments of ``lca synthesize``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "synthesize",
        help="make a synthetic data set with exact cameras, masks and poses",
        description="Render clothed synthetic people into a data set; run it again to continue.",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the data set")
    parser.add_argument(
        "--kind", choices=("wild", "studio"), default="wild", help="one camera anywhere, or a ring"
    )
    parser.add_argument("--subjects", type=int, default=8, metavar="N", help="people, one sequence each (8)")
    parser.add_argument("--frames", type=int, default=24, metavar="N", help="frames per sequence (24)")
    parser.add_argument("--cameras", type=int, default=6, metavar="N", help="cameras of the studio ring (6)")
    parser.add_argument("--size", default="256x192", metavar="HxW", help="height x width in pixels (256x192)")
    parser.add_argument("--fps", type=float, default=10.0, help="frames per second (10)")
    parser.add_argument(
        "--seed", type=int, default=0, help="a person depends on the seed and its number only (0)"
    )
    parser.add_argument("--samples", type=int, default=24, metavar="N", help="samples per pixel (24)")
    parser.add_argument("--motion", metavar="FILE", help="a .bvh or .npz file that moves everybody")
    parser.add_argument("--workers", type=int, default=None, metavar="N", help="processes (one per core)")
    parser.add_argument(
        "--test-subjects",
        type=int,
        default=None,
        metavar="N",
        help="last subjects, kept for testing (an eighth)",
    )


def run(namespace: argparse.Namespace) -> None:
    """Make the data set.

    Raises:
        UsageError: The size cannot be read or a number is out of range.
    """
    size = parse_size(namespace.size)
    from lca_lightning.synthesis.capture import synthesize

    paths = synthesize(
        namespace.out,
        namespace.kind,
        namespace.subjects,
        namespace.frames,
        cameras=namespace.cameras,
        size=size,
        seed=namespace.seed,
        samples=namespace.samples,
        motion=namespace.motion,
        workers=_core_count() if namespace.workers is None else namespace.workers,
        test_subjects=namespace.test_subjects,
        fps=namespace.fps,
    )
    recipe = "tiny/pretrain.yaml" if namespace.kind == "wild" else "tiny/posttrain.yaml"
    print(
        f"{len(paths)} sequences are in {namespace.out}; next:"
        f" lca fit --config {recipe} --data.init_args.root {namespace.out}"
    )


def _core_count() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
