"""``lca synthesize``: render synthetic people into a data set."""

from __future__ import annotations

import argparse
import re
from typing import Any

from lca_lightning.cli.picture_size import parse_size
from lca_lightning.errors import UsageError

# Written out here so that --help needs no heavy import; a test compares them with the library.
KINDS = ("wild", "studio", "light_stage", "stylised")
BENCHMARKS = ("lca-synth-tiny", "lca-synth-small", "lca-synth-base")
_RECIPES = {"wild": "tiny/pretrain.yaml", "studio": "tiny/posttrain.yaml"}

_CAMERAS = 6
_FIXED_BY_BENCHMARK: dict[str, Any] = {
    "kind": "wild", "subjects": 8, "frames": 24, "cameras": _CAMERAS, "size": "256x192", "fps": 10.0,
    "seed": 0, "samples": 24, "motion": None, "environments": None, "fit_noise": None, "test_subjects": None,
    "val_subjects": None,
}  # fmt: skip

DESCRIPTION = """\
Render clothed synthetic people into a data set with exact cameras, masks and poses.
Run the same command again to continue where it stopped.

kinds:
  wild         one camera, many people: everyday clothes, jackets, skirts that swing, glasses, hats, bags,
               light and background of many places, compressed video, rig values with the errors of a fit
               (the exact ones are kept apart in truth.safetensors, for evaluation)
  studio       a ring of cameras, even light, no glasses or hats, strong expressions, hand poses, exact values
  light_stage  a studio whose lamps flash in groups, every third frame fully lit; linear 16-bit pictures with
               lamp positions and strengths, true albedo and normals
  stylised     drawn figures with big heads, eyes and hands, flat light and outlines; all of them test
"""

EPILOG = """\
examples:
  lca synthesize --out people                                    # 8 people, one camera each
  lca synthesize --out people --environments hdri/               # lit by your own .hdr or .exr maps
  lca synthesize --out dome --kind studio --subjects 4 --cameras 12
  lca synthesize --out stage --kind light_stage --subjects 2 --samples 32
  lca synthesize --out tiny --benchmark lca-synth-tiny           # tiny/{wild,studio,light_stage,stylised}
  lca synthesize --out base --benchmark lca-synth-base --shard 3/64   # machine 3 of 64 on a shared disk

A person depends on the kind's clothes, the seed and its own number only: more subjects or another number of
workers never change those already made. The last subjects are kept for testing, those before them for
validation. docs/synthesis.md lists the sizes and seeds of the benchmark sets.
"""


def add_parser(subparsers: Any) -> None:
    """Register the arguments of ``lca synthesize``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "synthesize",
        help="make a synthetic data set with exact cameras, masks and poses",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the data set")
    what = parser.add_argument_group("what to make")
    what.add_argument("--kind", choices=KINDS, default="wild", help="see above (wild)")
    what.add_argument(
        "--benchmark", choices=BENCHMARKS, help="a named set of all kinds; its sizes and seeds are fixed"
    )
    what.add_argument("--subjects", type=int, default=8, metavar="N", help="people, one sequence each (8)")
    what.add_argument("--frames", type=int, default=24, metavar="N", help="frames per sequence (24)")
    what.add_argument(
        "--cameras",
        type=int,
        default=_CAMERAS,
        metavar="N",
        help="cameras of a studio's or light stage's ring (6)",
    )
    what.add_argument("--size", default="256x192", metavar="HxW", help="height x width in pixels (256x192)")
    what.add_argument("--fps", type=float, default=10.0, help="frames per second (10)")
    what.add_argument("--seed", type=int, default=0, help="seed of the whole set (0)")
    what.add_argument("--samples", type=int, default=24, metavar="N", help="samples per pixel (24)")
    what.add_argument("--motion", metavar="FILE", help="a .bvh or .npz file that moves everybody")
    what.add_argument(
        "--environments", metavar="DIR", help="light wild people with the .hdr and .exr maps in this folder"
    )
    what.add_argument(
        "--fit-noise",
        type=float,
        default=None,
        metavar="X",
        help="strength of the errors of the stored rig values (1 for wild, 0 otherwise)",
    )
    held_out = parser.add_argument_group("held-out people")
    held_out.add_argument(
        "--test-subjects", type=int, metavar="N", help="last subjects, kept for testing (an eighth)"
    )
    held_out.add_argument(
        "--val-subjects", type=int, metavar="N", help="subjects before them, for validation (an eighth)"
    )
    work = parser.add_argument_group("how to work")
    work.add_argument("--workers", type=int, default=None, metavar="N", help="processes (one per core)")
    work.add_argument(
        "--shard", default="1/1", metavar="I/N", help="make part I of N, counted from 1; N machines share it"
    )


def run(namespace: argparse.Namespace) -> None:
    """Make the data set.

    Raises:
        UsageError: The size or the shard cannot be read or a number is out of range.
    """
    size, shard = parse_size(namespace.size), parse_shard(namespace.shard)
    if namespace.kind in ("wild", "stylised") and namespace.cameras not in (1, _CAMERAS):
        raise UsageError(f"The kind {namespace.kind} has one camera; leave out --cameras, or use a studio.")
    workers = _core_count() if namespace.workers is None else namespace.workers
    if namespace.benchmark is not None:
        _refuse_other_choices(namespace)
        _run_benchmark(namespace.benchmark, namespace.out, workers, shard)
        return
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
        workers=workers,
        test_subjects=namespace.test_subjects,
        val_subjects=namespace.val_subjects,
        fps=namespace.fps,
        environments=namespace.environments,
        fit_noise=namespace.fit_noise,
        shard=shard,
    )
    print(f"{len(paths)} sequences are in {namespace.out}; next: {_next_step(namespace.kind, namespace.out)}")


def _refuse_other_choices(namespace: argparse.Namespace) -> None:
    """A benchmark fixes what it holds; a choice that would be passed over is refused."""
    for name, default in _FIXED_BY_BENCHMARK.items():
        if getattr(namespace, name) != default:
            raise UsageError(
                f"--benchmark {namespace.benchmark} fixes --{name.replace('_', '-')}; leave it out."
            )


def _run_benchmark(name: str, out: str, workers: int, shard: tuple[int, int]) -> None:
    from lca_lightning.synthesis.benchmarks import synthesize_benchmark

    paths = synthesize_benchmark(name, out, workers, shard)
    print(f"{len(paths)} sequences of {name} are in {out}; next: {_next_step('wild', f'{out}/wild')}")


def _next_step(kind: str, root: str) -> str:
    if kind in _RECIPES:
        return f"lca fit --config {_RECIPES[kind]} --data.init_args.root {root}"
    return f"lca show-data {root}"


def parse_shard(text: str) -> tuple[int, int]:
    """Read ``I/N``.

    Raises:
        UsageError: The text is something else.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None:
        raise UsageError(f"A shard is given as I/N, like 3/64, not {text!r}.")
    return int(match[1]), int(match[2])


def _core_count() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
