"""A training step of the compiled model against the same model eager, and against what its FLOPs predict."""

from __future__ import annotations

import torch

from lca_lightning.benchmarks.flops import Work, count_work
from lca_lightning.benchmarks.models import announce_compiling, can_compile, compiled_graphs
from lca_lightning.benchmarks.report import Figure, Report, Requirement
from lca_lightning.benchmarks.sizes import PICTURES, BenchOptions
from lca_lightning.benchmarks.speeds import datasheet_speed, predict
from lca_lightning.benchmarks.steps import PERCEPTUAL, TARGETS, VIEWS, TrainingStep, make_step
from lca_lightning.benchmarks.timing import Agreement, check_agreement, compare
from lca_lightning.errors import MissingAssetError

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2}  # relative, of loss and gradient norm
LARGEST_OVER_PREDICTED = 1 / 0.75
LEAST_MFU, MOST_MEMORY = 0.4, 70.0  # GiB


def run_eagerly(step: TrainingStep) -> None:
    """The same step of the same weights, compiled code left aside."""
    with torch.compiler.set_stance("force_eager"):
        step()


def check_losses(step: TrainingStep) -> Agreement:
    """Refuse to time unless loss and gradient norm of both sides agree for the same weights and batch."""
    with torch.compiler.set_stance("force_eager"):
        eager = step.loss_and_gradient_norm()
    ours = step.loss_and_gradient_norm()
    tolerance = TOLERANCE[step.precision]
    return check_agreement("Compiled and eager model", ours, eager, tolerance, relative=True)


def measure_train_step(options: BenchOptions) -> Report:
    """Compare the compiled step with the eager one; loss and gradient norm must agree first.

    Args:
        options: ``size`` is ``tiny`` on the CPU and ``base`` on CUDA by default, ``views`` 4 and 8.

    Returns:
        The comparison, the predicted time and, on CUDA, MFU and peak memory.

    Raises:
        LCAError: Losses differ.
        MissingAssetError: There is no compiler, or LPIPS has no weights here.
    """
    if not can_compile(options.device):
        raise MissingAssetError(
            "torch.compile finds no compiler here; install g++ (CPU) or triton (CUDA) and try again."
        )
    size = options.size_or("tiny")
    views = options.views or VIEWS[size]
    precision = torch.bfloat16 if options.on_cuda else torch.float32
    announce_compiling()
    step = make_step(size, options.device, views, precision, compiled=True)
    agreement = check_losses(step)
    work = count_work(step)
    for _ in range(2):  # whatever still compiles does it now
        step()
    if options.on_cuda:
        torch.cuda.reset_peak_memory_stats()
        step()
    peak_memory = torch.cuda.max_memory_allocated() / 2**30 if options.on_cuda else None
    name = f"train step, {views} views"
    graphs = compiled_graphs()
    found = compare(name, step, "eager", lambda: run_eagerly(step), agreement, options.rounds)
    graphs = compiled_graphs() - graphs
    report = Report(
        "train-step",
        f"{size}: 1 subject, {views} bodies {PICTURES[size].body} and {views} faces, {TARGETS[size]} "
        f"targets, {'bfloat16 autocast' if options.on_cuda else 'float32'}, "
        f"{'LPIPS-VGG' if PERCEPTUAL[size] else 'no LPIPS'}, "
        f"gradient checkpointing {'on' if step.model.config.gradient_checkpointing else 'off'}, AdamW, "
        f"random weights, {step.model.backbone.name}",
        options.device,
        [found],
        [Figure("graphs compiled while timing", graphs)],
        [Requirement("graphs compiled while timing:", graphs, "at most", 0)],
        notes=[
            "Rasterisation and elementwise work are not in the FLOPs, so a step takes longer than predicted."
        ],
    )
    _add_prediction(report, work, found.ours_ms, size == "base" and options.on_cuda)
    if peak_memory is not None:
        report.figures.append(Figure("peak memory", peak_memory, "GiB"))
        if size == "base":
            faster = Requirement("compiled / eager:", found.ratio, "at most", 1.0)
            report.requirements += [
                faster,
                Requirement("peak memory in GiB:", peak_memory, "at most", MOST_MEMORY),
            ]
    return report


def _add_prediction(report: Report, work: Work, step_ms: float, required: bool) -> None:
    """Predicted time by kind of work, and MFU where the device's speed is known."""
    kinds = predict(work, report.device)
    predicted_ms = 1e3 * sum(kind.seconds for kind in kinds)
    for kind in kinds:
        report.figures += [
            Figure(kind.kind, kind.flops / 1e9, "GFLOP"),
            Figure(f"{kind.kind} speed ({kind.shapes} shapes)", kind.speed / 1e12, "TFLOP/s"),
        ]
    report.figures += [
        Figure("computed again to save memory", work.recomputed / 1e9, "GFLOP"),
        Figure("predicted step", predicted_ms, "ms"),
        Figure("step / predicted", step_ms / predicted_ms, "x"),
        Figure("reached", work.needed / step_ms / 1e9, "TFLOP/s"),
    ]
    if required:
        report.requirements.append(
            Requirement("step / predicted:", step_ms / predicted_ms, "at most", LARGEST_OVER_PREDICTED)
        )
    peak = datasheet_speed(report.device)
    if peak is not None:
        mfu = work.needed / (1e-3 * step_ms) / peak
        report.figures.append(Figure(f"MFU, of {peak / 1e12:.0f} TFLOP/s", mfu))
        if required:
            report.requirements.append(Requirement("MFU (an aim):", mfu, "at least", LEAST_MFU))
