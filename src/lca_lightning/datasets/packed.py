"""Reading packs, in a folder or in a bucket, through the interface of plain data sets."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import struct
import threading
from pathlib import Path
from typing import Any

import numpy as np

from lca_lightning.datasets.files import PackedFiles
from lca_lightning.datasets.index import SequenceIndex
from lca_lightning.datasets.pack import PACK_FILE, PACK_FORMAT, PACK_INDEX, PACK_VERSION
from lca_lightning.datasets.pack_items import unpack_item
from lca_lightning.datasets.reader import SequenceSource
from lca_lightning.datasets.remote import Bucket, ChunkCache, is_bucket
from lca_lightning.datasets.sequence import Sequence
from lca_lightning.errors import DataError

WINDOW_GROUPS = 16  # chunks shuffled together: about a gigabyte of them at the usual size
_CHUNK_NAME = re.compile(r"chunk-[0-9]+(-[0-9]+)?\.bin")  # as `lca pack` and litdata write them
OPEN_ITEMS = 24  # items kept in memory by a process; the files of one are read at once
OPEN_ITEM_PICTURES = 32 * 1024  # of them together; an item usually has a thousand at most


def is_pack(root: str) -> bool:
    """Whether a root is a pack, in a folder or in a bucket."""
    return is_bucket(root) or (Path(root) / PACK_FILE).is_file() or (Path(root) / "index.json").is_file()


class PackedDataset(SequenceSource):
    """A pack made by ``lca pack``: the same interface as :class:`.Dataset`.

    Chunks of a bucket are fetched when needed into a local cache of bounded size (``LCA_CACHE``,
    ``LCA_CACHE_GB``) that all processes of a machine share. Samples should be taken in the order of
    :class:`.SampleOrder` with ``window_groups``, so that few chunks are needed at a time.

    Args:
        root: Folder, or ``s3://bucket/prefix``.
        endpoint_url: Address of another S3 service than Amazon's; None for the usual AWS variables.
        timeout: Seconds without an answer of the bucket after which it is an error; None takes
            ``LCA_BUCKET_TIMEOUT``, else 60.
        cache_bytes: Bound of the local cache; None takes ``LCA_CACHE_GB``, else 20 GB.

    Raises:
        DataError: There is no finished pack, it is damaged, or the bucket does not answer in time.
        MissingAssetError: A bucket is named and the extra ``streaming`` is not installed.
    """

    window_groups = WINDOW_GROUPS
    largest_open = OPEN_ITEMS
    most_pictures = OPEN_ITEM_PICTURES

    def __init__(
        self,
        root: str,
        endpoint_url: str | None = None,
        timeout: float | None = None,
        cache_bytes: int | None = None,
    ) -> None:
        super().__init__()
        self.root = str(root)
        self._bucket = Bucket(self.root, endpoint_url, timeout) if is_bucket(self.root) else None
        description = self._description()
        try:
            self.header: dict[str, Any] = dict(description["header"])
            self._chunks = [
                (_chunk_name(c["filename"]), int(c["bytes"]), str(c["sha256"])) for c in description["chunks"]
            ]
            content = self._file(PACK_INDEX)
            if hashlib.sha256(content).hexdigest() != description["index_sha256"]:
                raise ValueError("the index of sequences belongs to another pack")
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                self.index = SequenceIndex.from_arrays(arrays)
                self._places_N = arrays["places_N"]
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise DataError(f"The pack {self.root} is damaged ({error}); pack the data again.") from error
        self._cache = None
        if self._bucket is not None:
            self._cache = ChunkCache(f"{self.root}#{description['index_sha256']}", cache_bytes)
        self._fetching: threading.Thread | None = None

    def __getstate__(self) -> dict[str, Any]:
        """A copy in another process has its own threads."""
        return {**super().__getstate__(), "_fetching": None}

    def _description(self) -> dict[str, Any]:
        try:
            description = json.loads(self._file(PACK_FILE))
            known = description["format"] == PACK_FORMAT and description["version"] == PACK_VERSION
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{self.root}/{PACK_FILE} is damaged; pack the data again.") from error
        if not known:
            raise DataError(
                f"{self.root} is a pack of version {description.get('version')}, this program reads version "
                f"{PACK_VERSION}; pack the data again."
            )
        return dict(description)

    def _file(self, name: str) -> bytes:
        """A small file of the pack."""
        if self._bucket is not None:
            content = self._bucket.read(name)
        else:
            path = Path(self.root) / name
            content = path.read_bytes() if path.is_file() else None
        if content is None:
            raise DataError(
                f"{self.root} holds no finished pack ({name} is missing); run `lca pack` again, it goes on "
                "where it stopped."
            )
        return content

    def prefetch(self, groups: list[int]) -> None:
        """Begin to fetch chunks in the background, in this order, if nothing is being fetched.

        Args:
            groups: Chunks, as :meth:`.SampleOrder.upcoming` gives them; as many as the cache has room for.
        """
        if self._cache is None or (self._fetching is not None and self._fetching.is_alive()):
            return
        room = self._cache.limit_bytes // 2
        wanted = []
        for group in groups:
            name, size, _ = self._chunks[group]
            room -= size
            if room < 0:
                break
            if not self._cache.has(name, size):
                wanted.append(group)
        if wanted:
            self._fetching = threading.Thread(target=self._fetch_ahead, args=(wanted[:4],), daemon=True)
            self._fetching.start()

    def _fetch_ahead(self, groups: list[int]) -> None:
        for group in groups:
            try:
                self._chunk(group)
            except DataError:  # the sample that needs the chunk will meet the error and report it
                return

    def _chunk(self, group: int) -> Path:
        """Path of a chunk on this machine, fetched where it must be."""
        name, size, digest = self._chunks[group]
        if self._cache is None or self._bucket is None:
            return Path(self.root) / name
        bucket = self._bucket
        return self._cache.get(
            name, size, digest, lambda path: bucket.download(name, path), 10 * bucket.timeout
        )

    def _read(self, position: int) -> Sequence:
        group, place = int(self.index.groups_N[position]), int(self._places_N[position])
        name = str(self.index.ids_N[position])
        label = f"{self.root}/{self._chunks[group][0]}"
        for attempt in (1, 2, 3):
            try:
                content = _read_place(self._chunk(group), place, label)
                break
            except FileNotFoundError as error:  # another process has just made room by removing it
                if self._cache is None or attempt == 3:
                    raise DataError(f"{label} is missing; pack the data again.") from error
        return Sequence(PackedFiles(name, self.root, dict(unpack_item(content, f"{name} of {label}"))))


def _chunk_name(name: object) -> str:
    """Refuse names that lead out of the pack."""
    if not isinstance(name, str) or not _CHUNK_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a chunk")
    return name


def _read_place(path: Path, place: int, label: str) -> bytes:
    """Bytes of one item: a chunk has the number of items, their bounds, and each item after its size."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        (count,) = struct.unpack("<I", os.pread(descriptor, 4, 0))
        if place >= count:
            raise DataError(f"{label} holds {count} items, not {place + 1}; pack the data again.")
        start, stop = struct.unpack("<2I", os.pread(descriptor, 8, 4 + 4 * place))
        content = os.pread(descriptor, stop - start, start)
    except struct.error as error:
        raise DataError(f"{label} is truncated; pack the data again.") from error
    finally:
        os.close(descriptor)
    if len(content) != stop - start or struct.unpack("<I", content[:4])[0] != len(content) - 4:
        raise DataError(f"{label} is truncated; pack the data again.")
    return content[4:]
