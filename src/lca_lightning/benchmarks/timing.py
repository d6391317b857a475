"""Compare two implementations: equal outputs first, then by turns in one process, and paired ratios."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from lca_lightning.errors import LCAError

PAUSE = 0.005  # seconds; lets the other side's OpenMP threads stop spinning
Item = TypeVar("Item")


@dataclass(frozen=True)
class Agreement:
    """Proof that two sides give the same result; only ``check_agreement`` should make one.

    Args:
        difference: Largest difference that was found.
        tolerance: Largest one that is allowed.
        of: What was compared.
    """

    difference: float
    tolerance: float
    of: str = "outputs"


@dataclass(frozen=True)
class Measurement:
    """One comparison; times in milliseconds; ``ratio`` = ours / rival, smaller is better.

    Args:
        name: What is measured.
        ours_ms: Median time of one call of ours.
        rival: The other side.
        rival_ms: Its median time.
        ratio: Median of the ratios of neighbouring turns.
        spread: Their 10th and 90th percentile.
        difference: Largest difference of the outputs, found before anything was timed.
        rounds: Timed turns of each side.
        compared: What of both sides agrees.
    """

    name: str
    ours_ms: float
    rival: str
    rival_ms: float
    ratio: float
    spread: tuple[float, float]
    difference: float
    rounds: int
    compared: str = "outputs"


def check_agreement(
    what: str,
    ours: Sequence[Tensor],
    theirs: Sequence[Tensor],
    tolerance: float,
    relative: bool = False,
) -> Agreement:
    """Refuse to go on unless both sides computed the same.

    Args:
        what: Names both sides, for the message.
        ours: Our outputs.
        theirs: The rival's, in the same order and shapes.
        tolerance: Largest absolute difference of any value, or largest relative L2 difference of any output.
        relative: Which of the two.

    Returns:
        What ``compare`` asks for.

    Raises:
        LCAError: They differ, in shape or in value, or are not finite.
    """
    difference = 0.0
    for mine, other in zip(ours, theirs, strict=True):
        if mine.shape != other.shape:
            raise LCAError(f"{what}: outputs have shapes {tuple(mine.shape)} and {tuple(other.shape)}.")
        gap = (mine.detach().double() - other.detach().double()).abs()
        if relative:
            found = float(gap.norm() / other.detach().double().norm().clamp(min=1e-12))
        else:
            found = float(gap.max()) if gap.numel() else 0.0
        difference = found if found != found else max(difference, found)
        if difference != difference:  # NaN
            break
    if not difference <= tolerance:
        raise LCAError(
            f"{what}: the two sides differ by {difference:.1e} where {tolerance:.0e} is allowed; timing them "
            "would mean nothing, so find out which one is wrong first."
        )
    return Agreement(difference, tolerance)


def compare(
    name: str,
    ours: Callable[[], object],
    rival_name: str,
    rival: Callable[[], object],
    agreement: Agreement,
    rounds: int,
    calls: int = 1,
) -> Measurement:
    """Time two implementations by turns; work queued on CUDA is waited for before and after each turn.

    Args:
        name: What is measured.
        ours: Runs our side once.
        rival_name: The other side.
        rival: Runs the other side once.
        agreement: That their outputs were found equal beforehand.
        rounds: Timed turns of each, after one warm-up.
        calls: Calls in a turn, for what is too short to be timed alone.

    Returns:
        Median times of a call, and median and spread of the ratios of neighbouring turns.
    """
    times: dict[bool, list[float]] = {True: [], False: []}
    for turn in tqdm(range(rounds + 1), desc=f"{name} / {rival_name}", unit="round", leave=False):
        for is_ours in (True, False) if turn % 2 else (False, True):
            elapsed = time_calls(ours if is_ours else rival, calls)
            if turn:
                times[is_ours].append(elapsed)
    ratios = [a / b for a, b in zip(times[True], times[False], strict=True)]
    return Measurement(
        name,
        statistics.median(times[True]),
        rival_name,
        statistics.median(times[False]),
        statistics.median(ratios),
        spread_of(ratios),
        agreement.difference,
        rounds,
        agreement.of,
    )


def time_calls(function: Callable[[], object], calls: int = 1) -> float:
    """Milliseconds of one call, averaged over ``calls``; CUDA is idle before and has finished after."""
    time.sleep(PAUSE)
    _wait_for_cuda()
    start = time.perf_counter()
    for _ in range(calls):
        function()
    _wait_for_cuda()
    return 1e3 * (time.perf_counter() - start) / calls


def median_time(function: Callable[[], object], rounds: int, calls: int = 1) -> float:
    """Median milliseconds of a call over ``rounds`` turns, after one warm-up; for parts without a rival."""
    times = [time_calls(function, calls) for _ in range(rounds + 1)]
    return statistics.median(times[1:])


def spread_of(values: Sequence[float]) -> tuple[float, float]:
    """10th and 90th percentile."""
    ordered = sorted(values)
    return ordered[len(ordered) // 10], ordered[-1 - len(ordered) // 10]


def in_turn(items: Sequence[Item]) -> Callable[[], Item]:
    """A function that gives the items one after another for ever, so that no call repeats the last one's."""
    endless: Iterator[Item] = itertools.cycle(items)
    return lambda: next(endless)


def _wait_for_cuda() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
