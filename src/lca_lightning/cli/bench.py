"""``lca bench``: measure speed against a rival, alternately in one process."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

# name: module and function that measures it, and what it compares
BENCHMARKS: dict[str, tuple[str, str, str]] = {
    "raster": (
        "raster",
        "measure_raster",
        "splatting forward and backward; CPU: C++ kernel and PyTorch reference, CUDA: gsplat called directly",
    ),
    "decode": (
        "decode",
        "measure_decode",
        "pose decoding of a frame, token half computed once; rival: the plain MLP over the concatenation",
    ),
    "frame": (
        "frame",
        "measure_frame",
        "a whole animated frame; rival: static render of the same posed cloud; also ms of each part",
    ),
    "encode": (
        "encode",
        "measure_encode",
        "photos to tokens; rivals: the bare image encoder inside it, and a plain ViT of the same FLOPs",
    ),
    "train-step": (
        "train_step",
        "measure_train_step",
        "a compiled training step; rival: the same model eager; also the time its FLOPs predict, MFU, memory",
    ),
    "loader": (
        "loader",
        "measure_loader",
        "training batches off the disk; rival: PyAV decoding the same frames",
    ),
    "memory": (
        "memory",
        "measure_memory",
        "CUDA only: peak memory of a training step by views, Gaussians, precision and checkpointing",
    ),
}
_EXPLANATION = """
Ours and the rival run by turns in one process. Their outputs are compared first: where they differ, nothing
is timed and the command fails. A ratio is our time over the rival's (below 1 is faster): the median of the
ratios of neighbouring turns, with their 10th and 90th percentile. Weights are random, which changes no time.
"""


def add_parser(subparsers: Any) -> None:
    """Register the arguments of ``lca bench``."""
    listed = "\n".join(f"  {name:<12}{text}" for name, (_, _, text) in BENCHMARKS.items())
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "bench",
        help="measure speed against a rival",
        description=f"Measure speed against a rival.\n{_EXPLANATION}\nbenchmarks:\n{listed}",
        epilog="example: lca bench frame --size tiny --rounds 31 --json bench_frame.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=list(BENCHMARKS), metavar="BENCHMARK", help="one of the list above")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything measured as JSON")
    parser.add_argument(
        "--size",
        choices=("tiny", "small", "base"),
        help="model and pictures of the packaged recipes (CUDA: base; CPU: what it can do in a minute)",
    )
    parser.add_argument(
        "--device", default="auto", choices=("auto", "cpu", "cuda"), help="auto takes CUDA where there is one"
    )
    parser.add_argument("--rounds", type=int, default=21, help="timed turns of each side (default: 21)")
    parser.add_argument(
        "--views", type=int, help="photos of a person in encode, train-step and loader (tiny: 4, base: 8)"
    )
    parser.add_argument(
        "--eager", action="store_true", help="encode: without torch.compile, which takes minutes on a CPU"
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="loader: a data set of yours instead of a made one"
    )


def run(namespace: argparse.Namespace) -> None:
    """Measure, print a table and write the file.

    Raises:
        UsageError: Fewer than one round or view.
        DeviceError: CUDA was asked for, or is needed, and there is none.
        LCAError: The outputs of the two sides differ, or there is no compiler for the rival.
    """
    from lca_lightning.errors import UsageError

    if namespace.rounds < 1:
        raise UsageError(f"--rounds must be at least 1, got {namespace.rounds}.")
    if namespace.views is not None and namespace.views < 1:
        raise UsageError(f"--views must be at least 1, got {namespace.views}.")
    from lca_lightning.benchmarks import machine
    from lca_lightning.benchmarks.report import format_report, write_report
    from lca_lightning.benchmarks.sizes import BenchOptions, pick_device
    from lca_lightning.writing import refuse_unwritable

    if namespace.json is not None:
        refuse_unwritable(namespace.json)
    module, function, _ = BENCHMARKS[namespace.what]
    measure = getattr(importlib.import_module(f"lca_lightning.benchmarks.{module}"), function)
    options = BenchOptions(
        pick_device(namespace.device),
        namespace.size,
        namespace.rounds,
        namespace.views,
        not namespace.eager,
        namespace.data,
        namespace.json,
    )
    neighbours = machine.Neighbours()
    report = measure(options)
    report.busy_cores = neighbours.busy_cores()
    print(format_report(report))
    if namespace.json is not None:
        write_report(report, namespace.json)
        print(f"Wrote {namespace.json}; compare it with another machine's by the ratios, not by the times.")
