"""Files that appear complete or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lca_lightning.errors import DataError
from lca_lightning.training.checkpoint_shards import write_sharded
from lca_lightning.writing import write_atomically


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is flushed and renamed, in order."""
    found: list[str] = []
    flush, replace = os.fsync, Path.replace

    def note_flush(descriptor: int) -> None:
        found.append(f"flush {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")
        flush(descriptor)

    def note_replace(path: Path, target: Path) -> Path:
        found.append(f"rename {path.name}")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", note_flush)
    monkeypatch.setattr(Path, "replace", note_replace)
    return found


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="names of open files are read from /proc")
def test_the_disk_has_a_durable_file_before_its_name_changes(tmp_path: Path, steps: list[str]) -> None:
    path = tmp_path / "last.ckpt"
    partial = f".last.partial-{os.getpid()}.ckpt"
    write_atomically(path, lambda place: place.write_bytes(b"whole"), durable=True)
    assert path.read_bytes() == b"whole"
    assert steps == [f"flush {partial}", f"rename {partial}", f"flush {tmp_path.name}"]
    steps.clear()
    write_sharded(path, 1, lambda writer: writer.write(b"content"))
    shard = next((tmp_path / "last.ckpt.shards").iterdir()).name
    partial_shard = f".{shard}.partial-{os.getpid()}"
    assert steps == [
        f"flush {partial_shard}",
        f"rename {partial_shard}",
        "flush last.ckpt.shards",
        f"flush {partial}",
        f"rename {partial}",
        f"flush {tmp_path.name}",
    ]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    path.write_text("before")

    def fail(place: Path) -> None:
        place.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match="No space left on device"):
        write_atomically(path, fail, durable=True)
    assert path.read_text() == "before" and [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]
