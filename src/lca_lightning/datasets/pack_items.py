"""Items of a pack: whole sequences or parts of long ones, as one run of bytes each.

A part is every M-th frame. Of a light stage it is a run of frames that begins with a fully lit one: every
M-th frame could be all lit, or all dark.

An item is a safetensors file whose arrays are the sequence's files by their paths. Nothing is pickled.
"""

from __future__ import annotations

import io
import json
import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.packet import Packet
from safetensors import SafetensorError
from safetensors.numpy import load, save

from lca_lightning.datasets.sequence import Sequence
from lca_lightning.datasets.video_index import open_video
from lca_lightning.datasets.video_packets import read_packet_table
from lca_lightning.datasets.video_reader import VideoReader
from lca_lightning.datasets.video_source import SourceBytes, VideoSource
from lca_lightning.errors import DataError

_OF_THE_WHOLE = ("identity", "lights/positions", "lights/reference_distance")  # the same in every frame
LARGEST_ITEM_BYTES = 2**32 - 2**24  # litdata counts bytes within a chunk in 32 bits
_LIT_FRAMES = 3  # of a part of a light stage at least, so that references leave some to the targets
_FORMATS = {".mp4": "mp4", ".mkv": "matroska"}


@dataclass(frozen=True)
class Part:
    """Frames of a sequence that make an item: ``first``, ``first + step``, ... or a run of them.

    Args:
        sequence: Id of the sequence.
        first: Number of the part.
        step: Number of parts.
        run: First frame and the one after the last, where parts are runs.
    """

    sequence: str
    first: int = 0
    step: int = 1
    run: tuple[int, int] | None = None

    @property
    def id(self) -> str:
        """Name of the item."""
        return self.sequence if self.step == 1 else f"{self.sequence}.{self.first:04d}of{self.step:04d}"

    def frames(self, count: int) -> range:
        """Frames of the part, of ``count`` of the sequence."""
        return range(self.first, count, self.step) if self.run is None else range(*self.run)


