"""The SLURM script with stand-ins for `srun` and `scontrol`: stop in time, queue again, continue."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.distributed.processes import ROOT, TIMEOUT, environment, losses

SCRIPT = ROOT / "scripts" / "slurm" / "train.sbatch"
SRUN = """#!/bin/bash
# As many tasks as the job has, each with its number; the exit status is the highest of theirs.
[ "$1" = --kill-on-bad-exit=1 ] && shift
for rank in 0 1; do
  SLURM_PROCID=$rank SLURM_LOCALID=$rank SLURM_NODEID=0 SLURM_NTASKS=2 "$@" &
  tasks="$tasks $!"
done
worst=0
for task in $tasks; do wait $task; code=$?; [ $code -gt $worst ] && worst=$code; done
exit $worst
"""
LCA = '#!/bin/bash\nexec "{python}" -m lca_lightning.cli.main "$@"\n'
SCONTROL = '#!/bin/bash\necho "$@" >> "$QUEUE"\n'


def free_job_number() -> str:
    """A job number whose port, which Lightning derives from its last four digits, is free now."""
    for number in range(4000, 9999):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", 15000 + number)) != 0:
                return f"12{number}"
    raise AssertionError("no free port")


@pytest.fixture
def cluster(tmp_path: Path) -> dict[str, str]:
    """What a job of one node with two tasks sees."""
    for name, text in {"srun": SRUN, "lca": LCA.format(python=sys.executable), "scontrol": SCONTROL}.items():
        command = tmp_path / "bin" / name
        command.parent.mkdir(exist_ok=True)
        command.write_text(text)
        command.chmod(0o755)
    return {
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "QUEUE": str(tmp_path / "queue"),
        "MASTER_ADDR": "127.0.0.1",
        "SLURM_JOB_ID": free_job_number(),
        "SLURM_JOB_NAME": "avatars",
        "SLURM_NNODES": "1",
        "SLURM_NTASKS_PER_NODE": "2",
    }


def submit(words: list[str], folder: Path, cluster: dict[str, str]) -> tuple[int, str]:
    """Run the script as a job in a folder; return its exit status and what it printed."""
    process = subprocess.Popen(
        ["bash", str(SCRIPT), *words],
        cwd=folder,
        env=environment(**cluster),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, output


def test_the_script_is_bash_and_asks_for_a_recipe(tmp_path: Path) -> None:
    assert subprocess.run(["bash", "-n", str(SCRIPT)], check=False).returncode == 0
    status, output = submit([], tmp_path, {})
    assert status == 2 and "RECIPE" in output


@pytest.mark.slow
def test_a_job_that_runs_out_of_time_continues_by_itself(
    recipe: list[str], two: Path, tmp_path: Path, cluster: dict[str, str]
) -> None:
    warning = f"--trainer.callbacks.init_args.number={int(signal.SIGUSR1)}"
    at = ["--trainer.callbacks+=tests.distributed.recording.SignalAt", "--trainer.callbacks.init_args.step=5"]
    words = [*recipe[2:], "--trainer.accelerator=cpu", *at, warning]  # the recipe's name, then options
    status, output = submit(words, tmp_path, cluster)
    run = tmp_path / "runs" / "avatars" / cluster["SLURM_JOB_ID"]
    assert status == 128 + signal.SIGUSR1, output
    assert Path(cluster["QUEUE"]).read_text() == f"requeue {cluster['SLURM_JOB_ID']}\n"
    assert torch.load(run / "last.ckpt", weights_only=True)["global_step"] == 6
    assert not list(run.glob("hpc_ckpt*"))
    assert losses(run) == losses(two)[:6]
    status, output = submit(words, tmp_path, cluster)
    assert status == 0, output
    assert "continuing" in output and losses(run) == losses(two)[6:]
    assert Path(cluster["QUEUE"]).read_text().count("requeue") == 1
