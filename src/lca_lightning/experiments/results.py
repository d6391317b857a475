"""Results of an experiment: what its finished tests say, averaged, compared and ready to be stored."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lca_lightning.errors import DataError
from lca_lightning.experiments.curves import collect_curves
from lca_lightning.experiments.declaration import Comparison, Experiment, Row, TestSet
from lca_lightning.experiments.plan import Plan, stage_steps
from lca_lightning.experiments.scores import FrameScores, frames_between, read_frames, subject_means
from lca_lightning.experiments.statistics import Spread, mean_over_seeds, paired_bootstrap
from lca_lightning.experiments.store import Store
from lca_lightning.training.run_record import read_run
from lca_lightning.writing import write_text

FORMAT = {"format": "lca-experiment", "version": 1}


def collect(
    experiment: Experiment, plan: Plan, store: Store, scale: str, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Gather what is finished.

    Args:
        experiment: The declaration.
        plan: Its jobs.
        store: Where results are kept.
        scale: ``tiny`` or ``small``.
        facts: What else to keep: code, data, device.

    Returns:
        A JSON object; rows that are not finished say so.

    Raises:
        DataError: A finished test cannot be read.
    """
    frames = _Frames(experiment, plan, store)
    seeds = sorted({seed for _, seed in plan.stages})
    lines = [
        _line(experiment, row, test, seeds, frames)
        for test in experiment.tests
        for row in experiment.rows.values()
        if not row.tests or test in row.tests
    ]
    values = {(line["row"], line["test"]): line for line in lines}
    return {
        **FORMAT,
        "name": experiment.name,
        "title": experiment.title,
        "source": experiment.source,
        "expect": experiment.expect,
        "notes": list(experiment.notes),
        "scale": scale,
        "seeds": seeds,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": machine(),
        **facts,
        "columns": dict(experiment.columns),
        "sets": {name: test_set.title for name, test_set in experiment.sets.items()},
        "tests": {name: variant.title for name, variant in experiment.tests.items()},
        "protocols": sorted({variant.protocol for variant in experiment.tests.values()}),
        "rows": [_describe(experiment, row, plan, store, scale) for row in experiment.rows.values()],
        "lines": lines,
        "curves": collect_curves(experiment.curves, plan, store),
        "comparisons": [
            entry
            for comparison in experiment.comparisons
            for entry in _compare(experiment, comparison, values)
        ],
    }


class _Frames:
    """Rows of finished tests, read once."""

    def __init__(self, experiment: Experiment, plan: Plan, store: Store) -> None:
        self.experiment, self.plan, self.store = experiment, plan, store
        self._read: dict[str, list[FrameScores]] = {}

    def of(self, row: str, seed: int, test: str, test_set: str) -> list[FrameScores] | None:
        """Rows of one test; None while it is not finished."""
        key = self.plan.tests.get((row, seed, test, test_set))
        if key is None or self.store.state(self.plan.jobs[key]) != "done":
            return None
        if key not in self._read:
            job = self.plan.jobs[key]
            self._read[key] = read_frames(self.store.folder(job) / "test" / "metrics.csv", job.protocol)
        return self._read[key]

    def only(self, row: str, seed: int, test: str, test_set: TestSet) -> set[str] | None:
        """Names of the frames of a set that count; None for all of them.

        With other references other frames are left as targets: tests of one table are measured on the frames
        that all of them have, unless the set chooses frames by the angle in each test.
        """
        shared = self._shared(test_set.of or test_set.name)
        if test_set.of is None or test_set.angle is None:
            return shared
        giving = self.of(row, seed, test_set.angle_in or test, test_set.of)
        chosen = frames_between(giving, test_set.angle) if giving else set()
        return chosen if shared is None or test_set.angle_in is None else chosen & shared

    def _shared(self, test_set: str) -> set[str] | None:
        """Names of the frames that all tests of a set have so far; None where there is one test."""
        found: dict[str, set[str]] = {}
        for row, seed, test, name in self.plan.tests:
            rows = self.of(row, seed, test, name) if name == test_set and test not in found else None
            if rows is not None:
                found[test] = {frame.frame for frame in rows}
        shared = set.intersection(*found.values()) if len(found) > 1 else None
        if shared is not None and not shared:
            raise DataError(
                f"The tests {', '.join(found)} of the set {test_set} have no frame in common and cannot "
                "stand in one table; declare them as experiments of their own."
            )
        return shared


