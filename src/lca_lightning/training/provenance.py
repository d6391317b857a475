"""Where a result comes from: digests of data and code, versions of the libraries.

A digest of data holds no paths outside the data set, so a copied folder has the same one.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import lca_lightning
from lca_lightning.datasets.pack import PACK_FILE
from lca_lightning.datasets.records import read_dataset_header
from lca_lightning.datasets.remote import Bucket, is_bucket
from lca_lightning.errors import DataError

ALL_SEQUENCES = 20_000  # of larger folders only a sample is read
SAMPLE = 256  # sequences
_ENDS = 64 * 1024  # bytes at either end of a large file
_WHOLE = ("sequence.json", "signals.safetensors")
_GIT_SECONDS = 5.0
LIBRARIES = (
    "torch",
    "torchvision",
    "lightning",
    "torchmetrics",
    "jsonargparse",
    "gsplat",
    "numba",
    "lpips",
    "transformers",
    "av",
    "numpy",
    "safetensors",
)


def data_digest(root: str | Path, without: str | None = None) -> str:
    """Digest of a data set that changes with its content, in well under a second for usual sizes.

    Of a plain folder it covers ``dataset.json``, the names of all sequences, each ``sequence.json`` and
    ``signals.safetensors`` whole, and of every other file (videos, masks) its name, its size and the first
    and last 64 KiB. Above 20,000 sequences all names count, but only 256 sequences, evenly spread, are read.
    A pack has the digest of what its ``pack.json`` says of the header, the index and every chunk, by their
    own digests; it differs from that of the folder it was made of. Hidden files do not count.

    Args:
        root: Folder, packed folder or address of a pack.
        without: Split that does not count, such as ``test`` for what a training depends on; a pack always
            counts whole.

    Returns:
        64 hexadecimal digits, of SHA-256.

    Raises:
        DataError: There is no data set, it cannot be read, or the bucket does not answer.
    """
    packed = _pack_description(str(root))
    if packed is not None:
        text = json.dumps(packed, sort_keys=True)
        return hashlib.sha256(f"pack\n{text}".encode()).hexdigest()
    folder = Path(root)
    read_dataset_header(folder)
    try:
        return _combined(_folder_parts(folder, without))
    except OSError as error:
        raise DataError(
            f"{error.filename} cannot be read ({error.strerror}); make the data again."
        ) from error


def _pack_description(root: str) -> dict[str, Any] | None:
    """What ``pack.json`` says, None for a plain folder."""
    if is_bucket(root):
        content = Bucket(root).read(PACK_FILE)
        if content is None:
            raise DataError(f"{root} holds no finished pack ({PACK_FILE} is missing); run `lca pack` again.")
    else:
        path = Path(root) / PACK_FILE
        content = path.read_bytes() if path.is_file() else None
    if content is None:
        return None
    try:
        description = json.loads(content)
        return {name: description[name] for name in ("version", "header", "index_sha256", "chunks")}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{root}/{PACK_FILE} is damaged; pack the data again.") from error


def _folder_parts(folder: Path, without: str | None) -> Iterator[tuple[str, bytes]]:
    yield "dataset.json", (folder / "dataset.json").read_bytes()
    sequences = folder / "sequences"
    names = sorted(_visible(sequences, folders=True)) if sequences.is_dir() else []
    if without is not None:
        names = [name for name in names if _split(sequences / name) != without]
    yield "sequences", "\n".join(names).encode()
    if len(names) > ALL_SEQUENCES:
        names = [names[index * len(names) // SAMPLE] for index in range(SAMPLE)]
    for name in names:
        yield from _sequence_parts(sequences / name, name)


def _split(place: Path) -> str | None:
    """Stored split of a sequence; None where its description cannot be read, so that it counts."""
    try:
        return str(json.loads((place / "sequence.json").read_bytes())["split"])
    except (KeyError, OSError, TypeError, ValueError):
        return None


def _visible(folder: Path, folders: bool = False) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(".") and (not folders or entry.is_dir()):
                yield entry.name


def _sequence_parts(place: Path, name: str) -> Iterator[tuple[str, bytes]]:
    """Files under a sequence, in order of their names."""
    for child in sorted(_visible(place)):
        path, label = place / child, f"{name}/{child}"
        if path.is_dir():
            yield from _sequence_parts(path, label)
        else:
            yield label, path.read_bytes() if child in _WHOLE else _ends(path)


def _ends(path: Path) -> bytes:
    """Size and both ends of a file; all of a small one."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(_ENDS)
        if size > _ENDS:
            file.seek(max(_ENDS, size - _ENDS))
            content += file.read(_ENDS)
    return b"%d\n%b" % (size, content)


def _combined(parts: Iterable[tuple[str, bytes]]) -> str:
    """Digest of named contents; where one ends and the next begins counts too."""
    total = hashlib.sha256()
    for name, content in parts:
        total.update(f"{name}\n{hashlib.sha256(content).hexdigest()}\n".encode())
    return total.hexdigest()


def code_revision() -> dict[str, Any]:
    """Which code runs.

    Returns:
        ``revision`` and ``dirty`` (tracked files differ from it) of the git checkout that the package is part
        of, both None where it is installed otherwise; ``package``, its version; ``digest`` of its source.
    """
    revision, dirty = _git_state(Path(lca_lightning.__file__).parent)
    return {
        "revision": revision,
        "dirty": dirty,
        "package": lca_lightning.__version__,
        "digest": code_digest(),
    }


@functools.cache
def code_digest(parts: tuple[str, ...] = ()) -> str:
    """Digest of the package's own Python files, that of the data modules included.

    Args:
        parts: Folders or modules of ``lca_lightning`` to look at only, such as ``("model",)``; when empty,
            all of them and the data modules.

    Returns:
        64 hexadecimal digits; the same where the same source is installed.
    """
    package = Path(lca_lightning.__file__).parent
    folders = {"lca_lightning": package}
    modules = importlib.util.find_spec("lca_data_modules")
    if not parts and modules is not None and modules.origin:
        folders["lca_data_modules"] = Path(modules.origin).parent
    found = []
    for label, folder in folders.items():
        for path in folder.rglob("*.py"):
            inside = path.relative_to(folder)
            if not parts or inside.parts[0].removesuffix(".py") in parts:
                found.append((f"{label}/{inside.as_posix()}", path))
    return _combined((name, path.read_bytes()) for name, path in sorted(found))


def _git_state(folder: Path) -> tuple[str | None, bool | None]:
    """Revision and whether tracked files differ; Nones where the folder is not tracked by git."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "--no-optional-locks", "-C", str(folder), *words],
                capture_output=True,
                text=True,
                timeout=_GIT_SECONDS,
                env=environment,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None, None
    changes = git("status", "--porcelain", "--untracked-files=no")
    return git("rev-parse", "HEAD"), None if changes is None else bool(changes)


def library_versions() -> dict[str, str]:
    """Versions of Python, of this package and of the installed libraries that results depend on."""
    found = {"python": platform.python_version(), "lca-lightning": lca_lightning.__version__}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
