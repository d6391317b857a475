"""Where the pictures of an MP4 file lie in it, from its own tables (ISO/IEC 14496-12), without FFmpeg.

FFmpeg decodes several pictures to open a file, and seeks for every picture read. The tables give the place
of each compressed picture at once: a random frame costs one read and one decoded picture. Whatever is unusual
about a file (other codecs, reordered or fragmented pictures, edits, rotation) is left to FFmpeg.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from lca_lightning.datasets.video_source import SourceBytes, VideoSource, source_suffix

_LARGEST_MOOV = 2**28  # bytes; a damaged size must not fill the memory
_UPRIGHT = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
_ENTRY_HEADER = 78  # bytes of a visual sample entry before its own boxes


@dataclass(frozen=True)
class PacketTable:
    """Compressed pictures of a track in decoding order, which is the order of presentation.

    Args:
        codec: FFmpeg's name of the decoder.
        extradata: Parameter sets that the decoder needs first.
        offsets_N: Position of each in the file, bytes.
        sizes_N: Bytes of each.
        pts_N: Presentation time in ticks of ``time_base``.
        is_key_N: True where a picture can be decoded alone.
        time_base: Seconds per tick.
        matrix: Colour matrix that the container names (H.273), or 2 for none.
        size: Width and height in pixels where the pictures themselves do not say it.
    """

    codec: str
    extradata: bytes
    offsets_N: np.ndarray
    sizes_N: np.ndarray
    pts_N: np.ndarray
    is_key_N: np.ndarray
    time_base: Fraction
    matrix: int
    size: tuple[int, int] | None = None


class _UnusualFile(Exception):
    """This file is FFmpeg's business."""


def read_packet_table(source: VideoSource) -> PacketTable | None:
    """Read the tables of an MP4 file.

    Args:
        source: The file.

    Returns:
        Its table, or None for any file that is not a plain H.264 MP4 in order of presentation.
    """
    if source_suffix(source) not in (".mp4", ".mov"):
        return None
    try:
        data = SourceBytes(source)
    except OSError:
        return None
    try:
        return _parse_movie(_movie_box(data))
    except (_UnusualFile, struct.error, LookupError, ValueError, ArithmeticError):
        return None
    finally:
        data.close()


