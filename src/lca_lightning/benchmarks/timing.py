"""Compare two implementations: alternately in one process, medians, and the spread of paired ratios."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from lca_lightning.writing import write_text

PAUSE = 0.005  # seconds; lets the other side's OpenMP threads stop spinning


@dataclass(frozen=True)
class Measurement:
    """One line of a benchmark; times in milliseconds; ``ratio`` = ours / rival, smaller is better."""

    name: str
    ours_ms: float
    rival: str
    rival_ms: float
    ratio: float
    spread: tuple[float, float]
    agree: bool
    device: str


def compare(
    name: str,
    ours: Callable[[], object],
    rival_name: str,
    rival: Callable[[], object],
    agree: bool,
    rounds: int,
) -> Measurement:
    """Time two implementations by turns.

    Args:
        name: What is measured.
        ours: Runs our side once.
        rival_name: The other side.
        rival: Runs the other side once.
        agree: Whether their outputs were found equal beforehand.
        rounds: Timed turns of each, after one warm-up.

    Returns:
        Median times, their ratio, and the 10th and 90th percentile of the ratios of neighbouring runs.
    """
    times: dict[bool, list[float]] = {True: [], False: []}
    for turn in tqdm(range(rounds + 1), desc=f"{name} / {rival_name}", unit="round", leave=False):
        for is_ours in (True, False) if turn % 2 else (False, True):
            time.sleep(PAUSE)
            start = time.perf_counter()
            (ours if is_ours else rival)()
            if turn:
                times[is_ours].append(1e3 * (time.perf_counter() - start))
    ours_ms, rival_ms = statistics.median(times[True]), statistics.median(times[False])
    ratios = sorted(a / b for a, b in zip(times[True], times[False], strict=True))
    spread = (ratios[len(ratios) // 10], ratios[-1 - len(ratios) // 10])
    return Measurement(name, ours_ms, rival_name, rival_ms, ours_ms / rival_ms, spread, agree, cpu_name())


def cpu_name() -> str:
    """Processor model and the number of threads torch may use."""
    import torch

    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(
            (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model
        )
    return f"{model}, {torch.get_num_threads()} threads"


def write_measurements(measurements: Sequence[Measurement], path: Path) -> None:
    """Write the measurements as a JSON list, atomically.

    Args:
        measurements: What to write.
        path: The file; its folder is made.
    """
    rows = [_rounded(asdict(measurement)) for measurement in measurements]
    write_text(path, json.dumps(rows, indent=2) + "\n")


def _rounded(row: dict[str, object]) -> dict[str, object]:
    keep = {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}
    spread = row["spread"]
    assert isinstance(spread, tuple)
    return keep | {"spread": [round(value, 4) for value in spread]}


def format_table(measurements: Sequence[Measurement]) -> str:
    """Lay the measurements out for the terminal."""
    lines = [f"{'what':<34}{'ours ms':>10}{'rival':>24}{'rival ms':>11}{'ratio':>8}  spread"]
    for m in measurements:
        note = "" if m.agree else "  OUTPUTS DISAGREE"
        lines.append(
            f"{m.name:<34}{m.ours_ms:>10.1f}{m.rival:>24}{m.rival_ms:>11.1f}{m.ratio:>8.3f}"
            f"  {m.spread[0]:.3f}-{m.spread[1]:.3f}{note}"
        )
    return "\n".join(lines)
