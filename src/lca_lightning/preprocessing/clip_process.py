"""Running a clip in a process of its own that may crash or hang without taking the run with it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lca_lightning.preprocessing.clips import Clip, ClipResult, PreprocessOptions

CRASHED, TIMED_OUT, STOPPED = "crashed", "timed out", "stopped"
PROCESS_CLIP = "lca_lightning.preprocessing.pipeline:process_clip"
# Native libraries leak a little: a process serves so many clips before a fresh one takes over.
CLIPS_PER_PROCESS = 200
Progress = Callable[[str, int, int], Any]


@dataclass(frozen=True)
class ClipJob:
    """What all clips of a run share.

    Attributes:
        options: Of the pipeline.
        minutes: Longest time a clip may take.
        cameras_at_once: Cameras of one clip whose people are looked for side by side.
        function: What is run for each clip, ``module:name``; called as ``process_clip`` is.
    """

    options: PreprocessOptions
    minutes: float = 60.0
    cameras_at_once: int = 1
    function: str = PROCESS_CLIP


@dataclass(frozen=True)
class Outcome:
    """How a clip's process came out of it.

    Attributes:
        result: What the pipeline said; None when it did not get that far.
        failure: ``crashed``, ``timed out``, or ``stopped`` by an error that concerns every clip.
        detail: In words.
        trace: End of the traceback, if there is one.
    """

    result: ClipResult | None
    failure: str = ""
    detail: str = ""
    trace: str = ""


class ClipProcess:
    """A child process that is started when a clip comes, killed when one hangs, and replaced when it dies.

    Args:
        job: What to run.
        progress: Called from this process with a stage's name, what was done, and the stage's total.
    """

    def __init__(self, job: ClipJob, progress: Progress | None = None) -> None:
        self._job, self._progress = job, progress
        self._child: subprocess.Popen[bytes] | None = None
        self._served, self._pending = 0, b""

    def run(self, clip: Clip) -> Outcome:
        """Run one clip to its end, to the crash of its process, or to the time limit."""
        deadline = time.monotonic() + 60.0 * self._job.minutes
        if self._served >= CLIPS_PER_PROCESS:
            self.close()
        child = self._child if self._child is not None and self._child.poll() is None else self._start()
        self._served += 1
        request = {
            "clip": clip.to_json(),
            "options": self._job.options.to_json(),
            "cameras_at_once": self._job.cameras_at_once,
            "watched": self._progress is not None,
        }
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # its death is read below
            child.stdin.write(json.dumps(request).encode() + b"\n")
            child.stdin.flush()
        while True:
            line = self._read_line(child, deadline)
            if line is None:
                return self._lost(child, time.monotonic() >= deadline)
            message = json.loads(line)
            if "progress" not in message:
                return _outcome(message)
            if self._progress is not None:
                self._progress(*message["progress"])

    def close(self) -> None:
        """Kill the child and everything it started."""
        child, self._child = self._child, None
        if child is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _start(self) -> subprocess.Popen[bytes]:
        self.close()
        self._served, self._pending = 0, b""
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        self._child = subprocess.Popen(
            [sys.executable, "-m", "lca_lightning.preprocessing.clip_worker", self._job.function],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths},
            start_new_session=True,  # so that it and its own children can be killed together
        )
        return self._child

    def _read_line(self, child: subprocess.Popen[bytes], deadline: float) -> bytes | None:
        """The next line, or None at the deadline or the child's end."""
        assert child.stdout is not None
        while b"\n" not in self._pending:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([child.stdout], [], [], min(left, 3600.0))[0]:
                if left <= 0 or time.monotonic() >= deadline:
                    return None
                continue
            piece = os.read(child.stdout.fileno(), 1 << 16)
            if not piece:
                return None
            self._pending += piece
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def _lost(self, child: subprocess.Popen[bytes], late: bool) -> Outcome:
        if late:
            self.close()
            limit = f"{self._job.minutes:g} minute{'s' if self._job.minutes != 1 else ''}"
            return Outcome(None, TIMED_OUT, f"it took longer than {limit}")
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=10.0)
        code = child.poll()
        self.close()
        if code is not None and code < 0:
            return Outcome(None, CRASHED, f"its process was killed by {signal.Signals(-code).name}")
        return Outcome(None, CRASHED, f"its process ended with exit status {code}")


def _outcome(message: dict[str, Any]) -> Outcome:
    if "stop" in message:
        return Outcome(None, STOPPED, message["stop"])
    if "crash" in message:
        return Outcome(None, CRASHED, message["crash"], message["detail"])
    result = message["result"]
    return Outcome(ClipResult(result["id"], result["reason"], result["summary"]))
