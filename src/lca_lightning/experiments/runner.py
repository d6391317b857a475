"""Runs the jobs of a plan: several at a time, stopped and continued without loss."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from lca_lightning.errors import LCAError
from lca_lightning.experiments.children import Child
from lca_lightning.experiments.code_copy import CodeCopy
from lca_lightning.experiments.configuration import with_folders
from lca_lightning.experiments.estimates import Estimates, duration
from lca_lightning.experiments.plan import Job, Plan
from lca_lightning.experiments.store import Store
from lca_lightning.training.run_record import read_run
from lca_lightning.writing import write_text

_POLL = 0.5  # seconds
_REFRESH = 20.0  # seconds between two looks at the logs


class StageError(LCAError):
    """A training or test of an experiment failed."""


@dataclass(frozen=True)
class Machine:
    """How jobs are run.

    Attributes:
        data: Folder of the benchmark.
        code: Copy of the packages.
        jobs: Processes at a time.
        device: ``auto``, ``cpu`` or ``cuda``.
        seconds: Time after which all is stopped, None for no limit.
    """

    data: Path
    code: CodeCopy
    jobs: int = 1
    device: str = "auto"
    seconds: float | None = None

    @property
    def threads(self) -> int:
        """Of each process."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, cores // self.jobs)


@dataclass
class Outcome:
    """How a call ended.

    Attributes:
        stopped: None where nothing is left to do, else ``time`` or ``interrupted``.
        failures: Jobs that failed, with the end of their output.
    """

    stopped: str | None = None
    failures: dict[str, str] = field(default_factory=dict)


