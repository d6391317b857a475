"""Object storage and the local cache of what comes from it: bounded in time and in size, never a hang."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlparse

from lca_lightning.errors import ConfigError, DataError, MissingAssetError
from lca_lightning.writing import write_failure

TIMEOUT_VARIABLE, DEFAULT_TIMEOUT = "LCA_BUCKET_TIMEOUT", 60.0
CACHE_VARIABLE, SIZE_VARIABLE, DEFAULT_CACHE_GB = "LCA_CACHE", "LCA_CACHE_GB", 20.0
_ATTEMPTS = 3
_PIECE = 2**20
Result = TypeVar("Result")


def is_bucket(root: str) -> bool:
    """Whether a root is an address of object storage."""
    return "://" in root


def positive_setting(variable: str, default: float) -> float:
    """A positive number from the environment.

    Raises:
        ConfigError: The variable holds something else.
    """
    text = os.environ.get(variable, "")
    try:
        value = float(text) if text else default
    except ValueError:
        value = -1.0
    if not value > 0:
        raise ConfigError(f"The environment variable {variable} must be a positive number, got {text!r}.")
    return value


class Bucket:
    """Files under a prefix of an S3 bucket.

    Keys and endpoint come from the usual AWS environment variables and files.

    Args:
        url: ``s3://bucket/prefix``.
        endpoint_url: Address of another S3 service; None for the environment's, else Amazon's.
        timeout: Seconds without an answer, over all attempts, after which it is an error; None takes
            ``LCA_BUCKET_TIMEOUT``, else 60.

    Raises:
        ConfigError: Another scheme, or no bucket.
    """

    def __init__(self, url: str, endpoint_url: str | None = None, timeout: float | None = None) -> None:
        parts = urlparse(url)
        if parts.scheme != "s3" or not parts.netloc:
            raise ConfigError(
                f"{url} is not an address of object storage; it has the form s3://BUCKET/PREFIX."
            )
        self.url, self._name, self._prefix = url.rstrip("/"), parts.netloc, parts.path.strip("/")
        self._endpoint = endpoint_url
        self.timeout = positive_setting(TIMEOUT_VARIABLE, DEFAULT_TIMEOUT) if timeout is None else timeout
        self._clients: dict[int, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        """A copy in another process opens its own connections."""
        return {**self.__dict__, "_clients": {}}

    def read(self, name: str) -> bytes | None:
        """A small file, or None where there is none."""
        return self._try(name, lambda client, where: self._body(client, where).read())

    def download(self, name: str, path: Path) -> None:
        """Fetch a file piece by piece.

        Raises:
            DataError: It is missing, or the bucket does not answer in time.
            OSError: The disk is full.
        """

        def fetch(client: Any, where: dict[str, str]) -> bool:
            with path.open("wb") as file:
                for piece in self._body(client, where).iter_chunks(_PIECE):
                    file.write(piece)
            return True

        if self._try(name, fetch) is None:
            raise DataError(f"{self.url}/{name} is missing, the pack is incomplete; pack the data again.")

    def upload(self, path: Path, name: str) -> None:
        """Store a file.

        Raises:
            DataError: The bucket refuses it or does not answer in time.
        """

        def store(client: Any, where: dict[str, str]) -> bool:
            with path.open("rb") as file:
                client.put_object(Body=file, **where)
            return True

        if self._try(name, store) is None:
            raise DataError(f"There is no bucket {self._name!r}; make it first.")

    @staticmethod
    def _body(client: Any, where: dict[str, str]) -> Any:
        return client.get_object(**where)["Body"]

    def _try(self, name: str, action: Callable[[Any, dict[str, str]], Result]) -> Result | None:
        """Run an action a few times; None where there is no such file."""
        botocore = _botocore()
        client = self._client()
        where = {"Bucket": self._name, "Key": f"{self._prefix}/{name}" if self._prefix else name}
        for attempt in range(_ATTEMPTS):
            try:
                return action(client, where)
            except botocore.exceptions.ClientError as error:
                code = str(error.response.get("Error", {}).get("Code", ""))
                if code in ("NoSuchKey", "NoSuchBucket", "404"):
                    return None
                status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
                if status < 500 or attempt == _ATTEMPTS - 1:
                    raise DataError(
                        f"{self.url}/{name} was refused ({code}); check the bucket's name and your AWS keys."
                    ) from error
            except (botocore.exceptions.NoCredentialsError, botocore.exceptions.NoRegionError) as error:
                raise DataError(f"{self.url} cannot be read ({error}); set the AWS_ variables.") from error
            except (
                botocore.exceptions.BotoCoreError,
                botocore.exceptions.HTTPClientError,
                _network(),
            ) as error:
                if attempt == _ATTEMPTS - 1:
                    raise DataError(
                        f"{self.url}/{name} did not answer within {self.timeout:g} seconds "
                        f"({type(error).__name__}); check the network and the endpoint, or raise "
                        f"{TIMEOUT_VARIABLE}."
                    ) from error
            time.sleep(min(0.2 * 2**attempt, self.timeout / 20))
        return None

    def _client(self) -> Any:
        process = os.getpid()
        if process not in self._clients:
            _botocore()
            import boto3
            from botocore.config import Config

            wait = 0.85 * self.timeout / _ATTEMPTS
            config = Config(
                connect_timeout=wait,
                read_timeout=wait,
                retries={"total_max_attempts": 1},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            )
            # a session of its own: the default one is not safe with threads
            session = boto3.session.Session()
            self._clients = {process: session.client("s3", endpoint_url=self._endpoint, config=config)}
        return self._clients[process]


def _botocore() -> Any:
    try:
        import botocore.exceptions
    except ImportError as error:
        raise MissingAssetError(
            "Buckets need the extra `streaming`: pip install 'lca-lightning[streaming]'."
        ) from error
    return botocore


def _network() -> type[Exception]:
    """Connections that break while a body is read are urllib3's errors."""
    from urllib3.exceptions import HTTPError

    return HTTPError


