"""Work in processes that may crash or hang: one task each at a time, watched and replaced."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext
from typing import Any, Generic, TypeVar

Task = TypeVar("Task")
_START_SECONDS = 120.0  # imports of a fresh process, on top of the first task's limit


class Failure(Exception):
    """A task whose process crashed or did not come back in time; its text says which."""


def run_tasks(
    work: Callable[[Task], Any],
    tasks: Sequence[Task],
    jobs: int,
    seconds: float,
    prepare: Callable[[], object] | None = None,
) -> Iterator[tuple[Task, Any]]:
    """Do tasks in processes of their own, several side by side.

    Args:
        work: Does one task; importable by name, as are its arguments.
        tasks: To do.
        jobs: Processes side by side.
        seconds: Time limit of one task.
        prepare: Called once in each new process; importable by name.

    Yields:
        Each task with what ``work`` returned, or with a `Failure`, in the order they end.
    """
    waiting = list(reversed(tasks))
    workers = [_Worker[Task](work, prepare) for _ in range(min(jobs, len(tasks)))]
    try:
        while waiting or any(worker.busy for worker in workers):
            for worker in workers:
                if waiting and not worker.busy:
                    worker.begin(waiting.pop(), seconds)
            busy = [worker for worker in workers if worker.busy]
            until = min(worker.deadline for worker in busy) - time.monotonic()
            connection.wait([worker.pipe for worker in busy], timeout=max(0.0, min(until, 1.0)))
            for worker in busy:
                outcome = worker.outcome(seconds)
                if outcome is not None:
                    yield outcome
    finally:
        for worker in workers:
            worker.end()


class _Worker(Generic[Task]):
    """One process; started at its first task, and again after it was lost."""

    def __init__(self, work: Callable[[Task], Any], prepare: Callable[[], object] | None) -> None:
        self._work, self._prepare = work, prepare
        self._context: SpawnContext = get_context("spawn")
        self._process: Any = None
        self._task: Task | None = None
        self.busy, self.deadline = False, 0.0
        self.pipe: Connection

    def begin(self, task: Task, seconds: float) -> None:
        fresh = self._process is None
        if fresh:
            self.pipe, theirs = self._context.Pipe()
            self._process = self._context.Process(
                target=_serve, args=(theirs, self._work, self._prepare), daemon=True
            )
            # A child inherits the mask: an interruption is the parent's to tell, which ends its children.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
            try:
                self._process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
        try:
            self.pipe.send(task)
        except OSError:  # somebody killed the idle process
            if fresh:
                raise
            self.end()
            self.begin(task, seconds)
            return
        self._task, self.busy = task, True
        self.deadline = time.monotonic() + seconds + (_START_SECONDS if fresh else 0.0)

    def outcome(self, seconds: float) -> tuple[Task, Any] | None:
        """The task and its result or failure, None while it goes on."""
        result: Any
        if self.pipe.poll():
            try:
                result = self.pipe.recv()
            except (EOFError, OSError):
                self._process.join(5)
                result = Failure(f"its process ended with status {self._process.exitcode}")
                self.end()
        elif time.monotonic() > self.deadline:
            result = Failure(f"it took longer than {seconds:g} seconds")
            self.end()
        else:
            return None
        self.busy = False
        assert self._task is not None
        return self._task, result

    def end(self) -> None:
        """Stop the process, at once if it must be."""
        if self._process is None:
            return
        self.pipe.close()
        if self.busy:
            self._process.kill()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process = None


def _serve(pipe: Connection, work: Callable[[Any], Any], prepare: Callable[[], object] | None) -> None:
    """Do tasks until the other end closes."""
    if prepare is not None:
        prepare()
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        pipe.send(work(task))
