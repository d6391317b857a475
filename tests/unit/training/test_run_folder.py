"""What a run writes about itself, from its start to each of its ends."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Timer

from lca_lightning.datasets.format import write_dataset_header
from lca_lightning.errors import ConfigError, DataError
from lca_lightning.training.callbacks import run_folder
from lca_lightning.training.callbacks.checkpointing import BestCheckpoint, RollingCheckpoint
from lca_lightning.training.callbacks.run_folder import RunFolder, changed_since, data_roots
from lca_lightning.training.checkpoint_writing import AtomicCheckpointIO
from lca_lightning.training.run_record import current_status, read_run
from tests.unit.training.line_module import Line, LineData
from tests.unit.training.tiny_module import quiet_trainer


class Stop(pl.Callback):
    """Raise something after a step.

    Args:
        step: Optimiser steps done by then.
        error: What to raise.
    """

    def __init__(self, step: int, error: BaseException) -> None:
        self.step, self.error = step, error

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Raise it."""
        if trainer.global_step == self.step:
            raise self.error


def fit(
    folder: Path,
    *callbacks: pl.Callback,
    steps: int = 2,
    checkpoint: Path | None = None,
    recipe: str = "tiny/studio",
) -> dict[str, Any]:
    """Train a few steps and return what run.json says afterwards."""
    root = folder.parent / "data"
    write_dataset_header(root, kind="wild", rig="anny", licence="CC0", provenance="test")
    own = [RunFolder("lca fit --config x", recipe, {"data": str(root)}), RollingCheckpoint()]
    options: dict[str, Any] = dict(
        val_check_interval=1, check_val_every_n_epoch=None, enable_checkpointing=True
    )
    trainer = quiet_trainer(folder, steps, callbacks=[*own, BestCheckpoint(), *callbacks], **options)
    trainer.strategy.checkpoint_io = AtomicCheckpointIO()
    try:
        trainer.fit(Line(), LineData(), ckpt_path=checkpoint, weights_only=True)
    except BaseException as error:  # the caller looks at what the run says of it
        if not any(isinstance(callback, Stop) for callback in callbacks):
            raise
        assert isinstance(error, (SystemExit, RuntimeError))
    return read_run(folder)


def test_a_run_explains_itself(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []

    class Look(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            seen.append(read_run(tmp_path / "run"))

    record = fit(tmp_path / "run", Look())
    assert seen[0]["status"] == "running" == current_status(seen[0]) and seen[0]["total_steps"] == 2
    assert (record["format"], record["version"]) == ("lca-run", 1)
    assert (record["status"], record["steps"], record["total_steps"]) == ("finished", 2, 2)
    assert record["recipe"] == "tiny/studio" and record["command"] == "lca fit --config x"
    assert record["resume"] == f"lca fit --ckpt_path {tmp_path / 'run' / 'last.ckpt'}"
    assert record["seconds"] > 0 and record["started"] <= record["finished"]
    assert record["data"]["data"]["root"] == str(tmp_path / "data")
    assert len(record["data"]["data"]["digest"]) == 64 and record["versions"]["torch"]
    assert record["starts"][-1]["device"] == "1 x cpu, precision 32-true"
    assert {"revision", "dirty"} <= set(record["git"])
    assert record["scores"]["last"]["step"] == 2 and "val/frames" not in record["scores"]["last"]
    best = torch.load(tmp_path / "run" / "best.ckpt", weights_only=True)
    assert record["scores"]["best"]["step"] == best["global_step"]
    guide = (tmp_path / "run" / "README.md").read_text()
    for text in ("has finished: 2 of 2 steps", record["resume"], "lca test --ckpt_path", "lca create"):
        assert text in guide


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (KeyboardInterrupt(), "interrupted", "Ctrl-C"),
        (SystemExit(128 + signal.SIGTERM), "interrupted", "exit status 143"),
        (SystemExit(0), "interrupted", "slice"),
        (RuntimeError("the cat\nwas here"), "failed", "RuntimeError: the cat"),
    ],
)
def test_every_end_has_its_name(tmp_path: Path, error: BaseException, status: str, reason: str) -> None:
    record = fit(tmp_path / "run", Stop(1, error))
    assert (record["status"], record["steps"]) == (status, 1) and reason in record["error"]
    assert current_status(record) == status and record["finished"]
    assert record["error"] in (tmp_path / "run" / "README.md").read_text()