def cache_root() -> Path:
    """``$LCA_CACHE``, else the user's cache folder."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lca_lightning"


class ChunkCache:
    """Files from a bucket on the local disk, shared by all processes, the least recently used go first.

    Args:
        pack: Unique name of the pack.
        limit_bytes: Bound for all packs together; None takes ``LCA_CACHE_GB``, else 20 GB.
    """

    def __init__(self, pack: str, limit_bytes: float | None = None) -> None:
        self._root = cache_root() / "chunks"
        self._folder = self._root / hashlib.sha256(pack.encode()).hexdigest()[:24]
        limit = (
            positive_setting(SIZE_VARIABLE, DEFAULT_CACHE_GB) * 1e9 if limit_bytes is None else limit_bytes
        )
        self.limit_bytes = int(limit)

    def get(self, name: str, size: int, digest: str, download: Callable[[Path], None], wait: float) -> Path:
        """Path of a file, fetched where it is not there yet.

        Args:
            name: File name.
            size: Its bytes.
            digest: SHA-256 of its content.
            download: Writes the file it is given.
            wait: Seconds to wait for another process that fetches the same file.

        Raises:
            DataError: The file cannot be fetched, is damaged, or the disk is full.
        """
        path = self._folder / name
        if self.has(name, size):
            with contextlib.suppress(OSError):
                os.utime(path)
            return path
        partial = self._folder / f".{name}.partial-{os.getpid()}-{time.monotonic_ns()}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with _only_one(self._folder / f".{name}.lock", wait):
                if self.has(name, size):  # another process has just fetched it
                    return path
                self._make_room(size)
                download(partial)
                if _digest(partial) != digest:
                    raise DataError(f"{name} arrived damaged from the bucket; pack the data again.")
                partial.replace(path)
        except OSError as error:
            raise DataError(
                f"{self._folder} cannot be written ({write_failure(error)}); free some space or name another "
                f"folder in {CACHE_VARIABLE}."
            ) from error
        finally:
            partial.unlink(missing_ok=True)
        return path

    def has(self, name: str, size: int) -> bool:
        """Whether a file is there and whole."""
        try:
            return (self._folder / name).stat().st_size == size
        except OSError:
            return False

    def _make_room(self, size: int) -> None:
        """Remove the least recently used files; a process that reads one of them keeps its open file."""
        found = []
        for path in self._root.glob("*/*.bin"):
            with contextlib.suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, path))
        held = sum(held for _, held, _ in found)
        for _, freed, path in sorted(found):
            if held + size <= self.limit_bytes:
                return
            path.unlink(missing_ok=True)
            held -= freed


@contextlib.contextmanager
def _only_one(path: Path, wait: float) -> Iterator[None]:
    """Hold a lock that the system frees when its process ends; after ``wait`` seconds go on without it."""
    import fcntl

    deadline = time.monotonic() + wait
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.05)
        try:
            yield
        finally:
            # closing is not enough: a process forked meanwhile keeps the file open, and the lock with it
            fcntl.flock(file, fcntl.LOCK_UN)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
