"""What a benchmark found: comparisons, single figures and requirements, as a table and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from lca_lightning.benchmarks import machine
from lca_lightning.benchmarks.timing import Measurement
from lca_lightning.writing import write_text

BUSY_CORES = 0.2  # that others keep busy: from here on CPU timings are doubtful


@dataclass(frozen=True)
class Figure:
    """One number that was measured or counted, without a rival; None where measuring it was impossible."""

    name: str
    value: float | None
    unit: str = ""


@dataclass(frozen=True)
class Requirement:
    """A number that must be reached.

    Args:
        what: Says what the number is.
        value: What was measured.
        sense: Whether it may be ``at most`` or ``at least`` the limit.
        limit: The limit.
    """

    what: str
    value: float
    sense: Literal["at most", "at least"]
    limit: float

    @property
    def reached(self) -> bool:
        """Whether the limit is kept."""
        return self.value <= self.limit if self.sense == "at most" else self.value >= self.limit


@dataclass
class Report:
    """Everything one run of a benchmark found, and on what.

    Args:
        benchmark: Its name on the command line.
        settings: Sizes, precision and whatever else a reader must know, in words.
        device: Where the tensors were.
        measurements: Comparisons with rivals.
        figures: Numbers without a rival.
        requirements: Numbers that must be reached.
        notes: Sentences for the reader.
        busy_cores: Cores that others kept busy meanwhile; None where that is not known.
    """

    benchmark: str
    settings: str
    device: torch.device
    measurements: list[Measurement] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    requirements: list[Requirement] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    busy_cores: float | None = None

    @property
    def busy(self) -> bool:
        """Whether other processes used the processor meanwhile."""
        return self.busy_cores is not None and self.busy_cores > BUSY_CORES

    def to_json(self) -> dict[str, Any]:
        """Plain values, numbers rounded to six significant digits."""
        return _rounded(
            {
                "benchmark": self.benchmark,
                "settings": self.settings,
                "device": machine.device_name(self.device),
                "versions": machine.versions(),
                "date": machine.today(),
                "busy_cores": self.busy_cores,
                "busy": self.busy,
                "measurements": [asdict(measurement) for measurement in self.measurements],
                "figures": [asdict(figure) for figure in self.figures],
                "requirements": [
                    {**asdict(requirement), "reached": requirement.reached}
                    for requirement in self.requirements
                ],
                "notes": self.notes,
            }
        )


def write_report(report: Report, path: Path) -> None:
    """Write the report as JSON, atomically.

    Args:
        report: What to write.
        path: The file; its folder is made.
    """
    write_text(path, json.dumps(report.to_json(), indent=2) + "\n")


def format_report(report: Report) -> str:
    """Lay the report out for the terminal."""
    found = machine.versions()
    named = ", ".join(f"{name} {found[name]}" for name in ("torch", "gsplat", "numba"))
    lines = [
        f"{report.benchmark}: {report.settings}",
        f"{machine.device_name(report.device)}; {named}; {machine.today()}",
    ]
    if report.measurements:
        lines += ["", *_comparisons(report.measurements)]
    if report.figures:
        width = max(len(figure.name) for figure in report.figures)
        lines += ["", *(f"{f.name:<{width}}  {_number(f.value):>10} {f.unit}" for f in report.figures)]
    if report.requirements:
        lines += ["", *map(_requirement_line, report.requirements)]
    notes = list(report.notes)
    if report.busy:
        notes.append(
            f"The machine was busy (others used {report.busy_cores:.1f} cores): measure again in calm."
        )
    return "\n".join(lines + ([""] + notes if notes else []))


def _comparisons(measurements: list[Measurement]) -> list[str]:
    width = max(4, *(len(m.name) for m in measurements))
    rivals = max(5, *(len(m.rival) for m in measurements))
    header = f"{'what':<{width}}  {'ours ms':>9}  {'rival':<{rivals}}  {'rival ms':>9}  {'ratio':>6}  10-90%"
    rows = (
        f"{m.name:<{width}}  {_number(m.ours_ms):>9}  {m.rival:<{rivals}}  {_number(m.rival_ms):>9}  "
        f"{m.ratio:>6.3f}  {m.spread[0]:.3f}-{m.spread[1]:.3f} ({m.compared} agree to {m.difference:.0e})"
        for m in measurements
    )
    return [header, *rows]


def _requirement_line(requirement: Requirement) -> str:
    verdict = "reached" if requirement.reached else "NOT REACHED"
    return (
        f"{verdict}: {requirement.what} {_number(requirement.value)} "
        f"({requirement.sense} {_number(requirement.limit)})"
    )


def _number(value: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    return [_rounded(entry) for entry in value] if isinstance(value, (list, tuple)) else value
