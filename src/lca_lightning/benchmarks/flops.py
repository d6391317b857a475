"""Operations of a call, counted by kind and shape while it runs: matrix products, convolutions, attention."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.flop_counter import (
    FlopCounterMode,
    flop_registry,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

Kind = Literal["matrix product", "attention", "attention backward", "convolution"]
_CPU_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_CPU_ATTENTION_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


@dataclass(frozen=True)
class Operation:
    """One kind of work at one shape.

    Args:
        kind: What it is.
        shapes: Of its main operands: two matrices, query, key and value, or image and kernel.
        dtype: Their type.
    """

    kind: Kind
    shapes: tuple[tuple[int, ...], ...]
    dtype: torch.dtype


@dataclass
class Work:
    """Operations of a call; a multiply-add counts as two.

    Args:
        flops: By operation, over the whole call.
        calls: How often each runs.
        recomputed: Part of the sum that a backward pass computes a second time to save memory.
    """

    flops: Counter[Operation] = field(default_factory=Counter)
    calls: Counter[Operation] = field(default_factory=Counter)
    recomputed: int = 0

    @property
    def total(self) -> int:
        """All operations that run."""
        return sum(self.flops.values())

    @property
    def needed(self) -> int:
        """Operations that the mathematics needs: MFU is measured in these."""
        return self.total - self.recomputed

    def of_kind(self, kind: Kind) -> int:
        """Operations of one kind."""
        return sum(count for operation, count in self.flops.items() if operation.kind == kind)


def count_work(function: Callable[[], object], eager: bool = True) -> Work:
    """Run a function once and count what it does.

    Args:
        function: What runs; backward passes inside it count too.
        eager: Leave compiled code aside, whose operations cannot be seen.

    Returns:
        Its work; elementwise operations and rasterisation are not in it.
    """
    work = Work()
    known: dict[Any, Callable[..., int]] = dict(flop_registry)
    known |= {_CPU_ATTENTION: _attention, _CPU_ATTENTION_BACKWARD: _attention_backward}
    mapping = {operation: _tallying(operation, formula, work) for operation, formula in known.items()}
    with contextlib.ExitStack() as stack:
        if eager:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(FlopCounterMode(display=False, custom_mapping=mapping))
        function()
    return work


def _tallying(packet: Any, formula: Callable[..., int], work: Work) -> Callable[..., int]:
    name = str(packet)

    def count(*args: Any, **kwargs: Any) -> int:
        flops = int(formula(*args, **kwargs))
        operation = _operation(name, args)
        work.flops[operation] += flops
        work.calls[operation] += 1
        # Derivatives are computed without gradients of their own; what is recomputed for them has some.
        if torch._C._current_graph_task_id() != -1 and torch.is_grad_enabled():
            work.recomputed += flops
        return flops

    count._get_raw = True  # type: ignore[attr-defined]  # tensors, not shapes: the formula unpacks them
    return count


def _operation(name: str, args: tuple[Any, ...]) -> Operation:
    tensors = [part for part in args if isinstance(part, Tensor)]
    backward = "backward" in name
    if "attention" in name:
        first = 1 if backward else 0  # a gradient comes first
        chosen = tensors[first : first + 3]
        return _named("attention backward" if backward else "attention", chosen)
    if "conv" in name:
        return _named("convolution", tensors[1:3] if backward else tensors[:2])
    return _named("matrix product", tensors[-2:])


def _named(kind: Kind, tensors: list[Tensor]) -> Operation:
    return Operation(kind, tuple(tuple(tensor.shape) for tensor in tensors), tensors[0].dtype)


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query.shape, key.shape, value.shape))


def _attention_backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(gradient.shape, query.shape, key.shape, value.shape))
