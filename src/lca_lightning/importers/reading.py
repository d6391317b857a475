"""Reading what data sets are made of: pictures, archives, meshes, videos; nothing is unpacked or executed."""

from __future__ import annotations

import csv
import io
import json
import re
import struct
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from lca_lightning.errors import DataError
from lca_lightning.importers.source import FloatArray
from lca_lightning.preprocessing.frames import SourceVideo

_LARGEST_MEMBER = 1 << 29  # an archive's member that claims to be larger is a trap, not a picture


@lru_cache(maxsize=64)
def _archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(
            f"The archive {path} is missing or cut short ({type(error).__name__}); get it again."
        ) from error


def archive_names(path: Path) -> list[str]:
    """Names of the files inside a zip archive."""
    return [name for name in _archive(path).namelist() if not name.endswith("/")]


def read_member(path: Path, name: str) -> bytes:
    """One file of a zip archive, in memory; names inside never become paths.

    Args:
        path: The archive.
        name: Name inside.

    Raises:
        DataError: The archive or the file is missing or damaged.
    """
    archive = _archive(path)
    try:
        if archive.getinfo(name).file_size > _LARGEST_MEMBER:
            raise DataError(f"{name} in {path} claims to be larger than 512 MiB; it was not read.")
        return archive.read(name)
    except KeyError as error:
        raise DataError(f"{path} holds no {name}; get the archive again.") from error
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        raise DataError(f"{name} in {path} is damaged ({type(error).__name__}); get it again.") from error


def numbered_members(path: Path, suffix: str) -> dict[int, str]:
    """Files ``.../000123.suffix`` of an archive by their number."""
    found = {}
    for name in archive_names(path):
        match = re.search(rf"(\d+)\.{suffix}$", name)
        if match:
            found[int(match.group(1))] = name
    return found


def picture_size(content: Path | bytes, name: str = "") -> tuple[int, int]:
    """Width and height of a picture without decoding it."""
    return _open_picture(content, name).size


def read_picture(content: Path | bytes, name: str = "", mode: str = "RGB") -> NDArray[np.uint8]:
    """Decode a picture.

    Args:
        content: A file or its bytes.
        name: What to call it in messages.
        mode: ``"RGB"`` or ``"L"``; pictures of 16 bits keep their upper 8.

    Returns:
        uint8 ``(H, W, 3)`` or ``(H, W)``.

    Raises:
        DataError: It is missing or broken.
    """
    try:
        picture = _open_picture(content, name)
        if picture.mode.startswith("I"):  # Pillow would clip 16 bits at 255
            values = np.asarray(picture, np.int64).clip(0, 65535)
            picture = Image.fromarray((values // (257 if values.max() > 255 else 1)).astype(np.uint8))
        return np.asarray(picture.convert(mode), np.uint8)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"The picture {_label(content, name)} is damaged ({error}); get it again.") from error


def read_labels(content: Path | bytes, name: str = "") -> NDArray[np.uint8]:
    """Class numbers of a segmentation picture: palettes stay indices, ``(H, W)`` uint8."""
    picture = _open_picture(content, name)
    try:
        labels = np.asarray(picture if picture.mode in ("P", "L", "I", "I;16") else picture.convert("L"))
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"The picture {_label(content, name)} is damaged ({error}); get it again.") from error
    return np.minimum(labels, 255).astype(np.uint8)


def _label(content: Path | bytes, name: str) -> str:
    return name or (content.name if isinstance(content, Path) else "in memory")


def _open_picture(content: Path | bytes, name: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content) if isinstance(content, bytes) else content)
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"The picture {_label(content, name)} is missing or unreadable "
            f"({type(error).__name__}); get it again."
        ) from error


def video_frames(video: SourceVideo, indices: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
    """Chosen frames of a video in rising order, decoded one after the other.

    Args:
        video: The file.
        indices: Frame numbers, rising.
    """
    wanted = iter(indices)
    number = next(wanted, None)
    for index, frame in enumerate(video):
        if number is None:
            return
        if index == number:
            yield frame
            number = next(wanted, None)


def read_json_file(path: Path) -> Any:
    """Any JSON value.

    Raises:
        DataError: The file is missing or broken.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path} is missing or no valid JSON ({type(error).__name__}); get it again."
        ) from error


def read_table(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """Rows of a CSV file that must have some columns.

    Raises:
        DataError: The file or a column is missing.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeError, csv.Error) as error:
        raise DataError(
            f"{path} is missing or no CSV file ({type(error).__name__}); get it again."
        ) from error
    missing = [name for name in columns if not rows or name not in rows[0]]
    if missing:
        raise DataError(f"{path} lacks the column {missing[0]} or has no row; get it again.")
    return rows


_PLY_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip


def ply_vertices(content: bytes, name: str = "") -> FloatArray:
    """Vertex positions of a PLY file, ``(V, 3)`` in its own units.

    Args:
        content: The file, ASCII or binary.
        name: What to call it in messages.

    Raises:
        DataError: It is no PLY file or breaks off.
    """
    try:
        head, body = content.split(b"end_header\n", 1)
        lines = [line.split() for line in head.decode("ascii").splitlines()]
        layout = next(line[1] for line in lines if line and line[0] == "format")
        start = next(i for i, line in enumerate(lines) if line[:2] == ["element", "vertex"])
        if any(line and line[0] == "element" for line in lines[:start]):
            raise ValueError("its vertices do not come first")
        count, fields = int(lines[start][2]), []
        if count < 0:
            raise ValueError("its number of vertices is negative")
        for line in lines[start + 1 :]:
            if not line or line[0] != "property":
                break
            fields.append((line[2], _PLY_TYPES[line[1]]))
        if layout == "ascii":
            rows = [row.split()[: len(fields)] for row in body.decode("ascii").splitlines()[:count]]
            if len(rows) < count:
                raise ValueError(f"it has {len(rows)} of {count} vertices")
            table = {field: [float(row[i]) for row in rows] for i, (field, _) in enumerate(fields)}
        else:
            order = "<" if layout == "binary_little_endian" else ">"
            dtype = np.dtype([(field, order + kind) for field, kind in fields])
            table = np.frombuffer(body, dtype, count)  # type: ignore[assignment]
        return np.stack([np.asarray(table[axis], np.float64) for axis in "xyz"], -1)
    except (ValueError, StopIteration, KeyError, IndexError, UnicodeError, struct.error) as error:
        raise DataError(f"The mesh {name} is no complete PLY file ({error}); get it again.") from error


def snapped_up_axis(rotations_N33: Sequence[FloatArray]) -> str:
    """The world axis nearest to the mean up direction of cameras, for sets that name none.

    Args:
        rotations_N33: World-to-camera rotations, OpenCV axes.

    Returns:
        ``"y"``, ``"-y"``, ``"z"``, ``"-z"``, ``"x"`` or ``"-x"``.
    """
    mean = -np.mean([rotation[1] for rotation in rotations_N33], axis=0)
    axis = int(np.abs(mean).argmax())
    return ("-" if mean[axis] < 0 else "") + "xyz"[axis]
