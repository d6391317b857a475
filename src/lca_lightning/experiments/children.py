"""Child processes of an experiment: their output in a log, stopped so that they can go on later."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lca_lightning.errors import DataError

_TAIL = 64 * 1024  # bytes of a log that are looked at
_STEP = re.compile(r"fit: +\d+%\|[^|]*\| *(\d+)/\d+ \[")
_BAR = re.compile(r"\d+%\||\d+(step|batch) \[")
_PATIENCE = 300.0  # seconds for a checkpoint to be written; a validation may have to end first
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux


class Child:
    """One ``lca`` command in a process of its own.

    Args:
        words: Words after ``lca``.
        log: File that its output is added to.
        code: Folder of packages that it imports.
        threads: Threads it may compute with.
        lock: Descriptor it inherits, so that its folder stays claimed as long as it lives.

    Raises:
        DataError: The log cannot be written.
    """

    def __init__(self, words: Sequence[str], log: Path, code: Path, threads: int, lock: int) -> None:
        self.log, self.started = log, time.monotonic()
        try:
            self._output = log.open("ab")
        except OSError as error:
            raise DataError(f"Cannot write {log} ({error.strerror}); choose another --out.") from error
        self._from = self._output.tell()
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore::RuntimeWarning:runpy", "-m", "lca_lightning.cli.main", *words],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env=child_environment(code, threads),
            start_new_session=True,  # Ctrl-C in the terminal comes to us, and we tell the children
            pass_fds=(lock,),
            preexec_fn=_follow_parent() if sys.platform == "linux" else None,
        )

    @property
    def seconds(self) -> float:
        """Since it was started."""
        return time.monotonic() - self.started

    def status(self) -> int | None:
        """Exit status, None while it runs."""
        status = self._process.poll()
        if status is not None:
            self._output.close()
        return status

    def step(self) -> int | None:
        """Optimiser step that its progress bar shows, None before there is one."""
        found = _STEP.findall(self._tail())
        return int(found[-1]) if found else None

    def last_lines(self, count: int = 12) -> str:
        """The end of this process's output, without progress bars."""
        lines = [line.strip() for line in re.split(r"[\r\n]+", self._tail())]
        return "\n".join([line for line in lines if line and not _BAR.search(line)][-count:])

    def ask_to_stop(self) -> None:
        """Let a training write its checkpoint and end; a test ends at once."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float | None = _PATIENCE) -> int:
        """Wait until it has ended; end it where it has not after some seconds, None waits for ever."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        self._output.close()
        return self._process.returncode

    def kill(self) -> None:
        """End it and what it started."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _tail(self) -> str:
        with self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self._from, size - _TAIL))
            return file.read().decode("utf-8", errors="replace")


def child_environment(code: Path, threads: int) -> dict[str, str]:
    """Environment of a child: its packages, its threads, and nothing of ours that changes results.

    Args:
        code: Folder of packages that it imports.
        threads: Threads it may compute with.
    """
    dropped = ("LCA_DATA", "LCA_RUN_DIR", "LCA_CONFIG_PATH", "PYTHONPATH")
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    earlier = os.environ.get("PYTHONPATH")
    environment["PYTHONPATH"] = os.pathsep.join([str(code.resolve()), *([earlier] if earlier else [])])
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        environment[name] = str(threads)
    return environment


def _follow_parent() -> Callable[[], object]:
    """What makes Linux ask a child to stop when its parent is gone, however that ended."""
    library = ctypes.CDLL(None)
    return lambda: library.prctl(_DEATH_SIGNAL, signal.SIGTERM)
