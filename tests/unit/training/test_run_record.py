"""Whether a run lives: its process decides on its own machine, its last sign of life on others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lca_lightning.training.run_record import (
    SILENCE_SECONDS,
    current_status,
    living_owner,
    read_run,
    seconds_of,
    this_process,
    time_text,
    write_run,
)

PRINT_PROCESS = (
    "import json; from lca_lightning.training.run_record import this_process; "
    "print(json.dumps(this_process()), flush=True); import time; time.sleep(60)"
)


def running(process: Any, beat: float | None = None) -> dict[str, Any]:
    """The record of a run that has not said that it ended."""
    return {"status": "running", "process": process, "heartbeat": time_text(beat)}


def test_a_killed_process_shows_as_stopped_at_once() -> None:
    child = subprocess.Popen([sys.executable, "-c", PRINT_PROCESS], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None

    record = running(json.loads(child.stdout.readline()))
    assert current_status(record) == "running" and living_owner(record) == child.pid
    os.kill(child.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10.0
    while current_status(record) == "running" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert current_status(record) == "stopped"  # not waited for yet: the system still lists it
    child.wait()
    child.stdout.close()
    assert current_status(record) == "stopped" and living_owner(record) is None


def test_a_process_that_got_the_number_of_the_old_one_is_another() -> None:
    assert (
        current_status(running(this_process())) == "running" and living_owner(running(this_process())) is None
    )
    if this_process()["birth"] is not None:
        assert current_status(running({**this_process(), "birth": "another boot/17"})) == "stopped"
    assert current_status(running({**this_process(), "birth": None})) == "running"


@pytest.mark.parametrize(("silence", "status"), [(0.0, "running"), (SILENCE_SECONDS + 1, "stopped")])
@pytest.mark.parametrize("process", [{"host": "elsewhere", "pid": 1, "birth": "x"}, None, {}, "text"])
def test_from_another_machine_the_sign_of_life_decides(process: Any, silence: float, status: str) -> None:
    beat = 1.7e9
    assert current_status(running(process, beat), now=beat + silence) == status


@pytest.mark.parametrize("status", ["finished", "interrupted", "failed"])
def test_an_ended_run_says_so_itself(status: str) -> None:
    assert current_status({"status": status, "process": this_process()}) == status


def test_other_values_are_unknown() -> None:
    for record in ({}, {"status": None}, {"status": ["running"]}, {"status": "paused"}):
        assert current_status(record) == "unknown"
    assert current_status({"status": "running"}) == "stopped"


def test_what_is_written_is_read_and_nothing_else(tmp_path: Path) -> None:
    path = write_run(tmp_path, {"status": "finished", "steps": 3})
    assert read_run(tmp_path) == {"format": "lca-run", "version": 1, "status": "finished", "steps": 3}
    for content in (b"", b"{", b"[]", b"\xff", b'{"format": "other"}', b"null"):
        path.write_bytes(content)
        assert read_run(tmp_path) == {}
    assert read_run(tmp_path / "missing") == {}


def test_who_writes_elsewhere_does_not_own(tmp_path: Path) -> None:
    for process in ({"host": "elsewhere", "pid": 1}, None, "text"):
        assert living_owner(running(process)) is None


def test_times_go_there_and_back() -> None:
    assert time_text(0.0) == "1970-01-01T00:00:00Z" and seconds_of(time_text(1.7e9)) == 1.7e9
    for nonsense in (None, "", "soon", 3, "9" * 50):
        assert seconds_of(nonsense) is None
