"""Packing a data set for streaming: chunks in litdata's optimised form, on a disk or in a bucket."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import multiprocessing
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lca_lightning.child_processes import end_with_parent
from lca_lightning.datasets.index import SequenceIndex, save_arrays
from lca_lightning.datasets.pack_items import (
    LARGEST_ITEM_BYTES,
    Part,
    check_sequence,
    pack_item,
    part_count,
    parts_of,
)
from lca_lightning.datasets.reader import Dataset
from lca_lightning.datasets.remote import Bucket, cache_root, is_bucket
from lca_lightning.datasets.sequence import Sequence
from lca_lightning.errors import ConfigError, DataError, MissingAssetError
from lca_lightning.writing import write_atomically, write_failure

PACK_FORMAT, PACK_VERSION = "lca-pack", 1
_PLAN_VERSION = 2
PACK_FILE, PACK_INDEX = "pack.json", "pack_index.npz"
LARGEST_CHUNK_MB = 2048  # litdata counts bytes within a chunk in 32 bits


@dataclass(frozen=True)
class PackSummary:
    """What a pack holds.

    Args:
        out: Folder or address.
        items: Items written.
        sequences: Sequences they come from.
        chunks: Files of the pack.
        total_bytes: Their size together.
        skipped: Reason by sequence that was left out.
        whole: Sequences that could not be split because not every picture is a key picture, or too few frames
            of a light stage are fully lit.
    """

    out: str
    items: int
    sequences: int
    chunks: int
    total_bytes: int
    skipped: dict[str, str]
    whole: tuple[str, ...]


@dataclass(frozen=True)
class _Chunk:
    """One file to write and where."""

    number: int
    parts: tuple[Part, ...]
    root: str
    staging: str


def pack_dataset(
    root: Path | str,
    out: str,
    *,
    chunk_mb: int = 64,
    frames_per_item: int = 1024,
    jobs: int = 1,
    endpoint_url: str | None = None,
) -> PackSummary:
    """Pack a plain data set; run it again to go on where it stopped.

    Nothing that can be opened is at ``out`` before everything is: a folder is renamed at the end, and the
    file that readers need is uploaded last. Sequences that cannot be read are left out and listed.

    Args:
        root: Folder of the data set.
        out: Folder that does not exist yet, or ``s3://bucket/prefix``.
        chunk_mb: Size of a chunk in megabytes; a longer item makes a longer chunk.
        frames_per_item: Largest number of pictures of an item, all cameras together; longer sequences become
            items of every second, third ... frame, those of light stages items of a run of frames. Sequences
            of the splits ``val`` and ``test`` stay whole, so that the same is evaluated as in the folder.
        jobs: Processes.
        endpoint_url: Address of another S3 service than Amazon's.

    Returns:
        What was written.

    Raises:
        ConfigError: A number is out of range.
        DataError: Nothing can be packed, ``out`` exists or cannot be written, the disk is full, or the bucket
            does not answer.
        MissingAssetError: The extra ``streaming`` is not installed.
    """
    if not 1 <= chunk_mb <= LARGEST_CHUNK_MB or frames_per_item < 2 or jobs < 1:
        raise ConfigError(
            f"Chunks must have 1 to {LARGEST_CHUNK_MB} MB, items 2 frames and jobs must be positive; got "
            f"{chunk_mb} MB, {frames_per_item} frames, {jobs} jobs."
        )
    _need_litdata()
    dataset = Dataset(root)
    bucket = Bucket(out, endpoint_url) if is_bucket(out) else None
    staging = _staging(out, bucket)
    try:
        chunks, plan = _plan(dataset, staging, chunk_mb * 10**6, frames_per_item)
        _begin(staging, plan)
        for made in _make(chunks, jobs, dataset.root.name):
            if bucket is not None:
                _send(bucket, staging, made)
        summary = _finish(dataset, staging, len(chunks), out)
        _deliver(staging, out, bucket)
    except OSError as error:
        raise DataError(
            f"{staging} cannot be written ({write_failure(error)}); free some space and run the command "
            "again, it goes on where it stopped."
        ) from error
    return summary


def _need_litdata() -> None:
    try:
        import litdata  # noqa: F401
    except ImportError as error:
        raise MissingAssetError(
            "Packing needs the extra `streaming`: pip install 'lca-lightning[streaming]'."
        ) from error


def _staging(out: str, bucket: Bucket | None) -> Path:
    """Where the pack grows; refuses an ``out`` that holds something."""
    if bucket is not None:
        if bucket.read(PACK_FILE) is not None:
            raise DataError(f"{out} holds a pack already; remove it or choose another prefix.")
        return cache_root() / "packing" / hashlib.sha256(bucket.url.encode()).hexdigest()[:24]
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} exists already; remove it or choose another folder.")
    return folder.absolute().parent / f".{folder.absolute().name}.partial"


def _plan(
    dataset: Dataset, staging: Path, chunk_bytes: int, frames_per_item: int
) -> tuple[list[_Chunk], str]:
    """Which items go into which chunk, and a text that changes with anything that matters.

    Items are spread by a hash of their ids, so that neighbouring chunks show many people.
    """
    index, described = dataset.index, []
    items: list[tuple[str, Part, int]] = []
    for position in tqdm(range(len(index)), desc="Planning", unit="sequence", disable=len(index) < 2000):
        folder = dataset.root / "sequences" / str(index.ids_N[position])
        size, newest = _size_of(folder)
        described.append([folder.name, size, newest])
        parts = part_count(int(index.frames_N[position]), int(index.cameras_N[position]), frames_per_item)
        if index.splits_N[position] != "train" and size <= LARGEST_ITEM_BYTES:
            parts = 1
        for part in (Part(folder.name, first, parts) for first in range(parts)):
            items.append((hashlib.sha256(part.id.encode()).hexdigest(), part, size // parts))
    chunks: list[list[Part]] = [[]]
    room = chunk_bytes
    for _, part, size in sorted(items, key=lambda item: item[0]):
        if size > room and chunks[-1]:
            chunks.append([])
            room = chunk_bytes
        chunks[-1].append(part)
        room -= size
    text = json.dumps([_PLAN_VERSION, str(dataset.root.absolute()), chunk_bytes, frames_per_item, described])
    digest = hashlib.sha256(text.encode()).hexdigest()
    root, place = str(dataset.root), str(staging)
    return [_Chunk(number, tuple(parts), root, place) for number, parts in enumerate(chunks)], digest


def _size_of(folder: Path) -> tuple[int, int]:
    """Bytes of a sequence and the time of its last change."""
    statuses = [path.stat() for path in folder.rglob("*") if path.is_file()]
    return sum(s.st_size for s in statuses), max((s.st_mtime_ns for s in statuses), default=0)


def _begin(staging: Path, plan: str) -> None:
    """Keep what an earlier attempt at the same plan has finished; remove the rest of it."""
    marker = staging / "plan.txt"
    if staging.exists() and (not marker.is_file() or marker.read_text() != plan):
        shutil.rmtree(staging)
    staging.mkdir(parents=True, exist_ok=True)
    if not marker.is_file():
        write_atomically(marker, lambda path: path.write_text(plan))


def _make(chunks: list[_Chunk], jobs: int, name: str) -> Iterator[int]:
    """Write the chunks that are missing; yields the number of every finished one."""
    missing = [chunk for chunk in chunks if not _report_path(chunk).is_file()]
    yield from (chunk.number for chunk in chunks if chunk not in missing)
    bar = tqdm(total=len(chunks), initial=len(chunks) - len(missing), desc=f"Packing {name}", unit="chunk")
    with bar:
        if jobs == 1:
            for chunk in missing:
                yield _write_chunk(chunk)
                bar.update()
            return
        context = multiprocessing.get_context("spawn")  # a forked process would inherit locks of threads
        with ProcessPoolExecutor(min(jobs, max(len(missing), 1)), context, end_with_parent) as pool:
            futures = [pool.submit(_write_chunk, chunk) for chunk in missing]
            try:
                for future in as_completed(futures):
                    yield future.result()
                    bar.update()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _report_path(chunk: _Chunk) -> Path:
    return Path(chunk.staging) / f"chunk-{chunk.number:06d}.json"


def _write_chunk(chunk: _Chunk) -> int:
    """Write one chunk by litdata's writer, then the report that says it is finished."""
    from litdata.streaming.writer import BinaryWriter

    staging = Path(chunk.staging)
    work = staging / f".work-{chunk.number:06d}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    report: dict[str, Any] = {"rows": [], "skipped": {}, "whole": []}
    size = 0
    try:
        writer = BinaryWriter(str(work), chunk_size=len(chunk.parts) + 1)
        for part in chunk.parts:
            item = _read_item(Path(chunk.root), part, report)
            if item is not None:
                content, row = item
                size += len(content)
                if size > LARGEST_ITEM_BYTES:
                    size -= len(content)
                    report["skipped"][part.sequence] = (
                        f"{row['id']} finds no room in its chunk, which is limited to "
                        f"{LARGEST_ITEM_BYTES / 1e9:.1f} GB; lower --chunk-mb and --frames-per-item."
                    )
                    continue
                writer[len(report["rows"])] = content
                report["rows"].append(row)
        if report["rows"]:
            writer.done()
            writer.merge(1)
            report["litdata"] = json.loads((work / "index.json").read_text())
            (written,) = work.glob("*.bin")
            report["bytes"] = written.stat().st_size
            with written.open("rb") as file:
                report["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
            written.replace(_report_path(chunk).with_suffix(".bin"))
        write_atomically(_report_path(chunk), lambda path: path.write_text(json.dumps(report)))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return chunk.number


def _read_item(root: Path, part: Part, report: dict[str, Any]) -> tuple[bytes, dict[str, Any]] | None:
    """An item and its row; None for what cannot be read, or is in another item already."""
    try:
        sequence = Sequence(root / "sequences" / part.sequence)
        check_sequence(sequence)
        parts = parts_of(sequence, part.step)
        if part.first >= len(parts):
            return None
        if part.step > 1 and len(parts) == 1:
            report["whole"].append(part.sequence)
        return pack_item(sequence, parts[part.first])
    except (DataError, OSError) as error:
        report["skipped"][part.sequence] = str(error)
        return None


def _send(bucket: Bucket, staging: Path, number: int) -> None:
    """Upload a chunk once; what is in the bucket is not kept here."""
    path = staging / f"chunk-{number:06d}.bin"
    if path.is_file():
        bucket.upload(path, path.name)
        path.unlink()


def _finish(dataset: Dataset, staging: Path, count: int, out: str) -> PackSummary:
    """Write litdata's index, the index of sequences and the description of the pack."""
    rows, places, litdata_chunks = [], [], []
    chunks: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    whole: list[str] = []
    config: dict[str, Any] = {}
    for number in range(count):
        report = json.loads((staging / f"chunk-{number:06d}.json").read_text())
        skipped.update(report["skipped"])
        whole += report["whole"]
        if not report["rows"]:
            continue
        name = f"chunk-{number:06d}.bin"
        for place, row in enumerate(report["rows"]):
            rows.append((row["id"], row["subject"], row["split"], row["frames"], row["cameras"], len(chunks)))
            places.append((row["id"], place))
        chunks.append({"filename": name, "bytes": report["bytes"], "sha256": report["sha256"]})
        litdata_chunks.append({**report["litdata"]["chunks"][0], "filename": name})
        config = config or report["litdata"]["config"]
    if not rows:
        reason = next(iter(skipped.values()), "it is empty")
        raise DataError(f"No sequence of {dataset.root} can be packed: {reason}")
    arrays = SequenceIndex.from_rows(rows).to_arrays()
    arrays["places_N"] = np.array([place for _, place in sorted(places)], np.int64)
    buffer = io.BytesIO()
    save_arrays(buffer, arrays)
    (staging / PACK_INDEX).write_bytes(buffer.getvalue())
    index = {"chunks": litdata_chunks, "config": config, "updated_at": "0"}
    (staging / "index.json").write_text(json.dumps(index))
    summary = PackSummary(
        out=out,
        items=len(rows),
        sequences=len(dataset.index) - len(skipped),
        chunks=len(chunks),
        total_bytes=sum(chunk["bytes"] for chunk in chunks),
        skipped=skipped,
        whole=tuple(whole),
    )
    description = {
        "format": PACK_FORMAT,
        "version": PACK_VERSION,
        "header": dataset.header,
        "index_sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
        "chunks": chunks,
        **{name: value for name, value in asdict(summary).items() if name in ("skipped", "whole")},
    }
    (staging / PACK_FILE).write_text(json.dumps(description, indent=1))
    return summary


def _deliver(staging: Path, out: str, bucket: Bucket | None) -> None:
    """Make the finished pack appear."""
    if bucket is not None:
        for name in ("index.json", PACK_INDEX, PACK_FILE):  # readers need the last one
            bucket.upload(staging / name, name)
        shutil.rmtree(staging, ignore_errors=True)
        return
    for report in [*staging.glob("chunk-*.json"), staging / "plan.txt"]:
        report.unlink()
    with contextlib.suppress(FileNotFoundError):
        Path(out).rmdir()  # it was found empty
    staging.rename(out)
