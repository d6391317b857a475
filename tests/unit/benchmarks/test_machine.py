"""What is said about the machine: versions, and how busy others keep it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lca_lightning.benchmarks import machine

SPIN = "import time; end = time.perf_counter() + {seconds}\nwhile time.perf_counter() < end: pass"


def spin(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def test_versions_name_what_timings_depend_on() -> None:
    found = machine.versions()
    assert {"lca-lightning", "python", "torch", "gsplat", "numba"} <= set(found)
    assert torch.__version__.startswith(found["torch"])
    assert "threads" in machine.device_name(torch.device("cpu"))


@pytest.mark.skipif(not Path("/proc/stat").is_file(), reason="only Linux tells how busy its cores are")
def test_work_of_other_processes_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    other = subprocess.Popen([sys.executable, "-c", SPIN.format(seconds=5)])
    try:
        time.sleep(0.3)
        neighbours = machine.Neighbours()
        spin(0.6)
        found = neighbours.busy_cores()
    finally:
        other.kill()
        other.wait()
    assert found is not None and found > 0.2
    monkeypatch.setattr(machine, "_others_seconds", lambda: None)
    assert machine.Neighbours().busy_cores() is None
