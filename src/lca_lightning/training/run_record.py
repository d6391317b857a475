"""``run.json``: what a run is, where it stands, whether its process still lives. Standard library only."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lca_lightning.writing import write_text

RUN_FILE, FORMAT, VERSION = "run.json", "lca-run", 1
STATUSES = ("running", "finished", "interrupted", "failed")
SILENCE_SECONDS = 15 * 60.0
"""A run on another machine that has not written for this long is taken for dead."""


def write_run(folder: Path, record: Mapping[str, Any]) -> Path:
    """Write ``run.json`` atomically.

    Args:
        folder: Run directory.
        record: Plain values.

    Returns:
        The path.

    Raises:
        DataError: The folder cannot be written.
    """
    text = json.dumps({"format": FORMAT, "version": VERSION, **record}, indent=1)
    return write_text(folder / RUN_FILE, text + "\n")


def read_run(folder: Path) -> dict[str, Any]:
    """What ``run.json`` says; empty where there is none of ours, or it is damaged."""
    try:
        record = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) and record.get("format") == FORMAT else {}


def current_status(record: Mapping[str, Any], now: float | None = None) -> str:
    """Where a run stands now: a ``running`` one whose process is gone has ``stopped``.

    On the machine of the run its process decides: whether it lives, and is the one that wrote the file. From
    another machine the time of the last sign of life decides, see ``SILENCE_SECONDS``.

    Args:
        record: Output of `read_run`.
        now: Seconds since the epoch; the present when None.

    Returns:
        One of ``STATUSES``, ``stopped``, or ``unknown``.
    """
    status = record.get("status")
    if status not in STATUSES:
        return "unknown"
    if status != "running":
        return str(status)
    process = record.get("process")
    if not isinstance(process, Mapping):
        process = {}
    if process.get("host") == socket.gethostname() and isinstance(process.get("pid"), int):
        return "running" if _lives(process) else "stopped"
    beat = seconds_of(record.get("heartbeat"))
    silent = beat is None or (time.time() if now is None else now) - beat > SILENCE_SECONDS
    return "stopped" if silent else "running"


def living_owner(record: Mapping[str, Any]) -> int | None:
    """Number of another process of this machine that is writing a run now; None where there is none."""
    process = record.get("process")
    if not isinstance(process, Mapping) or not isinstance(process.get("pid"), int):
        return None
    here = process.get("host") == socket.gethostname()
    if not here or current_status(record) != "running" or process["pid"] == os.getpid():
        return None
    return int(process["pid"])


def this_process() -> dict[str, Any]:
    """How this process can be recognised later: machine, number, and moment of birth where it is known."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "birth": _birth(os.getpid())}


def _lives(process: Mapping[str, Any]) -> bool:
    pid = process["pid"]
    if process.get("birth") is not None:
        return _birth(pid) == process["birth"]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's: it lives
        return True
    return True


def _birth(pid: int) -> str | None:
    """The machine's start and the process' start after it, on Linux; None for a process that has ended."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else f"{boot}/{fields[19]}"  # state; start in clock ticks


def time_text(seconds: float | None = None) -> str:
    """A moment as ISO 8601 in UTC, such as ``2025-01-31T12:00:00Z``; now when None."""
    moment = datetime.fromtimestamp(time.time() if seconds is None else seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_of(text: Any) -> float | None:
    """The inverse of `time_text`; None for anything else."""
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except (ValueError, OverflowError):
        return None