def test_time_that_runs_out_is_no_end(tmp_path: Path) -> None:
    assert fit(tmp_path / "run", Timer({"milliseconds": 1}), steps=50)["status"] == "interrupted"
    assert fit(tmp_path / "run", Timer({"hours": 1}))["status"] == "finished"


def test_a_resumed_run_keeps_its_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = fit(tmp_path / "a", steps=2)
    partial = tmp_path / "a" / ".last.partial-4194310.ckpt"
    partial.write_bytes(b"half")
    second = fit(tmp_path / "a", steps=3, checkpoint=tmp_path / "a" / "last.ckpt", recipe="run")
    assert not partial.exists()
    assert second["recipe"] == "tiny/studio" and second["started"] == first["started"]
    assert [start["step"] for start in second["starts"]] == [0, 2]
    assert second["seconds"] > first["seconds"] and second["steps"] == 3
    assert second["scores"]["best"] == {"step": 3, "val/psnr": 13.0}
    third = fit(tmp_path / "b", steps=4, checkpoint=tmp_path / "a" / "last.ckpt")
    assert third["started"] == first["started"] and len(third["starts"]) == 3
    assert third["scores"]["best"]["step"] == 4  # of the best.ckpt of that folder
    assert "Warning" not in capsys.readouterr().out


def test_other_data_and_code_are_reported_once(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fit(tmp_path / "run")
    code = {"revision": "c0ffee11" * 5, "dirty": True, "package": "9", "digest": "other"}
    monkeypatch.setattr(run_folder, "code_revision", lambda: code)
    monkeypatch.setattr(run_folder, "data_digest", lambda root: "f" * 64)
    record = fit(tmp_path / "run", steps=3, checkpoint=tmp_path / "run" / "last.ckpt")
    out = capsys.readouterr().out
    assert out.count("Warning") == 1 and "other data (data:" in out and "now ffffffff" in out
    assert "now c0ffee11 with changes" in out
    assert record["status"] == "finished" and record["git"] == code


def test_two_processes_do_not_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "living_owner", lambda record: 4711)
    with pytest.raises(ConfigError, match="Process 4711 is training into .* give another --run_dir"):
        fit(tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()


def test_what_counts_as_a_change() -> None:
    code = {"revision": None, "digest": "a" * 64, "dirty": None}
    before = {"data": {"x": {"digest": "1" * 64}}, "git": code}
    same = {"x": {"digest": "1" * 64, "root": "moved"}}
    assert changed_since(before, same, {**code, "revision": "new commit, same source"}) is None
    assert changed_since({}, same, code) is None
    assert "x: 11111111, now none" in str(changed_since(before, {}, code))
    assert "y" in str(changed_since(before, same | {"y": {"digest": "2"}}, code))
    assert "other code" in str(changed_since(before, same, {**code, "digest": "b"}))


def test_a_full_disk_for_the_record_does_not_end_the_run(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> None:
        raise DataError("the disk is full")

    monkeypatch.setattr(run_folder, "write_run", fail)
    assert fit(tmp_path / "run") == {}
    assert (tmp_path / "run" / "last.ckpt").is_file() and capsys.readouterr().out.count(
        "the disk is full"
    ) == 1


def test_data_without_a_digest_can_be_trained_on(tmp_path: Path) -> None:
    assert run_folder._digest(str(tmp_path)) is None


def test_roots_of_a_configuration() -> None:
    inner = {"class_path": "C", "init_args": {"root": "w"}}
    mixture = {"init_args": {"sources": {"wild": inner, "both": {"init_args": {"sources": {"a": inner}}}}}}
    assert data_roots(inner) == {"data": "w"} and data_roots(None) == {}
    assert data_roots(mixture) == {"wild": "w", "both/a": "w"}
    assert data_roots({"class_path": "Plugin"}) == {} and json.dumps(data_roots(inner))
