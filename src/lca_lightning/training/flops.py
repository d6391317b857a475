"""Floating-point operations of a training step, counted by running one step of each new shape.

Matrix products, convolutions and attention count, two operations for each multiply-add, in all networks that
the step runs: image encoder, encoder, decoders, perceptual loss. Elementwise work and rasterisation are not
in the number, as is usual for model FLOPs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import (
    FlopCounterMode,
    flop_registry,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

from lca_lightning.batch import Batch
from lca_lightning.errors import NonFiniteError

_ATTENTION_ON_CPU = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_ATTENTION_BACKWARD_ON_CPU = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
_BACKWARD_PRODUCTS = 5  # of a fused attention's backward; the first of them computes the scores once more


@dataclass(frozen=True)
class StepFlops:
    """Cost of one step.

    Args:
        forward: Operations of the forward pass.
        backward: Operations of the backward pass without what is only computed again.
        recomputed: Operations repeated in the backward pass to save memory: checkpointed layers, and the
            scores of fused attention.
    """

    forward: int = 0
    backward: int = 0
    recomputed: int = 0

    @property
    def model(self) -> int:
        """What the mathematics of the step needs; utilisation (MFU) is measured in these."""
        return self.forward + self.backward

    @property
    def hardware(self) -> int:
        """What the device computes."""
        return self.model + self.recomputed

    def __str__(self) -> str:
        parts = (
            f"{value / 1e9:.2f} {name}"
            for name, value in (("forward", self.forward), ("backward", self.backward))
        )
        again = f", and {self.recomputed / 1e9:.2f} again to save memory" if self.recomputed else ""
        return f"{self.model / 1e9:.2f} GFLOP ({', '.join(parts)}{again}; rasterisation not counted)"


class StepFlopCounter:
    """Counts one step of each shape; later steps of that shape only look the number up.

    The counted step is an extra one whose results are thrown away: what watches operations also changes, in
    the last bit, how some are carried out, and a resumed run must repeat the straight one exactly.

    Args:
        eager: Whether counted steps must leave compiled code aside, whose operations cannot be seen.
    """

    def __init__(self, eager: bool = False) -> None:
        self.known: dict[Hashable, StepFlops | None] = {}
        self.current: StepFlops | None = None  # of the step under way; None when not known
        self._eager = eager

    def look_up(self, shape: Hashable, step: Callable[[], Tensor], model: nn.Module) -> None:
        """Make ``current`` the cost of a step; count it if its shape is new.

        Args:
            shape: Whatever decides the cost, see ``step_shape``.
            step: The forward pass up to the loss.
            model: Owner of the trained parameters; its buffers are left as they were.
        """
        if shape not in self.known:
            self.known[shape] = self._count(step, model)
        self.current = self.known[shape]

    def _count(self, step: Callable[[], Tensor], model: nn.Module) -> StepFlops | None:
        tally = _Tally()
        weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
        device = weights[0].device
        with contextlib.ExitStack() as stack:
            stack.enter_context(_left_as_it_was(model, device))
            if self._eager:
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            stack.enter_context(FlopCounterMode(display=False, custom_mapping=tally.formulas()))
            try:
                loss = step()
                tally.in_backward = True
                with torch.autocast(device.type, enabled=False):
                    torch.autograd.grad(loss, weights, allow_unused=True)
            except (NonFiniteError, torch.OutOfMemoryError):  # counting must not end a run
                return None
        return tally.total()


@contextlib.contextmanager
def _left_as_it_was(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Restore buffers, random states, autocast's copies of weights and the peak of the memory."""
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield
    with torch.no_grad():
        for buffer, value in buffers:
            buffer.copy_(value)
    torch.clear_autocast_cache()
    if devices:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def step_shape(batch: Batch) -> Hashable:
    """Everything about a batch that decides what a step costs.

    Args:
        batch: References with their masks, and targets.

    Returns:
        Body and face images of each subject, in ascending order, and the sizes of all images.
    """
    references = batch.references
    seen_BV2 = torch.stack(
        [references.view_mask_BV, references.view_mask_BV & references.face_mask_BV], dim=-1
    )
    images = tuple(sorted(map(tuple, seen_BV2.sum(dim=1).tolist())))
    sizes = (references.body_BV3HW, references.face_BV3hw, batch.targets.images_BT3HW)
    return images, tuple(tuple(part.shape[-2:]) for part in sizes), batch.targets.images_BT3HW.shape[1]


class _Tally:
    """Adds operations up by the pass they belong to."""

    def __init__(self) -> None:
        self.in_backward = False
        self.sums = {"forward": 0, "backward": 0, "recomputed": 0}

    def total(self) -> StepFlops:
        return StepFlops(**self.sums)

    def formulas(self) -> dict[Any, Callable[..., int]]:
        """PyTorch's formulas and those of the CPU's attention, each of which also adds to the sums."""
        known: dict[Any, Any] = {
            _ATTENTION_ON_CPU: _attention,
            _ATTENTION_BACKWARD_ON_CPU: _attention_backward,
            **flop_registry,
        }
        return {operation: self._adding(operation, formula) for operation, formula in known.items()}

    def _adding(self, operation: Any, formula: Callable[..., int]) -> Callable[..., int]:
        repeats_scores = "attention" in str(operation) and "backward" in str(operation)

        def count(*args: Any, **kwargs: Any) -> int:
            flops = int(formula(*args, **kwargs))
            again = flops // _BACKWARD_PRODUCTS if repeats_scores else 0
            self.sums["recomputed"] += again
            self.sums[self._pass()] += flops - again
            return flops

        count._get_raw = True  # type: ignore[attr-defined]  # tensors, not shapes: the formula unpacks them
        return count

    def _pass(self) -> str:
        if not self.in_backward:
            return "forward"
        # Derivatives are computed without gradients of their own; what is recomputed for them has some.
        return "recomputed" if torch.is_grad_enabled() else "backward"


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query.shape, key.shape, value.shape))


def _attention_backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(gradient.shape, query.shape, key.shape, value.shape))