class Runner:
    """Runs what is missing of a plan.

    Args:
        plan: The jobs.
        store: Where results are kept.
        machine: How to run them.
        say: Prints a line.
    """

    def __init__(
        self, plan: Plan, store: Store, machine: Machine, say: Callable[[str], None] = tqdm.write
    ) -> None:
        self.plan, self.store, self.machine, self.say = plan, store, machine, say
        self.running: dict[str, tuple[Job, Child, int]] = {}
        self.outcome = Outcome()
        self.estimates = Estimates(plan, store, machine.jobs)
        self._signal: int | None = None
        self._total = len(plan.jobs)
        self._finished: set[str] = set()
        self._looked = 0.0

    def run(self) -> Outcome:
        """Run trainings, and when no training is left, tests; return when done, stopped or out of time."""
        started, handlers = time.monotonic(), self._listen()
        try:
            with tqdm(total=self.estimates.all_steps(), unit="step", desc="train", disable=None) as bar:
                while self._advance(bar):
                    late = self.machine.seconds and time.monotonic() - started > self.machine.seconds
                    if self._signal or late:
                        self.outcome.stopped = "interrupted" if self._signal else "time"
                        break
                    time.sleep(_POLL)
        finally:
            self._stop_children()
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return self.outcome

    def _advance(self, bar: Any) -> bool:
        """Collect what ended, start what can start; say whether anything is left."""
        for key, (job, child, lock) in list(self.running.items()):
            status = child.status()
            if status is not None:
                del self.running[key]
                self._collect(job, child, status)
                os.close(lock)
        waiting = False
        for job in self._ready():
            if len(self.running) >= self.machine.jobs:
                break
            waiting = not self._start(job) or waiting
        if time.monotonic() - self._looked > _REFRESH or not self.running:
            self._looked = time.monotonic()
            self.estimates.look(self.running)
            bar.n = self.estimates.done_steps()
            bar.refresh()
        return bool(self.running) or waiting

    def _ready(self) -> list[Job]:
        """Jobs that could start now, trainings before all tests: test sets are looked at once, at the end."""
        left = [
            job for key, job in self.plan.jobs.items() if key not in self.running and not self._settled(job)
        ]
        training = [job for job in left if job.kind == "train"]
        if training or any(job.kind == "train" for job, _, _ in self.running.values()):
            left = training
        return [job for job in left if self._may_start(job)]

    def _may_start(self, job: Job) -> bool:
        """Whether what it starts from is there, and what it would only repeat is not on its way."""
        beginning = self.plan.beginnings.get(job.key)
        repeats = (
            beginning is not None
            and self.store.state(job) == "missing"
            and not self._settled(self.plan.jobs[beginning])
        )
        return not repeats and (job.after is None or self._is_done(job.after))

    def _settled(self, job: Job) -> bool:
        """Done, failed, or after one that failed."""
        if job.key in self.outcome.failures or self._is_done(job.key):
            return True
        return (
            job.after is not None
            and not self._is_done(job.after)
            and self._settled(self.plan.jobs[job.after])
        )

    def _is_done(self, key: str) -> bool:
        if key not in self._finished and self.store.state(self.plan.jobs[key]) == "done":
            self._finished.add(key)
        return key in self._finished

    def _start(self, job: Job) -> bool:
        """Start a job; False where another process has it."""
        lock = self.store.lock(job)
        if lock is None:
            return False
        if self._is_done(job.key):  # by that other process
            os.close(lock)
            return True
        folder, resumed = self.store.folder(job), self.store.state(job) == "stopped"
        config = with_folders(job.config, self.machine.data)
        write_text(folder / "lca.yaml", yaml.safe_dump(config, sort_keys=False))
        words = self._words(job, folder, resumed)
        self.store.write(job, status="running", code_copy=self.machine.code.name)
        child = Child(words, folder / "log.txt", self.machine.code.folder, self.machine.threads, lock)
        self.running[job.key] = job, child, lock
        what = f"{job.steps} steps" if job.kind == "train" else "test set"
        self._tell(
            job, f"{what}, {'continued' if resumed else 'started'} in {folder}; {self.estimates.text()}"
        )
        return True

    def _words(self, job: Job, folder: Path, resumed: bool) -> list[str]:
        """Command line of a job."""
        common = ["--config", str(folder / "lca.yaml"), "--run_dir", str(folder)]
        common += ["--trainer.accelerator", self.machine.device]
        if job.kind == "test":
            protocol = [] if job.protocol == "masked" else ["--protocol", job.protocol]
            return ["test", "--ckpt_path", str(self.store.checkpoint(str(job.after))), *common, *protocol]
        if resumed:
            return ["fit", *common, "--ckpt_path", str(folder / "last.ckpt")]
        beginning = self.plan.beginnings.get(job.key)
        if beginning is not None and self._is_done(beginning):
            begun = self.store.checkpoint(beginning)
            curves = begun.with_name("tensorboard")  # of these first steps too
            shutil.copytree(curves, folder / curves.name, dirs_exist_ok=True)
            return ["fit", *common, "--ckpt_path", str(begun)]
        start = ["--model.init_from", str(self.store.checkpoint(job.after))] if job.after else []
        return ["fit", *common, *start]

    def _collect(self, job: Job, child: Child, status: int) -> None:
        """Write down how a job ended."""
        spent = float(self.store.record(job).get("seconds", 0.0)) + child.seconds
        before, steps = int(self.store.record(job).get("steps", 0)), self._steps(job)
        if status == 0 and steps == job.steps:
            self.store.write(job, status="finished", seconds=round(spent, 1), steps=steps)
            if self.store.state(job) == "done":
                self.estimates.look(self.running)
                self._tell(job, f"finished after {duration(spent)}; {self.estimates.text()}")
                return
        elif status == 0 and steps > before:  # a slice of time ended
            self.store.write(job, status="stopped", seconds=round(spent, 1), steps=steps)
            self._tell(job, f"stopped at step {steps}, and goes on")
            return
        self.store.write(job, status="failed", seconds=round(spent, 1))
        self.outcome.failures[job.key] = f"{job.title} ended with status {status}:\n{child.last_lines()}"
        self._tell(job, f"FAILED with status {status}, see {child.log}")

    def _steps(self, job: Job) -> int:
        """Optimiser steps behind the checkpoint that a training left; 0 for a test."""
        return int(read_run(self.store.folder(job)).get("steps", 0)) if job.kind == "train" else 0

    def _tell(self, job: Job, text: str) -> None:
        done = sum(self._is_done(key) for key in self.plan.jobs)
        self.say(f"[{done}/{self._total}] {job.title}: {text}")

    def _listen(self) -> dict[int, Any]:
        """Notice Ctrl-C and SIGTERM between two looks; a second Ctrl-C ends the children at once."""
        if threading.current_thread() is not threading.main_thread():
            return {}
        numbers: Sequence[int] = (signal.SIGINT, signal.SIGTERM)
        handlers = {number: signal.getsignal(number) for number in numbers}
        for number in numbers:
            signal.signal(number, self._note)
        return handlers

    def _note(self, number: int, _: Any) -> None:
        if self._signal is not None:
            for _job, child, _lock in self.running.values():
                child.kill()
        self._signal = number

    def _stop_children(self) -> None:
        """Let children write their checkpoints, then end."""
        if self.running:
            self.say(f"Stopping {len(self.running)} processes; they write their checkpoints.")
        for _job, child, _lock in self.running.values():
            child.ask_to_stop()
        for job, child, lock in self.running.values():
            status = child.wait()
            spent = float(self.store.record(job).get("seconds", 0.0)) + child.seconds
            done = status == 0 and self._steps(job) == job.steps
            self.store.write(
                job,
                seconds=round(spent, 1),
                status="finished" if done else "stopped",
                steps=self._steps(job),
            )
            os.close(lock)
        self.running = {}
