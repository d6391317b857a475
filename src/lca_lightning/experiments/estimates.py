"""How long an experiment will still take, from what its stages have taken."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from lca_lightning.experiments.children import Child
from lca_lightning.experiments.plan import Job, Plan
from lca_lightning.experiments.store import RECORD, Store, read_record

_START = 15.0  # seconds until the first step
_ENOUGH = 100  # steps of a stage that say how long one takes


class Estimates:
    """Time left, by steps done and the time that steps and tests took in this folder.

    Args:
        plan: The jobs.
        store: Where results are kept.
        jobs: Processes at a time.
    """

    def __init__(self, plan: Plan, store: Store, jobs: int) -> None:
        self.plan, self.store, self.jobs = plan, store, jobs
        self._steps: dict[str, int] = {}  # of unfinished stages
        self._per_step: dict[str, float] = {}  # seconds, by recipe
        self._measured = _past(store)

    def all_steps(self) -> int:
        """Optimiser steps of the whole plan."""
        return sum(job.steps for job in self.plan.jobs.values())

    def done_steps(self) -> int:
        """Optimiser steps done."""
        return sum(self._done(job) for job in self.plan.jobs.values())

    def look(self, running: Mapping[str, tuple[Job, Child, int]]) -> None:
        """Look at the progress of what runs."""
        for key, (job, child, _) in running.items():
            step = child.step()
            if job.kind == "train" and step is not None:
                before = self._steps.setdefault(f"{key} began", step)
                self._steps[key] = step
                if step - before > 20:
                    self._per_step[_sort(job)] = max(child.seconds - _START, 1.0) / (step - before)

    def seconds(self) -> float | None:
        """Seconds left, None while nothing is known."""
        total = 0.0
        for job in self.plan.jobs.values():
            if self.store.state(job) == "done":
                continue
            if job.kind == "test":
                total += self._measured.get("test", 60.0)
                continue
            rate = self._per_step.get(_sort(job), self._measured.get(_sort(job)))
            known = [*self._per_step.values(), *(v for k, v in self._measured.items() if k != "test")]
            if rate is None and not known:
                return None
            total += (job.steps - self._done(job)) * (
                statistics.mean(known) if rate is None else rate
            ) + _START
        return total / self.jobs

    def text(self) -> str:
        """Time left in words."""
        seconds = self.seconds()
        return "time left is not known yet" if seconds is None else f"about {duration(seconds)} left in all"

    def _done(self, job: Job) -> int:
        return job.steps if self.store.state(job) == "done" else self._steps.get(job.key, 0)


def duration(seconds: float) -> str:
    """Seconds in words, such as ``2 h 05 min``."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _sort(job: Job) -> str:
    """Stages of a sort take the same time a step: those that read the same data."""
    data: Any = job.config["data"]
    return f"{data.get('class_path')} {data.get('init_args', {}).get('batch_size')}"


def _past(store: Store) -> dict[str, float]:
    """Mean seconds a step of the sorts of stages done before, and of a test."""
    found: dict[str, list[float]] = {}
    for path in [*store.out.glob(f"stages/*/{RECORD}"), *store.out.glob(f"tests/*/{RECORD}")]:
        record = read_record(path)
        if record.get("status") != "finished" or not record.get("seconds"):
            continue
        describes = record["describes"]
        if describes["kind"] == "test":
            found.setdefault("test", []).append(record["seconds"])
        elif record["steps"] >= _ENOUGH:
            data = describes["config"]["data"]
            sort = f"{data.get('class_path')} {data.get('init_args', {}).get('batch_size')}"
            found.setdefault(sort, []).append(record["seconds"] / record["steps"])
    return {name: statistics.mean(values) for name, values in found.items()}