def _movie_box(data: SourceBytes) -> bytes:
    """Content of the ``moov`` box."""
    place = 0
    while place + 8 <= data.size:
        header = bytes(data.read(place, 16))
        size, kind = struct.unpack(">I4s", header[:8])
        start = 8
        if size == 1:
            (size,), start = struct.unpack(">Q", header[8:16]), 16
        if size < start or place + size > data.size:
            raise _UnusualFile
        if kind == b"moov":
            if size > _LARGEST_MOOV:
                raise _UnusualFile
            return bytes(data.read(place + start, size - start))
        place += size
    raise _UnusualFile


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and contents of the boxes in a box."""
    place = 0
    while place + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, place)
        if size < 8 or place + size > len(content):
            raise _UnusualFile
        yield kind, content[place + 8 : place + size]
        place += size


def _one(content: bytes, *path: bytes) -> bytes:
    """Content of the first box at the end of a path."""
    for name in path:
        found = next((inside for kind, inside in _boxes(content) if kind == name), None)
        if found is None:
            raise _UnusualFile
        content = found
    return content


def _parse_movie(movie: bytes) -> PacketTable:
    kinds = [kind for kind, _ in _boxes(movie)]
    if b"mvex" in kinds:  # fragmented
        raise _UnusualFile
    for kind, track in _boxes(movie):
        if kind == b"trak" and _one(track, b"mdia", b"hdlr")[8:12] == b"vide":
            return _parse_track(track, movie)
    raise _UnusualFile


def _parse_track(track: bytes, movie: bytes) -> PacketTable:
    header = _one(track, b"tkhd")
    matrix_at = 52 if header[0] == 1 else 40
    if header[matrix_at : matrix_at + 36] != _UPRIGHT:
        raise _UnusualFile
    _refuse_edits(track)
    media = _one(track, b"mdia", b"mdhd")
    (ticks,) = struct.unpack_from(">I", media, 20 if media[0] == 1 else 12)
    tables = dict(_boxes(_one(track, b"mdia", b"minf", b"stbl")))
    if b"ctts" in tables:  # reordered pictures
        raise _UnusualFile
    sizes_N = _sample_sizes(tables[b"stsz"])
    extradata, matrix = _description(tables[b"stsd"])
    counts, durations = _pairs(tables[b"stts"])
    if counts.sum() != len(sizes_N) or not len(sizes_N):
        raise _UnusualFile
    pts_N = np.concatenate([[0], np.cumsum(np.repeat(durations, counts))[:-1]])
    is_key_N = np.ones(len(sizes_N), bool)
    if b"stss" in tables:
        is_key_N[:] = False
        is_key_N[np.frombuffer(tables[b"stss"], ">u4", offset=8).astype(int) - 1] = True
    offsets_N = _sample_offsets(tables, sizes_N)
    time_base = Fraction(1, ticks)
    return PacketTable("h264", extradata, offsets_N, sizes_N, pts_N, is_key_N, time_base, matrix)


def _refuse_edits(track: bytes) -> None:
    edits = next((inside for kind, inside in _boxes(track) if kind == b"edts"), None)
    if edits is None:
        return
    table = _one(edits, b"elst")
    (count,) = struct.unpack_from(">I", table, 4)
    media_time = struct.unpack_from(">q", table, 16) if table[0] == 1 else struct.unpack_from(">i", table, 12)
    if count != 1 or media_time[0] != 0:
        raise _UnusualFile


def _description(table: bytes) -> tuple[bytes, int]:
    """Parameter sets and colour matrix of the only sample description."""
    (count,) = struct.unpack_from(">I", table, 4)
    ((kind, entry),) = list(_boxes(table[8:]))
    if count != 1 or kind != b"avc1":
        raise _UnusualFile
    inside = dict(_boxes(entry[_ENTRY_HEADER:]))
    color = inside.get(b"colr", b"")
    matrix = struct.unpack_from(">H", color, 8)[0] if color[:4] in (b"nclx", b"nclc") else 2
    if b"avcC" not in inside:
        raise _UnusualFile
    return inside[b"avcC"], matrix


def _pairs(table: bytes) -> tuple[np.ndarray, np.ndarray]:
    rows = np.frombuffer(table, ">u4", offset=8).astype(np.int64).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def _sample_sizes(table: bytes) -> np.ndarray:
    same, count = struct.unpack_from(">II", table, 4)
    if same:
        return np.full(count, same, np.int64)
    sizes_N = np.frombuffer(table, ">u4", offset=12).astype(np.int64)
    if len(sizes_N) != count:
        raise _UnusualFile
    return sizes_N


def _sample_offsets(tables: dict[bytes, bytes], sizes_N: np.ndarray) -> np.ndarray:
    """Position of each sample: the chunks' positions and the sizes of the samples before it in its chunk."""
    wide = b"co64" in tables
    chunks_C = np.frombuffer(tables[b"co64" if wide else b"stco"], ">u8" if wide else ">u4", offset=8)
    chunks_C = chunks_C.astype(np.int64)
    runs = np.frombuffer(tables[b"stsc"], ">u4", offset=8).astype(np.int64).reshape(-1, 3)
    lengths = np.diff(np.append(runs[:, 0], len(chunks_C) + 1))
    samples_C = np.repeat(runs[:, 1], lengths)
    if samples_C.sum() != len(sizes_N) or len(samples_C) != len(chunks_C):
        raise _UnusualFile
    before_N = np.cumsum(sizes_N) - sizes_N
    first_C = np.cumsum(samples_C) - samples_C
    return np.repeat(chunks_C - before_N[first_C], samples_C) + before_N
