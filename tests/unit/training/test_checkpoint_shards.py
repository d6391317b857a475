"""Checkpoints in shards: bounded pieces, the same content, and one sentence for everything that is wrong."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lca_lightning.errors import CheckpointError, ConfigError, DataError
from lca_lightning.training import checkpoint_shards, checkpoints
from lca_lightning.training.checkpoint_writing import AtomicCheckpointIO, write_weights
from tests.unit.training.test_checkpoints import Sizes

SHARD = 4096
MIB = SHARD / 2**20


def content(fill: float = 1.0) -> dict[str, Any]:
    """A checkpoint of some 40 KB with our block."""
    block = checkpoints.make_block(
        rig="anny", anchors=8, backbone="random-tiny", model=Sizes(), config="a: 1"
    )
    state = {"model.weight": torch.full((5000,), fill), "model.bias": torch.arange(7)}
    return {
        "state_dict": state,
        checkpoints.BLOCK: block,
        "global_step": 3,
        "optimizer_states": [{"state": {0: torch.ones(5000)}}],
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A checkpoint in shards."""
    AtomicCheckpointIO(MIB).save_checkpoint(content(), tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


def shards(path: Path) -> list[Path]:
    return sorted(checkpoint_shards.shard_folder(path).iterdir())


def test_shards_are_bounded_listed_and_together_the_whole_file(path: Path, tmp_path: Path) -> None:
    manifest = json.loads(path.read_text())
    assert len(shards(path)) == len(manifest["shards"]) > 8
    assert [shard["file"] for shard in manifest["shards"]] == [file.name for file in shards(path)]
    for entry, file in zip(manifest["shards"], shards(path), strict=True):
        assert entry["bytes"] == file.stat().st_size <= SHARD
        assert entry["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    whole = tmp_path / "whole.ckpt"
    whole.write_bytes(b"".join(file.read_bytes() for file in shards(path)))
    for read in (
        torch.load(whole, weights_only=True),
        checkpoints.read_checkpoint(path),
        AtomicCheckpointIO().load_checkpoint(path, weights_only=True),
    ):
        assert torch.equal(read["state_dict"]["model.weight"], torch.ones(5000))
        assert read["global_step"] == 3 and read["lca"]["rig"] == "anny"


def test_a_new_state_replaces_the_old_one_and_its_shards(path: Path) -> None:
    before = {file.name for file in shards(path)}
    leftover = checkpoint_shards.shard_folder(path) / "999-crashed.shard"
    leftover.write_bytes(b"x")
    AtomicCheckpointIO(MIB).save_checkpoint(content(2.0), path)
    assert not leftover.exists()
    assert {file.name for file in shards(path)} != before
    assert len(shards(path)) == len(json.loads(path.read_text())["shards"])
    assert float(checkpoints.read_checkpoint(path)["state_dict"]["model.weight"][0]) == 2.0
    AtomicCheckpointIO().save_checkpoint(content(3.0), path)  # in one piece again
    assert not checkpoint_shards.shard_folder(path).exists()
    assert float(checkpoints.read_checkpoint(path)["state_dict"]["model.weight"][0]) == 3.0


@pytest.mark.parametrize("at", [0, 3, 10**6])
def test_a_write_that_fails_leaves_the_old_state(
    path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """At the first shard, at a later one, and when all are there but the list of them is not."""
    before, files = path.read_text(), [file.name for file in shards(path)]
    write, count = checkpoint_shards.ShardWriter._write_shard, 0

    def failing(self: checkpoint_shards.ShardWriter, piece: bytes) -> None:
        nonlocal count
        if count == at:
            raise OSError(28, "No space left on device")
        count += 1
        write(self, piece)

    monkeypatch.setattr(checkpoint_shards.ShardWriter, "_write_shard", failing)
    if at > 100:
        monkeypatch.setattr(Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(DataError, match="Cannot write .*last.ckpt .*free some space"):
        AtomicCheckpointIO(MIB).save_checkpoint(content(2.0), path)
    assert path.read_text() == before and [file.name for file in shards(path)] == files
    assert float(checkpoints.read_checkpoint(path)["state_dict"]["model.weight"][0]) == 1.0


def test_removing_a_checkpoint_removes_its_shards(path: Path) -> None:
    AtomicCheckpointIO(MIB).remove_checkpoint(path)
    assert not path.exists() and not checkpoint_shards.shard_folder(path).exists()


def test_missing_and_damaged_shards_are_named(path: Path, tmp_path: Path) -> None:
    alone = tmp_path / "elsewhere" / "last.ckpt"
    alone.parent.mkdir()
    shutil.copy(path, alone)
    with pytest.raises(CheckpointError, match=r"last.ckpt.shards/000-\w+.shard is missing; copy the folder"):
        checkpoints.read_checkpoint(alone)
    shard = shards(path)[4]
    whole = shard.read_bytes()
    for damage in (whole[:-1], whole[:100] + b"?" + whole[101:], whole + b"?"):
        shard.write_bytes(damage)
        with pytest.raises(CheckpointError, match=f"shard last.ckpt.shards/{shard.name} of .* is damaged"):
            checkpoints.read_checkpoint(path)
    shard.unlink()
    with pytest.raises(CheckpointError, match=f"{shard.name} is missing"):
        AtomicCheckpointIO().load_checkpoint(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "shards of version 2"),
        ({"format": "other"}, "not written by lca-lightning"),
        ({"folder": "../secrets"}, "damaged list of shards"),
        ({"shards": [{"file": "../../etc/passwd", "bytes": 1, "sha256": "0"}]}, "damaged list of shards"),
        ({"shards": 3}, "damaged list of shards"),
    ],
)
def test_strange_lists_are_refused(path: Path, change: dict[str, Any], message: str) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match=message):
        checkpoints.read_checkpoint(path)
    path.write_text(path.read_text()[:-5])
    with pytest.raises(CheckpointError, match="damaged list of shards"):
        checkpoints.read_checkpoint(path)


def test_code_in_shards_is_never_run(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple:
            return (Path(tmp_path / "owned").touch, ())

    AtomicCheckpointIO(MIB).save_checkpoint({"lca": Payload()}, tmp_path / "bad.ckpt")
    with pytest.raises(CheckpointError, match="not a checkpoint of lca-lightning"):
        checkpoints.read_checkpoint(tmp_path / "bad.ckpt")
    assert not (tmp_path / "owned").exists()


def test_weights_alone_start_a_run(path: Path) -> None:
    write_weights(path, path.with_name("weights.ckpt"), MIB)
    read = checkpoints.read_checkpoint(path.with_name("weights.ckpt"))
    assert "optimizer_states" not in read and read["global_step"] == 3
    assert len(shards(path.with_name("weights.ckpt"))) < len(shards(path))
    model = nn.Module()
    model.weight, model.bias = nn.Parameter(torch.zeros(5000)), nn.Parameter(torch.zeros(7))
    checkpoints.initialise(model, path.with_name("weights.ckpt"), "anny")
    assert torch.equal(model.weight, torch.ones(5000))


def test_half_weights_are_rounded_and_what_recognises_a_model_is_not(path: Path) -> None:
    torch.manual_seed(0)
    state = {"model.w": torch.randn(64, 64), "model.b": torch.randn(64), "model.step": torch.tensor(7)}
    state["model.anchor_fingerprint_A3"] = torch.rand(64, 3)
    AtomicCheckpointIO().save_checkpoint(content() | {"state_dict": state}, path)
    write_weights(path, path.with_name("half.ckpt"), half=True)
    read = checkpoints.read_checkpoint(path.with_name("half.ckpt"))["state_dict"]
    assert read["model.w"].dtype == torch.float16
    assert 0 < float((read["model.w"].float() - state["model.w"]).abs().max()) < 2e-3
    for name in ("model.b", "model.step", "model.anchor_fingerprint_A3"):
        assert torch.equal(read[name], state[name]) and read[name].dtype == state[name].dtype


def test_a_size_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="shard_mib must be positive, got 0"):
        AtomicCheckpointIO(0).save_checkpoint({}, tmp_path / "last.ckpt")
