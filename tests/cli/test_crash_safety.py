"""Runs in processes of their own that are really killed: what is on the disk is whole, and goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lca_lightning.training.checkpoints import read_checkpoint
from tests.cli.commands import Recorder, lca, small
from tests.distributed import processes

RECORD = "--trainer.callbacks+=tests.cli.commands.Recorder"


def recipe(root: Path, run: Path) -> list[str]:
    """Six steps, a checkpoint after every second."""
    words = ["fit", "--config", "tiny/pretrain.yaml", *small(root, trainer__max_steps=6)]
    return [*words, "--last_checkpoint.every_n_steps=2", "--run_dir", str(run)]


def wait_for(process: subprocess.Popen[str], happened: Callable[[], bool]) -> None:
    """Wait until something can be seen on the disk."""
    deadline = time.monotonic() + 120.0
    while not happened() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert happened(), "".join(process.communicate(timeout=10.0)[:1])


def kill(process: subprocess.Popen[str]) -> None:
    """What the kernel does to a run that needs too much memory."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def status(run: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What `lca runs` says of it."""
    capsys.readouterr()
    assert lca("runs", "--json", str(run)) == 0
    (found,) = json.loads(capsys.readouterr().out)
    return str(found["status"])


@pytest.mark.slow
@pytest.mark.parametrize("shards", [[], ["--last_checkpoint.shard_mib=0.05"]], ids=["whole", "shards"])
def test_killed_in_the_middle_of_writing(
    wild_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], shards: list[str]
) -> None:
    Recorder.steps.clear()
    assert lca(*recipe(wild_root, tmp_path / "straight"), RECORD) == 0
    straight = list(Recorder.steps)
    run = tmp_path / "killed"
    slow = ["--trainer.callbacks+=tests.cli.crash_probe.SlowWriting", "--trainer.callbacks.init_args.step=4"]
    process = processes.start(*recipe(wild_root, run), *shards, *slow)

    def half_written() -> bool:
        if not (run / "last.ckpt").exists():
            return False
        written = (run / "last.ckpt").stat().st_mtime_ns
        new = [path for path in (run / "last.ckpt.shards").glob("*") if path.stat().st_mtime_ns > written]
        return bool(new if shards else list(run.glob(".last.partial-*")))

    wait_for(process, half_written)
    assert status(run, capsys) == "running"
    kill(process)
    assert read_checkpoint(run / "last.ckpt")["global_step"] == 2
    assert status(run, capsys) == "stopped"
    Recorder.steps.clear()
    assert lca("fit", "--ckpt_path", str(run / "last.ckpt"), RECORD, "--trainer.callbacks=null", RECORD) == 0
    assert Recorder.steps == straight[2:]
    assert not list(run.rglob(".*partial-*")) and status(run, capsys) == "finished"
    same = read_checkpoint(tmp_path / "straight" / "last.ckpt")["state_dict"]
    for name, value in read_checkpoint(run / "last.ckpt")["state_dict"].items():
        assert torch.equal(value, same[name]), name


@pytest.mark.slow
def test_killed_in_mid_training(wild_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    process = processes.start(*recipe(wild_root, run), "--trainer.max_steps=9999")
    wait_for(process, lambda: (run / "last.ckpt").exists() and (run / "best.ckpt").exists())
    kill(process)
    done = read_checkpoint(run / "last.ckpt")["global_step"]
    assert done >= 2 and done % 2 == 0 and read_checkpoint(run / "best.ckpt")["global_step"] >= 2
    assert status(run, capsys) == "stopped"
    assert lca("fit", "--ckpt_path", str(run / "last.ckpt"), f"--trainer.max_steps={done + 1}") == 0
    assert read_checkpoint(run / "last.ckpt")["global_step"] == done + 1


@pytest.mark.slow
def test_a_fault_leaves_both_states(
    wild_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    fault = ["--trainer.callbacks+=tests.cli.crash_probe.FailAt", "--trainer.callbacks.init_args.step=3"]
    exit_status, output = processes.finish(processes.start(*recipe(wild_root, run), *fault))
    assert exit_status == 1 and "a fault in somebody's callback" in output
    assert read_checkpoint(run / "last.ckpt")["global_step"] == 2
    assert read_checkpoint(run / "interrupted.ckpt")["global_step"] == 3
    assert status(run, capsys) == "failed"
    record = json.loads((run / "run.json").read_text())
    assert record["steps"] == 3 and "somebody's callback" in (run / "README.md").read_text()
    resumed = ["--ckpt_path", str(run / "interrupted.ckpt"), "--trainer.callbacks=null"]
    assert lca("fit", *resumed) == 0
    assert status(run, capsys) == "finished"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_an_interruption(
    wild_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    run = tmp_path / "run"
    process = processes.start(*recipe(wild_root, run), "--trainer.max_steps=9999")
    wait_for(process, lambda: (run / "last.ckpt").exists())
    process.send_signal(number)
    exit_status, output = processes.finish(process)
    assert exit_status == 128 + number, output
    record = json.loads((run / "run.json").read_text())
    assert status(run, capsys) == record["status"] == "interrupted"
    assert read_checkpoint(run / "last.ckpt")["global_step"] == record["steps"]
