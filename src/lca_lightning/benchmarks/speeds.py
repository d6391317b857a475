"""How long counted work should take: speeds of products, convolutions and attention at the same shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from lca_lightning.benchmarks.flops import Kind, Operation, Work, count_work
from lca_lightning.benchmarks.timing import median_time

COVERED = 0.95  # of the operations of a kind; the rest is taken to run at their mean speed
MOST_SHAPES = 12
# Dense bfloat16 operations per second of the data sheets.
DATASHEET = {"H100 NVL": 835e12, "H100 PCIe": 756e12, "H100": 989e12, "H200": 989e12, "A100": 312e12}


@dataclass(frozen=True)
class Predicted:
    """What one kind of work should take.

    Args:
        kind: What it is.
        flops: Operations of that kind.
        speed: Operations per second, measured.
        shapes: Number of shapes that were measured.
    """

    kind: Kind
    flops: int
    speed: float
    shapes: int

    @property
    def seconds(self) -> float:
        """Operations over speed."""
        return self.flops / self.speed


def predict(work: Work, device: torch.device, rounds: int = 3) -> list[Predicted]:
    """Measure how fast the work's own shapes run one after another, and add up what they should take.

    Args:
        work: Counted operations.
        device: Where they ran.
        rounds: Timed turns of each shape.

    Returns:
        One entry per kind of work that occurs.
    """
    return [_predict_kind(kind, work, device, rounds) for kind in get_args(Kind) if work.of_kind(kind)]


def _predict_kind(kind: Kind, work: Work, device: torch.device, rounds: int) -> Predicted:
    total = work.of_kind(kind)
    largest = sorted(
        ((flops, operation) for operation, flops in work.flops.items() if operation.kind == kind),
        key=lambda pair: -pair[0],
    )
    covered, seconds, shapes = 0, 0.0, 0
    for flops, operation in tqdm(largest[:MOST_SHAPES], desc=f"speed of {kind}", unit="shape", leave=False):
        if covered >= COVERED * total:
            break
        seconds += flops / speed_of(operation, device, rounds)
        covered, shapes = covered + flops, shapes + 1
    return Predicted(kind, total, covered / seconds, shapes)


def speed_of(operation: Operation, device: torch.device, rounds: int) -> float:
    """Operations per second of one operation on random operands."""
    operands = [
        torch.randn(shape, device=device, dtype=torch.float32).to(operation.dtype)
        for shape in operation.shapes
    ]
    function = _runnable(operation.kind, operands)
    flops = count_work(function).total
    calls = 10 if device.type == "cuda" else 1
    return flops / (1e-3 * median_time(function, rounds, calls))


def _runnable(kind: Kind, operands: list[Tensor]) -> Callable[[], object]:
    if kind == "matrix product":
        left, right = operands
        return lambda: torch.matmul(left, right)
    if kind == "convolution":
        image, kernel = operands
        side = kernel.shape[-1]
        stride, padding = (side, 0) if side > 7 else (1, side // 2)  # patches, or a usual convolution
        return lambda: functional.conv2d(image, kernel, stride=stride, padding=padding)
    query, key, value = operands
    if kind == "attention":
        return lambda: functional.scaled_dot_product_attention(query, key, value)
    with torch.enable_grad():
        leaves = [operand.requires_grad_() for operand in operands]
        attended = functional.scaled_dot_product_attention(query, key, value)
    gradient = torch.randn_like(attended)
    return lambda: torch.autograd.grad(attended, leaves, gradient, retain_graph=True)


def datasheet_speed(device: torch.device) -> float | None:
    """Dense bfloat16 operations per second that the maker states, or None for an unknown device."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_properties(device).name
    return next((speed for known, speed in DATASHEET.items() if known in name), None)
