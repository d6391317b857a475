"""Packs on disk and in a bucket: bounded memory, disk and time; several processes; damage."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import pickle
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lca_lightning.datasets import pack as pack_module
from lca_lightning.datasets.format import Dataset
from lca_lightning.datasets.order import SampleOrder
from lca_lightning.datasets.pack import pack_dataset
from lca_lightning.datasets.packed import PackedDataset
from lca_lightning.datasets.reader import open_dataset
from lca_lightning.datasets.remote import ChunkCache
from lca_lightning.errors import ConfigError, DataError
from tests.unit.datasets.packable import equal_sequences, resident_bytes, write_people

pytest.importorskip("litdata")


def pack_in_single_items(root: Path, out: str, **options: Any) -> None:
    """A chunk for each of the five people."""
    original = pack_module._plan
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack_module, "_plan", lambda *a: original(*a[:2], 1, a[3]))
        assert pack_dataset(root, out, **options).chunks == 5


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people(tmp_path_factory.mktemp("people") / "data")


@pytest.fixture(scope="module")
def pack(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packs") / "pack"
    pack_in_single_items(people, str(out))
    return out


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A real S3 service of this machine."""
    moto = pytest.importorskip("moto.server")
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a user has in the environment."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("LCA_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def bucket(server: str, keys: None, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty bucket, found by the usual variable."""
    import boto3

    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    name = f"bucket{time.monotonic_ns()}"
    boto3.session.Session().client("s3").create_bucket(Bucket=name)
    return name


def objects(name: str) -> dict[str, int]:
    import boto3

    listed = boto3.session.Session().client("s3").list_objects_v2(Bucket=name).get("Contents", [])
    return {entry["Key"]: entry["Size"] for entry in listed}


def remove(name: str, key: str) -> None:
    import boto3

    boto3.session.Session().client("s3").delete_object(Bucket=name, Key=key)


def test_only_a_few_items_stay_open(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = PackedDataset(str(pack))
    monkeypatch.setattr(packed, "largest_open", 2)
    for position in packed.positions():
        packed.sequence(position)
    assert len(packed._open) == 2
    assert packed.window_groups is not None and Dataset.window_groups is None


def test_damaged_packs_are_refused(pack: Path, tmp_path: Path) -> None:
    for name, message in (("pack.json", "damaged"), ("pack_index.npz", "damaged"), ("chunk", "truncated")):
        copy = tmp_path / name
        shutil.copytree(pack, copy)
        for path in copy.glob(f"{name}*"):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(DataError, match=message):
            open_dataset(copy).sequence(0)
    copy = tmp_path / "later"
    shutil.copytree(pack, copy)
    description = json.loads((copy / "pack.json").read_text())
    (copy / "pack.json").write_text(json.dumps({**description, "version": 9}))
    with pytest.raises(DataError, match="version 9"):
        open_dataset(copy)
    (copy / "pack.json").unlink()
    with pytest.raises(DataError, match="no finished pack"):
        open_dataset(copy)


@pytest.mark.parametrize(
    "name", ["../outside.bin", "/chunk-0.bin", "chunk-0.bin/../../x.bin", "pack.json", 3]
)
def test_chunks_outside_the_pack_are_not_read(pack: Path, tmp_path: Path, name: Any) -> None:
    copy = tmp_path / "pack"
    shutil.copytree(pack, copy)
    description = json.loads((copy / "pack.json").read_text())
    (copy / description["chunks"][0]["filename"]).rename(tmp_path / "outside.bin")
    description["chunks"][0]["filename"] = name
    (copy / "pack.json").write_text(json.dumps(description))
    with pytest.raises(DataError, match="is damaged .*is not the name of a chunk.*pack the data again"):
        open_dataset(copy)


def test_a_process_forked_during_a_fetch_does_not_keep_its_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LCA_CACHE", str(tmp_path))
    cache, content = ChunkCache("pack", 1000), b"x" * 600
    digest = hashlib.sha256(content).hexdigest()
    begun, forked = threading.Event(), threading.Event()

    def slowly(path: Path) -> None:
        begun.set()
        forked.wait(20)
        path.write_bytes(content)

    fetching = threading.Thread(target=lambda: cache.get("a.bin", 600, digest, slowly, 30))
    fetching.start()
    assert begun.wait(20)
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(30,))
    child.start()
    try:
        forked.set()
        fetching.join(20)
        cache.get("a.bin", 600, digest, slowly, 0.0).unlink()  # another chunk has needed its room
        start = time.monotonic()
        cache.get("a.bin", 600, digest, slowly, 8.0)
        assert time.monotonic() - start < 4
    finally:
        child.kill()
        child.join()


def test_a_bucket_reads_as_the_folder(people: Path, bucket: str) -> None:
    pack_in_single_items(people, f"s3://{bucket}/some/where")
    stored = objects(bucket)
    assert sorted(key.rsplit("/", 1)[1] for key in stored)[-3:] == [
        "index.json",
        "pack.json",
        "pack_index.npz",
    ]
    packed, plain = open_dataset(f"s3://{bucket}/some/where"), Dataset(people)
    for position in plain.positions():
        assert equal_sequences(packed.sequence(position), plain.sequence(position))
    with pytest.raises(DataError, match="holds a pack already"):
        pack_dataset(people, f"s3://{bucket}/some/where")
    twin = pickle.loads(pickle.dumps(packed))
    assert equal_sequences(twin.sequence(1), plain.sequence(1))


def test_an_unfinished_pack_in_a_bucket_is_not_opened_and_goes_on(
    people: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lca_lightning.datasets.remote import Bucket

    original, sent = Bucket.upload, []

    def upload(itself: Bucket, path: Path, name: str) -> None:
        if len(sent) == 3:
            raise DataError("the network is gone")
        sent.append(name)
        original(itself, path, name)

    monkeypatch.setattr(Bucket, "upload", upload)
    with pytest.raises(DataError, match="network is gone"):
        pack_in_single_items(people, f"s3://{bucket}/pack")
    with pytest.raises(DataError, match="no finished pack"):
        open_dataset(f"s3://{bucket}/pack")
    monkeypatch.setattr(Bucket, "upload", lambda *a: (sent.append(a[2]), original(*a)))
    pack_in_single_items(people, f"s3://{bucket}/pack")
    assert len(sent) == len(set(sent)) == 5 + 3 and sent[-1] == "pack.json"
    assert len(open_dataset(f"s3://{bucket}/pack")) == 5


def test_the_cache_is_bounded_and_shared(people: Path, bucket: str, tmp_path: Path) -> None:
    pack_in_single_items(people, f"s3://{bucket}/pack")
    sizes = [size for key, size in objects(bucket).items() if key.endswith(".bin")]
    limit = max(sizes) * 2
    packed = PackedDataset(f"s3://{bucket}/pack", cache_bytes=limit)
    for number in range(20):
        packed._open.clear()
        packed.sequence(number % 5)
        held = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*.bin"))
        assert 0 < held <= limit
    assert not list((tmp_path / "cache").rglob("*partial*"))


def test_what_is_cached_needs_no_bucket_and_what_is_missing_is_named(
    people: Path, bucket: str, tmp_path: Path
) -> None:
    pack_in_single_items(people, f"s3://{bucket}/pack")
    packed = PackedDataset(f"s3://{bucket}/pack")
    packed.sequence(0)
    for key in objects(bucket):
        remove(bucket, key)
    packed._open.clear()
    assert packed.sequence(0).subject == "ann"
    with pytest.raises(DataError, match="chunk-.* is missing, the pack is incomplete"):
        for position in range(5):
            packed.sequence(position)


def test_the_next_chunks_are_fetched_ahead(people: Path, bucket: str, tmp_path: Path) -> None:
    pack_in_single_items(people, f"s3://{bucket}/pack")
    packed = PackedDataset(f"s3://{bucket}/pack")
    order = SampleOrder(packed.index.groups_N, 0, window_groups=2)
    packed.prefetch(order.upcoming(0))
    assert packed._fetching is not None
    packed._fetching.join(20)
    fetched = {int(path.stem.rsplit("-", 1)[1]) for path in (tmp_path / "cache").rglob("*.bin")}
    assert fetched == set(order.upcoming(0)) and len(fetched) == 4


def read_all(url: str, results: Any) -> None:
    packed = PackedDataset(url)
    results.put([packed.sequence(position).subject for position in packed.positions()])


def test_two_processes_share_one_cache(people: Path, bucket: str, tmp_path: Path) -> None:
    pack_in_single_items(people, f"s3://{bucket}/pack")
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    readers = [context.Process(target=read_all, args=(f"s3://{bucket}/pack", results)) for _ in range(2)]
    for reader in readers:
        reader.start()
    found = [results.get(timeout=60) for _ in readers]
    for reader in readers:
        reader.join(60)
    assert found == [["ann", "bob", "dan", "eve", "zoe"]] * 2
    assert len(list((tmp_path / "cache").rglob("*.bin"))) == 5


def test_one_file_is_fetched_by_one_process_at_a_time(tmp_path: Path, keys: None) -> None:
    import hashlib

    content, fetched = b"x" * 1000, []
    digest = hashlib.sha256(content).hexdigest()

    def download(path: Path) -> None:
        fetched.append(path)
        time.sleep(0.3)
        path.write_bytes(content)

    caches = [ChunkCache("pack", 10**6) for _ in range(4)]
    threads = [
        threading.Thread(target=cache.get, args=("a.bin", 1000, digest, download, 10)) for cache in caches
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(fetched) == 1 and caches[0].has("a.bin", 1000)
    with pytest.raises(DataError, match="arrived damaged"):
        caches[0].get("b.bin", 1000, "0" * 64, download, 10)
    assert not caches[0].has("b.bin", 1000)


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes every connection and never answers."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=50)
    kept: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                kept.append(listening.accept()[0])
            except OSError:
                return

    threading.Thread(target=accept, daemon=True).start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    for connection in [*kept, listening]:
        connection.close()


def test_a_bucket_that_never_answers_is_an_error_in_time(silent: str, keys: None, people: Path) -> None:
    start = time.monotonic()
    with pytest.raises(DataError, match="did not answer within 2 seconds.*LCA_BUCKET_TIMEOUT"):
        PackedDataset("s3://bucket/pack", endpoint_url=silent, timeout=2)
    assert time.monotonic() - start < 4


def test_a_bucket_that_stops_answering_is_an_error_in_time(
    silent: str, keys: None, people: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_in_single_items(people, f"s3://{bucket}/pack")
    packed = PackedDataset(f"s3://{bucket}/pack", timeout=2)
    packed._bucket._endpoint, packed._bucket._clients = silent, {}
    start = time.monotonic()
    packed.prefetch([0, 1])  # fails in the background without a word
    with pytest.raises(DataError, match="did not answer"):
        packed.sequence(0)
    assert time.monotonic() - start < 8


def test_impossible_settings_are_refused(keys: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LCA_BUCKET_TIMEOUT", "soon")
    with pytest.raises(ConfigError, match="LCA_BUCKET_TIMEOUT must be a positive number, got 'soon'"):
        PackedDataset("s3://bucket/pack")
    monkeypatch.delenv("LCA_BUCKET_TIMEOUT")
    with pytest.raises(ConfigError, match="s3://BUCKET/PREFIX"):
        PackedDataset("gs://bucket/pack")


def draw(packed: Any, order: SampleOrder, positions: np.ndarray, number: int) -> None:
    """What a sample costs: a sequence, its signals, frames of a camera."""
    sequence = packed.sequence(int(positions[order.position(number)]))
    camera = next(iter(sequence.cameras))
    for _, rgba in sequence.iterate_rgba(camera, [number % 7, 8]):
        assert rgba.shape == (64, 96, 4)
    assert sequence.signals.translation_T3.shape[1] == 3


def memory_growth(packed: Any, samples: int) -> int:
    order = SampleOrder(packed.index.groups_N, 0, packed.window_groups)
    positions = packed.positions()
    for number in range(samples // 10):
        draw(packed, order, positions, number)
    before = resident_bytes()
    for number in range(samples // 10, samples):
        draw(packed, order, positions, number)
    return resident_bytes() - before


@pytest.mark.parametrize("kind", ["plain", "packed"])
def test_memory_is_flat(people: Path, pack: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_dataset(people if kind == "plain" else pack)
    monkeypatch.setattr(dataset, "largest_open", 2)
    assert memory_growth(dataset, 300) < 12 * 2**20


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "packed"])
def test_memory_is_flat_over_ten_thousand_samples(
    people: Path, pack: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_dataset(people if kind == "plain" else pack)
    monkeypatch.setattr(dataset, "largest_open", 2)
    growth = memory_growth(dataset, 10_000)
    print(f"{kind}: {growth / 2**20:.1f} MiB")
    assert growth < 12 * 2**20
