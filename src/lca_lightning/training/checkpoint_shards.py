"""Checkpoints in pieces of bounded size: a manifest in the place of the file, the pieces in a folder.

``last.ckpt`` is then a small JSON file that names its shards with their sizes and SHA-256, and the shards are
in ``last.ckpt.shards/``. One after the other they are the very bytes of the whole file. The manifest is
replaced last, so that it always names shards that are complete; shards of the state before are removed then.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lca_lightning.errors import CheckpointError, ConfigError
from lca_lightning.writing import flush_to_disk, write_atomically

FORMAT = "lca-checkpoint-shards"
VERSION = 1
LARGEST_MANIFEST = 1 << 20
MIB = 1 << 20


class ShardWriter:
    """Where a checkpoint is streamed to: cuts what it is given into shards.

    Args:
        folder: Of the shards; made when the first one is written.
        shard_bytes: Largest size of one.
    """

    def __init__(self, folder: Path, shard_bytes: int) -> None:
        self.folder, self.shard_bytes = folder, shard_bytes
        self.shards: list[dict[str, Any]] = []
        self._pending = bytearray()

    def write(self, content: Any) -> int:
        """Take some content; whole shards go to the disk."""
        view = memoryview(content).cast("B")
        self._pending += view
        while len(self._pending) >= self.shard_bytes:
            self._write_shard(bytes(self._pending[: self.shard_bytes]))
            del self._pending[: self.shard_bytes]
        return len(view)

    def flush(self) -> None:
        """Nothing to do: what is left becomes the last shard in `finish`."""

    def finish(self) -> list[dict[str, Any]]:
        """Write the last shard and describe all of them."""
        if self._pending:
            self._write_shard(bytes(self._pending))
            self._pending.clear()
        return self.shards

    def _write_shard(self, content: bytes) -> None:
        digest = hashlib.sha256(content).hexdigest()
        name = f"{len(self.shards):03d}-{digest[:12]}.shard"
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".{name}.partial-{os.getpid()}"
        try:
            temporary.write_bytes(content)
            flush_to_disk(temporary)
            temporary.replace(self.folder / name)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
        self.shards.append({"file": name, "bytes": len(content), "sha256": digest})


def write_sharded(path: str | Path, shard_mib: float, stream: Callable[[ShardWriter], None]) -> None:
    """Write a checkpoint in shards.

    Args:
        path: Its name, which the manifest gets.
        shard_mib: Largest size of a shard, MiB.
        stream: Writes the checkpoint to the file object that it is given.

    Raises:
        DataError: The folder cannot be written or the disk is full; what was there is untouched.
        ConfigError: The size is not positive.
    """
    path = Path(path)
    if shard_mib * MIB < 1:
        raise ConfigError(f"last_checkpoint.shard_mib must be positive, got {shard_mib}; null for one file.")
    folder = shard_folder(path)
    before = {file.name for file in folder.glob("*")}
    writer = ShardWriter(folder, int(shard_mib * MIB))

    def write(temporary: Path) -> None:
        stream(writer)
        shards = writer.finish()
        flush_to_disk(folder)
        manifest = {"format": FORMAT, "version": VERSION, "folder": folder.name, "shards": shards}
        temporary.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")

    kept = before
    try:
        write_atomically(path, write, durable=True)
        kept = {shard["file"] for shard in writer.shards}
    finally:
        for file in folder.glob("*"):
            if file.name not in kept:
                with contextlib.suppress(OSError):
                    file.unlink()


def shard_folder(path: str | Path) -> Path:
    """Folder of a checkpoint's shards."""
    path = Path(path)
    return path.with_name(f"{path.name}.shards")


def remove_shards(path: str | Path) -> None:
    """Remove the shards of a checkpoint that is removed or written in one piece, where it has any."""
    shutil.rmtree(shard_folder(path), ignore_errors=True)


def checkpoint_source(path: str | Path) -> Path | io.BytesIO:
    """What to load a checkpoint from: the file itself, or the content of its shards put together.

    Args:
        path: A checkpoint in one piece, or the manifest of one in shards.

    Raises:
        CheckpointError: A shard is missing or damaged, and which; or the manifest is none of ours.
    """
    manifest = read_manifest(path)
    if manifest is None:
        return Path(path)
    content = io.BytesIO()
    for piece in _shard_contents(Path(path), manifest):
        content.write(piece)
    content.seek(0)
    return content


def read_manifest(path: str | Path) -> dict[str, Any] | None:
    """The manifest of a checkpoint in shards, or None where the file is something else.

    Args:
        path: Any file.

    Raises:
        CheckpointError: It is a manifest of another version, or damaged.
    """
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST_MANIFEST:
            return None
        content = path.read_bytes()
        if not content.startswith(b"{"):
            return None
        manifest = json.loads(content)
    except OSError:
        return None
    except ValueError:
        raise CheckpointError(f"{path} is a damaged list of shards; copy or write it again.") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise CheckpointError(f"{path} was not written by lca-lightning; use a .ckpt of `lca fit`.")
    if manifest.get("version") != VERSION:
        raise CheckpointError(
            f"{path} is a checkpoint in shards of version {manifest.get('version')}, this lca-lightning reads"
            f" version {VERSION}; use the release that wrote it."
        )
    return manifest


def _shard_contents(path: Path, manifest: Mapping[str, Any]) -> Iterator[bytes]:
    """Each shard, checked."""
    try:
        name = _plain_name(manifest["folder"])
        shards = [(_plain_name(s["file"]), int(s["bytes"]), str(s["sha256"])) for s in manifest["shards"]]
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(f"{path} is a damaged list of shards; copy or write it again.") from None
    for file, size, digest in shards:
        shard = path.parent / name / file
        if not shard.is_file():
            raise CheckpointError(
                f"{path} is in {len(shards)} shards, and {name}/{file} is missing;"
                f" copy the folder {name} too."
            )
        content = shard.read_bytes()
        if len(content) != size or hashlib.sha256(content).hexdigest() != digest:
            raise CheckpointError(f"The shard {name}/{file} of {path} is damaged; copy it again.")
        yield content


def _plain_name(name: Any) -> str:
    """A file's bare name: a list of shards must not lead out of its folder."""
    if not isinstance(name, str) or Path(name).name != name or name == "..":
        raise ValueError(name)
    return name
