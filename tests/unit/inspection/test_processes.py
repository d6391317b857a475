"""Tasks that crash or hang are reported, and the others are done."""

from __future__ import annotations

import os
import signal
import time

from lca_lightning.inspection.processes import Failure, run_tasks


def work(task: str) -> str:
    """Obeys its task's name."""
    if task == "crash":
        os._exit(7)
    if task == "hang":
        time.sleep(1000)
    return task.upper()


def test_crashes_and_hangs_cost_only_their_own_task(monkeypatch) -> None:
    monkeypatch.setattr("lca_lightning.inspection.processes._START_SECONDS", 20.0)
    tasks = ["one", "crash", "two", "hang", "three"]
    began = time.monotonic()
    outcomes = dict(run_tasks(work, tasks, 2, 1.5))
    assert time.monotonic() - began < 60
    assert {name: outcomes[name] for name in ("one", "two", "three")} == {
        "one": "ONE",
        "two": "TWO",
        "three": "THREE",
    }
    assert isinstance(outcomes["crash"], Failure) and "status 7" in str(outcomes["crash"])
    assert isinstance(outcomes["hang"], Failure) and "longer than 1.5 seconds" in str(outcomes["hang"])


def process_number(task: str) -> int:
    """The process that does the task."""
    return os.getpid()


def test_an_idle_process_that_is_killed_is_started_again() -> None:
    outcomes = run_tasks(process_number, ["first", "second"], 1, 60.0)
    _, first = next(outcomes)
    os.kill(first, signal.SIGKILL)
    time.sleep(0.2)
    _, second = next(outcomes)
    assert isinstance(second, int) and second != first
