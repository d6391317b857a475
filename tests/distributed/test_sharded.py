"""AdamW spread over two processes: the same losses, half the state on each, checkpoints for any number."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.commands import lca
from tests.distributed.processes import TWO, finish, losses, reports, run, start
from tests.distributed.test_ddp import LOSS_TOLERANCE, PICK, WEIGHT_TOLERANCE, assert_same_weights

SHARDED = "--config=overlay/sharded"
pytestmark = pytest.mark.slow


def test_sharding_changes_nothing_but_the_memory(recipe: list[str], two: Path, tmp_path: Path) -> None:
    run(*recipe, *TWO, SHARDED, f"--run_dir={tmp_path}")
    assert losses(tmp_path) == losses(two)
    assert_same_weights(tmp_path / "last.ckpt", two / "last.ckpt", 0.0)
    whole = reports(two)[0]["optimizer_values"]
    shares = [report["optimizer_values"] for report in reports(tmp_path)]
    assert [report["optimizer"] for report in reports(tmp_path)] == ["ShardedAdamW"] * 2
    assert sum(shares) == whole and max(shares) < 0.6 * whole


def test_its_checkpoints_continue_on_any_number_of_processes(
    recipe: list[str], two: Path, tmp_path: Path
) -> None:
    stop = ["--trainer.callbacks+=tests.distributed.recording.SignalAt", f"{PICK}.step=8", f"{PICK}.rank=1"]
    status, output = finish(start(*recipe, *TWO, SHARDED, *stop, f"--run_dir={tmp_path / 'stopped'}"))
    assert status == 128 + 15, output
    source = f"--ckpt_path={tmp_path / 'stopped' / 'last.ckpt'}"
    run(*recipe, *TWO, SHARDED, source, f"--run_dir={tmp_path / 'again'}")
    assert losses(tmp_path / "again") == losses(two)[9:]
    assert_same_weights(tmp_path / "again" / "last.ckpt", two / "last.ckpt", 0.0)
    assert [report["stale_values"] for report in reports(tmp_path / "again")] == [0, 0]
    alone = [SHARDED, "--data.init_args.batch_size=2", f"--run_dir={tmp_path / 'alone'}"]
    assert lca(*recipe, source, *alone) == 0
    assert reports(tmp_path / "alone")[0]["optimizer"] == "AdamW"
    assert losses(tmp_path / "alone") == pytest.approx(losses(two)[9:], abs=LOSS_TOLERANCE)
    assert_same_weights(tmp_path / "alone" / "last.ckpt", two / "last.ckpt", WEIGHT_TOLERANCE)