def part_count(frames: int, cameras: int, pictures_per_item: int) -> int:
    """Into how many items a sequence goes: each keeps two frames at least."""
    return max(1, min(math.ceil(frames * cameras / pictures_per_item), frames // 2))


def parts_of(sequence: Sequence, wanted: int) -> list[Part]:
    """Parts that a sequence goes into, ``wanted`` of them or fewer.

    Args:
        sequence: The sequence; one that is not compressed picture by picture stays whole.
        wanted: Parts that were planned.

    Returns:
        Parts that hold every frame once; in light stages each has three fully lit frames at least.

    Raises:
        DataError: A file cannot be read.
    """
    whole = [Part(sequence.id)]
    if wanted == 1 or not can_be_split(sequence):
        return whole
    lights = sequence.signals.lights
    if lights is None:
        return [Part(sequence.id, first, wanted) for first in range(wanted)]
    lit = np.flatnonzero(lights.fully_lit_T.astype(bool) & sequence.signals.frame_valid_T.astype(bool))
    count = min(wanted, len(lit) // _LIT_FRAMES)
    if count < 2:
        return whole
    starts = lit[np.arange(1, count) * len(lit) // count].tolist()
    runs = zip([0, *starts], [*starts, sequence.frame_count], strict=True)
    return [Part(sequence.id, number, count, run) for number, run in enumerate(runs)]


def check_sequence(sequence: Sequence) -> None:
    """Refuse a sequence whose signals do not fit, or whose videos lack frames or do not decode.

    Raises:
        DataError: Names the file.
    """
    sequence.signals  # noqa: B018  read and checked at first use
    for path in sequence.video_files():
        reader = VideoReader(sequence.files.video(path), sequence.fps)
        try:
            found = len(reader.index.packet_of_frame)
            if found != sequence.frame_count or reader.index.frame_count != sequence.frame_count:
                raise DataError(
                    f"{sequence.files.label(path)} has {found} of {sequence.frame_count} frames; "
                    "make the sequence again."
                )
            reader.first_picture()
        finally:
            reader.close()


def pack_item(sequence: Sequence, part: Part) -> tuple[bytes, dict[str, Any]]:
    """Bytes of an item and what the index says of it.

    Args:
        sequence: A sequence of a plain data set.
        part: Its frames.

    Returns:
        The bytes, and a row with ``id``, ``subject``, ``split``, ``frames`` and ``cameras``.

    Raises:
        DataError: A file cannot be read, or the item would be too large.
        OSError: A file cannot be read.
    """
    frames = part.frames(sequence.frame_count)
    size = sum(sequence.files.size(path) for path in sequence.video_files())
    size = size * len(frames) // sequence.frame_count
    if size > LARGEST_ITEM_BYTES:
        raise DataError(
            f"{part.id} would be an item of {size / 1e9:.1f} GB and a chunk holds "
            f"{LARGEST_ITEM_BYTES / 1e9:.1f} GB; lower --frames-per-item, or cut the sequence where not "
            "every picture of it is a key picture."
        )
    files = (_whole if part.step == 1 else _split)(sequence, part)
    arrays = {path: np.frombuffer(content, np.uint8) for path, content in files.items()}
    row = {"id": part.id, "subject": sequence.subject, "split": sequence.split}
    return save(arrays), {**row, "frames": len(frames), "cameras": len(sequence.cameras)}


def unpack_item(content: bytes, label: str) -> dict[str, memoryview]:
    """Files of an item by path, without copies.

    Raises:
        DataError: The bytes are no item.
    """
    view = memoryview(content)
    try:
        header_size = int.from_bytes(view[:8], "little")
        header = json.loads(bytes(view[8 : 8 + header_size]))
        header.pop("__metadata__", None)
        body = view[8 + header_size :]
        files = {}
        for path, entry in header.items():
            start, stop = entry["data_offsets"]
            if entry["dtype"] != "U8" or not 0 <= start <= stop <= len(body):
                raise ValueError("a file lies outside the item")
            files[str(path)] = body[start:stop]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{label} of the pack is damaged ({error}); pack the data again.") from error
    return files


def _whole(sequence: Sequence, part: Part) -> dict[str, bytes]:
    """The files of a sequence that this program reads; what else lies beside them stays in the folder."""
    paths = ("sequence.json", "signals.safetensors", *sequence.video_files())
    return {path: sequence.files.read(path) for path in paths}


def _split(sequence: Sequence, part: Part) -> dict[str, bytes]:
    """A smaller sequence of the part's frames."""
    frames = part.frames(sequence.frame_count)
    description = {**sequence.description, "frames": len(frames)}
    description["part"] = {"sequence": part.sequence, "first": frames.start, "step": frames.step}
    try:
        arrays = load(sequence.files.read("signals.safetensors"))
    except SafetensorError as error:
        raise DataError(
            f"{sequence.files.label('signals.safetensors')} is truncated; make it again."
        ) from error
    chosen = {
        name: array
        if name in _OF_THE_WHOLE
        else np.ascontiguousarray(array[frames.start : frames.stop : frames.step])
        for name, array in arrays.items()
    }
    poses = _interpolated_poses(sequence, frames)
    if poses:
        chosen.update(poses)
        description["quality"] = {**sequence.quality, "pose_fitted": "interpolated"}
    files = {"sequence.json": json.dumps(description).encode(), "signals.safetensors": save(chosen)}
    for path in sequence.video_files():
        files[path] = copy_pictures(sequence.files.video(path), frames, sequence.fps)
    return files


def _interpolated_poses(sequence: Sequence, frames: range) -> dict[str, np.ndarray]:
    """Poses of a light stage fitted in fully lit frames: a part lacks such frames beyond its ends."""
    if sequence.signals.lights is None:
        return {}
    from lca_lightning.datasets.light_stage import fitted_frames, interpolate_signals

    fitted_T = fitted_frames(sequence)
    if fitted_T is None or not fitted_T.any():
        return {}
    rows = interpolate_signals(sequence.signals, fitted_T, np.array(frames, int))
    names = ("rotations", "translation", "expression", "gaze")
    return {name: np.ascontiguousarray(row, np.float32) for name, row in zip(names, rows, strict=True)}


def can_be_split(sequence: Sequence) -> bool:
    """Whether every picture is compressed on its own, so that it can be copied into another file."""
    for path in sequence.video_files():
        reader = VideoReader(sequence.files.video(path), sequence.fps)
        reader.close()
        if not reader.index.is_key_N.all():
            return False
    return True


def copy_pictures(source: VideoSource, frames: range, fps: float) -> bytes:
    """Copy compressed pictures into a new video of the same kind without decoding them.

    Args:
        source: A video of which every picture is a key picture, of constant rate.
        frames: Which pictures.
        fps: Frames per second.

    Returns:
        The new file, in which the pictures follow each other at the same rate.

    Raises:
        DataError: A picture is missing.
    """
    rate = Fraction(fps).limit_denominator(1001)
    place_of = {frame: place for place, frame in enumerate(frames)}
    buffer, written = io.BytesIO(), 0
    suffix = Path(str(source)).suffix
    with (
        open_video(source) as container,
        av.open(buffer, "w", format=_FORMATS[suffix], options={"fflags": "+bitexact"}) as out,
    ):
        stream = container.streams.video[0]
        copy = out.add_stream_from_template(stream)
        for frame, packet in _packets(source, container, frames, fps):
            if frame not in place_of:
                continue
            packet.stream = copy
            packet.pts = packet.dts = place_of[frame]
            packet.duration, packet.time_base = 1, 1 / rate
            packet.is_keyframe = True
            out.mux(packet)
            written += 1
    if written != len(frames):
        raise DataError(f"{source} holds {written} of {len(frames)} wanted frames; make it again.")
    return buffer.getvalue()


def _packets(source: VideoSource, container: Any, frames: range, fps: float) -> Any:
    """``(frame, packet)``: only the wanted ones where the file's tables are known, else all."""
    table = read_packet_table(source)
    if table is None:
        for packet in container.demux(container.streams.video[0]):
            if packet.size and packet.pts is not None:
                yield round(packet.pts * packet.time_base * Fraction(fps)), packet
        return
    numbers = np.rint(table.pts_N * float(table.time_base) * fps).astype(int)
    place_of = {int(frame): place for place, frame in enumerate(numbers)}
    data = SourceBytes(source)
    for frame in frames:
        if frame in place_of:
            place = place_of[frame]
            yield frame, Packet(bytes(data.read(int(table.offsets_N[place]), int(table.sizes_N[place]))))
    data.close()
