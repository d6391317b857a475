"""Skips steps whose loss or gradient is not finite, on all processes alike; many in a row end the run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed
from torch import Tensor, nn

from lca_lightning.batch import Batch
from lca_lightning.datasets.pictures import write_png
from lca_lightning.errors import DataError, NonFiniteError
from lca_lightning.training.draws import StepDraws
from lca_lightning.training.pictures import Rendered, batch_grid
from lca_lightning.writing import write_atomically


@dataclass(frozen=True)
class Attempt:
    """What one forward pass saw and made.

    Args:
        batch: As it was learned from, augmentation included.
        draws: Chance's part in it.
        terms: Loss terms by name with their ``total``, detached; empty where the pass failed.
        rendered: Its renderings; None where the pass failed.
        failure: Why it failed; empty where it did not.
    """

    batch: Batch
    draws: StepDraws
    terms: Mapping[str, Tensor]
    rendered: Rendered | None = None
    failure: str = ""

    @property
    def failed(self) -> bool:
        """Whether the loss is no number; waits for the device."""
        return bool(self.failure) or not math.isfinite(self.terms["total"])

    def complaint(self) -> str:
        """Say what is not finite and in which frame, empty where all is well; waits for the device."""
        if self.failure:
            return f"{self.failure} (frame {self._frames()})"
        bad = [name for name, value in self.terms.items() if not math.isfinite(value)]
        if not bad:
            return ""
        named = [name for name in bad if name != "total"] or bad
        return f"loss term {', '.join(named)} is not finite (frame {self._frames()})"

    def _frames(self) -> str:
        """Name the first frame whose pixels are not finite, else the first of the batch."""
        images_BT3HW = [self.batch.targets.images_BT3HW]
        if self.rendered is not None:
            images_BT3HW += [self.rendered.animated_BT3HW, self.rendered.canonical_BT3HW]
        sums_BT = torch.stack([images.float().sum(dim=(2, 3, 4)) for images in images_BT3HW]).sum(dim=0)
        places = torch.nonzero(~torch.isfinite(sums_BT)).tolist()
        b, t = places[0] if places else (0, 0)
        return self.batch.frames[b][t]


class NonFiniteGuard:
    """Keeps values that are not finite out of the weights.

    A loss that is not finite makes the gradients so, and these are the same on all processes after they were
    averaged: all decide alike, in the one moment before the optimiser would step, from one number.

    Args:
        patience: Consecutive skipped steps after which the run stops.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.skipped = 0
        self._in_a_row = 0
        self._attempt: Attempt | None = None

    def watch(self, attempt: Attempt, loss: Tensor) -> Tensor:
        """Remember a forward pass until the optimiser's step and return the loss to differentiate.

        Args:
            attempt: The pass.
            loss: Its loss, maybe not finite.

        Returns:
            The same value. Where it is not finite every gradient becomes NaN: some derivatives, like that of
            an absolute value, are finite all the same.
        """
        if self._attempt is None or not self._attempt.failed:  # of accumulated parts the culprit is kept
            self._attempt = attempt
        return loss * (1.0 + 0.0 * loss.detach())

    def give_up(self, attempt: Attempt, parameters: Iterable[nn.Parameter]) -> Tensor:
        """Remember a forward pass that failed and return a NaN whose gradient reaches every parameter.

        The process still takes part in the backward pass, which others wait for.

        Args:
            attempt: The pass.
            parameters: All trained parameters.
        """
        self._attempt = attempt
        total = torch.stack([parameter.float().sum() for parameter in parameters if parameter.requires_grad])
        return math.nan * total.sum()

    def check(self, norms: Mapping[str, Tensor], model: nn.Module, step: int, folder: Path) -> str:
        """Decide, before the optimiser steps, whether it may: else drop the gradients, and it does nothing.

        Args:
            norms: Norms of the gradients by part, and ``total``.
            model: Owner of the gradients.
            step: Optimiser steps done.
            folder: Where a batch is saved when the run stops.

        Returns:
            A warning, empty when the step may be taken.

        Raises:
            NonFiniteError: The patience is at an end; the batch is saved.
        """
        attempt, self._attempt = self._attempt, None
        if _finite_everywhere(norms["total"]):
            self._in_a_row = 0
            return ""
        model.zero_grad(set_to_none=True)
        self.skipped += 1
        self._in_a_row += 1
        own = attempt.complaint() if attempt is not None else ""
        complaints = _gathered(own)
        rank = next((rank for rank, complaint in enumerate(complaints) if complaint), 0)
        what = complaints[rank] or _gradient_complaint(norms, attempt)
        if self._in_a_row < self.patience:
            return f"Warning: step {step} is skipped: {what}."
        name = f"step{step:07d}_rank{{}}.pt"
        trouble = ""
        if attempt is not None and (own or not any(complaints)):
            trouble = _save(attempt, folder / name.format(_rank()), step, own or what)
        where = trouble or f"look at the batch in {folder / name.format(rank)}"
        raise NonFiniteError(
            f"Training stopped at step {step} after {self._in_a_row} steps in a row without finite numbers:"
            f" {what}; lower model.optimizer.learning_rate, go on from last.ckpt if it exists, and {where}."
        )


def _finite_everywhere(total: Tensor) -> bool:
    """Whether a number is finite on all processes: the one wait for the device in a step."""
    bad = (~torch.isfinite(total)).float()
    if torch.distributed.is_initialized():  # sharded gradients may differ; a process alone must not decide
        torch.distributed.all_reduce(bad, torch.distributed.ReduceOp.MAX)
    return not bool(bad)


def _gradient_complaint(norms: Mapping[str, Tensor], attempt: Attempt | None) -> str:
    bad = [name for name, norm in norms.items() if name != "total" and not math.isfinite(norm)] or ["total"]
    frame = f" (frame {attempt.batch.frames[0][0]})" if attempt is not None else ""
    return f"the gradient of {', '.join(bad)} is not finite although every loss term is{frame}"


def _rank() -> int:
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def _gathered(complaint: str) -> list[str]:
    """Complaints of all processes, so that all can say the same."""
    if not torch.distributed.is_initialized():
        return [complaint]
    complaints: list[str] = [""] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(complaints, complaint)
    return complaints


def _save(attempt: Attempt, path: Path, step: int, reason: str) -> str:
    """Write the batch and its pictures; return why that was not possible, if so."""
    batch, draws = attempt.batch.to("cpu"), attempt.draws
    values = {
        "step": step,
        "reason": reason,
        "subjects": list(batch.subjects),
        "frames": [list(names) for names in batch.frames],
        "references": dict(vars(batch.references)),
        "driving": dict(vars(batch.driving)),
        "targets": dict(vars(batch.targets)),
        "identity_BI": batch.identity_BI,
        "background_BT3": draws.background_BT3,
        "on_template_B": draws.on_template_B,
        "terms": {name: value.detach().cpu() for name, value in attempt.terms.items()},
    }
    try:
        write_atomically(path, lambda temporary: torch.save(values, temporary))
        write_png(batch_grid(batch), path.with_suffix(".png"))
    except DataError as error:
        return f"the batch could not be saved ({str(error).rstrip('.')})"
    return ""