def _describe(experiment: Experiment, row: Row, plan: Plan, store: Store, scale: str) -> dict[str, Any]:
    steps = stage_steps(row, experiment.steps[scale]) if row.stages else []
    keys = {seed: found for (name, seed), found in plan.stages.items() if name == row.name}
    jobs = [plan.jobs[key] for found in keys.values() for key in found]
    seconds = sum(float(store.record(job).get("seconds", 0.0)) for job in jobs)
    starts = [start for job in jobs for start in read_run(store.folder(job)).get("starts", [])]
    return {
        "row": row.name,
        "title": row.title,
        "stages": [{"recipe": s.recipe, "steps": n} for s, n in zip(row.stages, steps, strict=True)],
        "hashes": {str(seed): found for seed, found in keys.items()},
        "training_seconds": round(seconds),
        "devices": sorted({start["device"] for start in starts if "device" in start}),
        "waiting": plan.waiting.get(row.name),
    }


def _line(
    experiment: Experiment, row: Row, test: str, seeds: Sequence[int], frames: _Frames
) -> dict[str, Any]:
    """One line of the table: a row in one test, over all its sets."""
    sets: dict[str, Any] = {}
    for name, test_set in experiment.sets.items():
        by_seed = {seed: frames.of(row.name, seed, test, test_set.of or name) for seed in seeds}
        measured = {seed: rows for seed, rows in by_seed.items() if rows is not None}
        only = {seed: frames.only(row.name, seed, test, test_set) for seed in measured}
        scores = {
            score: _score({s: subject_means(rows, score, only[s]) for s, rows in measured.items()})
            for score in dict.fromkeys([*experiment.columns.values(), *_compared(experiment)])
            if measured
        }
        counts = [len(rows) if only[s] is None else len(only[s] or ()) for s, rows in measured.items()]
        sets[name] = {
            "paper": list(row.paper.get(test, {}).get(name, [])),
            "frames": counts[0] if counts else 0,
            "scores": {score: value for score, value in scores.items() if value},
        }
    return {"row": row.name, "test": test, "title": row.title, "sets": sets}


def _compared(experiment: Experiment) -> list[str]:
    return [comparison.score for comparison in experiment.comparisons]


def _score(by_seed: Mapping[int, Mapping[str, float]]) -> dict[str, Any]:
    """Mean and spread of a score, and its subjects' means over seeds."""
    if not any(by_seed.values()):
        return {}
    means = {seed: sum(values.values()) / len(values) for seed, values in by_seed.items()}
    spread = Spread.of(list(means.values()))
    subjects = mean_over_seeds(list(by_seed.values()))
    return {
        "mean": spread.mean,
        "deviation": spread.deviation,
        "seeds": {str(seed): value for seed, value in means.items()},
        "subjects": subjects,
    }


def _compare(
    experiment: Experiment, comparison: Comparison, lines: Mapping[tuple[str, str], Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Intervals of one line against others, for every set and test where both have the same seeds."""
    found = []
    row, _, only = comparison.line.partition("/")
    for test in [only] if only else list(experiment.tests):
        others = [_split(line, test) for line in comparison.against]
        others = others or [(name, test) for name in experiment.rows if name != row]
        for other in others:
            for test_set in experiment.sets:
                first = _measured(lines.get((row, test)), test_set, comparison.score)
                second = _measured(lines.get(other), test_set, comparison.score)
                if first and second and set(first["seeds"]) == set(second["seeds"]):
                    interval = vars(paired_bootstrap(first["subjects"], second["subjects"]))
                    names = {"first": f"{row}/{test}", "second": "/".join(other), "set": test_set}
                    found.append({**names, "score": comparison.score, "note": comparison.note, **interval})
    return found


def _split(line: str, test: str) -> tuple[str, str]:
    row, _, own = line.partition("/")
    return row, own or test


def _measured(line: Mapping[str, Any] | None, test_set: str, score: str) -> Mapping[str, Any]:
    scores = line["sets"][test_set]["scores"] if line else {}
    return scores.get(score, {})


def machine() -> str:
    """This machine in words: processor, cores, GPU."""
    import torch

    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        models = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line
        ]
        name = models[0] if models else name
        name = f"{name}, {len(models)} cores" if models else name
    return f"{name}; {torch.cuda.get_device_name()}" if torch.cuda.is_available() else name


def write_results(results: Mapping[str, Any], path: Path) -> Path:
    """Write results as JSON, numbers at five decimals.

    Args:
        results: Of `collect`.
        path: The file.
    """
    return write_text(path, json.dumps(_rounded(results), indent=1, ensure_ascii=False) + "\n")


def read_results(path: Path) -> dict[str, Any]:
    """Read stored results.

    Raises:
        DataError: It is something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        known = {name: content.get(name) for name in FORMAT} == FORMAT
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{path} holds no results of an experiment; run `lca experiment` again.") from error
    if not known:
        raise DataError(f"{path} holds no results of this version; run `lca experiment` again.")
    return content


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, Mapping):
        return {key: _rounded(entry) for key, entry in value.items()}
    return [_rounded(entry) for entry in value] if isinstance(value, (list, tuple)) else value
