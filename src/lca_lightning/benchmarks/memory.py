"""Will it fit: measured peak memory of a training step by views, Gaussians, precision and checkpointing."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from lca_lightning.benchmarks import machine
from lca_lightning.benchmarks.models import random_model
from lca_lightning.benchmarks.report import Figure, Report
from lca_lightning.benchmarks.sizes import BenchOptions, Size, load_config
from lca_lightning.benchmarks.steps import TrainingStep, step_of
from lca_lightning.errors import DeviceError
from lca_lightning.model.avatar_model import AvatarModel
from lca_lightning.writing import write_text

VIEWS = (1, 2, 4, 8)
GAUSSIANS = (16_384, 65_536, 131_072)
PRECISIONS = {"bfloat16": torch.bfloat16, "float32": torch.float32}
CARDS = (24, 40, 80)  # GiB of usual GPUs
ROOM = 0.95  # of a card's memory that a step may take


@dataclass(frozen=True)
class Case:
    """One training set-up.

    Args:
        views: Reference views, each with a body and a face picture.
        gaussians: Gaussians of the avatar.
        precision: ``bfloat16`` (autocast) or ``float32``.
        checkpointing: Whether encoder layers are computed again in the backward pass.
    """

    views: int
    gaussians: int
    precision: str
    checkpointing: bool

    def __str__(self) -> str:
        again = "with" if self.checkpointing else "without"
        return f"{self.views} views, {self.gaussians} Gaussians, {self.precision}, {again} checkpointing"


@dataclass(frozen=True)
class Row:
    """A case and its peak.

    Args:
        case: The set-up.
        peak_gib: Largest memory of tensors during a step; None where the device had too little.
    """

    case: Case
    peak_gib: float | None

    def fits(self, card_gib: float) -> bool:
        """Whether a card of that size would do."""
        return self.peak_gib is not None and self.peak_gib <= ROOM * card_gib


def cases() -> Iterator[Case]:
    """Every combination, the small ones first."""
    for gaussians, views, precision, checkpointing in itertools.product(
        GAUSSIANS, VIEWS, PRECISIONS, (True, False)
    ):
        yield Case(views, gaussians, precision, checkpointing)


class PeakMeter:
    """Measures cases, keeping the model of the last number of Gaussians: only that needs another one.

    Args:
        size: Of the model and its pictures.
        device: A CUDA device.
    """

    def __init__(self, size: Size, device: torch.device) -> None:
        self.size, self.device = size, device
        self._model: AvatarModel | None = None

    def step(self, case: Case) -> TrainingStep:
        """A fresh step, with optimiser averages of its own, of a case."""
        if self._model is None or self._model.config.gaussians != case.gaussians:
            self._model = None
            per_anchor = load_config(self.size).gaussians_per_anchor
            self._model = random_model(self.size, self.device, anchors=case.gaussians // per_anchor)
        self._model.config.gradient_checkpointing = case.checkpointing
        self._model.zero_grad(set_to_none=True)
        return step_of(self._model, self.size, case.views, PRECISIONS[case.precision])

    def peak(self, case: Case) -> float:
        """Peak memory of a case's second step, GiB: the optimiser has its averages by then.

        Raises:
            torch.OutOfMemoryError: The device has too little.
        """
        step = self.step(case)
        step()
        torch.cuda.reset_peak_memory_stats(self.device)
        step()
        return torch.cuda.max_memory_allocated(self.device) / 2**30


def measure_rows(peak: Callable[[Case], float], clean: Callable[[], object]) -> list[Row]:
    """Measure every case; running out of memory is a result, not a failure.

    Args:
        peak: Measures one case in GiB.
        clean: Frees what a case left behind.
    """
    rows = []
    for case in tqdm(list(cases()), desc="memory", unit="case"):
        try:
            rows.append(Row(case, peak(case)))
        except torch.OutOfMemoryError:
            rows.append(Row(case, None))
        clean()
    return rows


def to_markdown(rows: list[Row], device: str) -> str:
    """The table for the documentation.

    Args:
        rows: What was measured.
        device: On what, and with which versions.
    """
    cards = " | ".join(f"fits {card} GiB" for card in CARDS)
    lines = [
        f"Measured on {device}, {machine.today()}.",
        "",
        f"| views | Gaussians | precision | checkpointing | peak, GiB | {cards} |",
        "|" + "---|" * (5 + len(CARDS)),
    ]
    for row in rows:
        case = row.case
        peak = "out of memory" if row.peak_gib is None else f"{row.peak_gib:.1f}"
        fits = " | ".join("yes" if row.fits(card) else "no" for card in CARDS)
        again = "on" if case.checkpointing else "off"
        lines.append(f"| {case.views} | {case.gaussians} | {case.precision} | {again} | {peak} | {fits} |")
    return "\n".join(lines) + "\n"


def measure_memory(options: BenchOptions) -> Report:
    """Measure the table; with ``json`` a Markdown table goes beside it.

    Args:
        options: ``size`` is ``base`` by default.

    Raises:
        DeviceError: There is no CUDA device.
    """
    if not options.on_cuda:
        raise DeviceError(
            "lca bench memory measures CUDA memory, and there is no CUDA device; run it where there is."
        )
    size = options.size_or("base")

    def clean() -> None:
        gc.collect()
        torch.cuda.empty_cache()

    rows = measure_rows(PeakMeter(size, options.device).peak, clean)
    named = ", ".join(f"{name} {version}" for name, version in machine.versions().items())
    table = to_markdown(rows, f"{machine.device_name(options.device)} with {named}")
    print(table)
    return report_of(rows, size, options.device, options.json, table)


def report_of(
    rows: list[Row], size: Size, device: torch.device, json_path: Path | None, table: str
) -> Report:
    """The rows as a report, and the Markdown file where a JSON file is asked for."""
    report = Report(
        "memory",
        f"{size}: a whole training step (AdamW, LPIPS, 4 targets) with as many faces as bodies, not compiled",
        device,
        figures=[Figure(str(row.case), row.peak_gib, "GiB") for row in rows],
        notes=["A case without a number ran out of memory on this device."],
    )
    if json_path is not None:
        write_text(json_path.with_suffix(".md"), table)
    return report
