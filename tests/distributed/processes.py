"""Run `lca` as a user does, in processes of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TIMEOUT = 600.0  # seconds: two processes on a busy machine
RECORD = "--trainer.callbacks+=tests.distributed.recording.Recorder"
TWO = [
    "--config=overlay/multinode",
    "--trainer.num_nodes=1",
    "--trainer.devices=2",
    "--trainer.accelerator=cpu",
]
_INHERITED = ("LOCAL_RANK", "WORLD_SIZE", "NODE_RANK", "PL_GLOBAL_SEED", "LCA_DATA", "LCA_RUN_DIR")


def environment(**extra: str) -> dict[str, str]:
    """This process' environment without what would steer a run; Lightning chooses a free port."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _INHERITED and not name.startswith(("MASTER_", "SLURM_"))
    }
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    threads = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return {**kept, **threads, "PYTHONPATH": paths, **extra}


def start(*words: str, **extra: str) -> subprocess.Popen[str]:
    """Start `lca` in a session of its own, so that all its processes can be ended."""
    command = [sys.executable, "-m", "lca_lightning.cli.main", *map(str, words)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(**extra),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a run; return its exit status and what it printed."""
    try:
        output, _ = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        raise AssertionError(f"no end after {TIMEOUT:.0f} s:\n{output}") from None
    return process.returncode, output


def run(*words: str, **extra: str) -> str:
    """Run `lca` to a good end and return what it printed."""
    status, output = finish(start(*words, **extra))
    assert status == 0, output
    return output


def reports(directory: Path) -> list[dict[str, Any]]:
    """What the processes of a run recorded, by rank."""
    paths = sorted(directory.glob("rank*.json"))
    return [json.loads(path.read_text()) for path in paths]


def losses(directory: Path) -> list[float]:
    """Mean loss over all processes of each batch of a run."""
    rows = [[entry["loss"] for entry in report["steps"]] for report in reports(directory)]
    return [sum(row) / len(row) for row in zip(*rows, strict=True)]
