"""Which packet of a video file holds which frame, found by reading packet headers without decoding."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.container import InputContainer

from lca_lightning.datasets.video_packets import PacketTable
from lca_lightning.datasets.video_source import VideoSource, as_file, source_size
from lca_lightning.errors import DataError

BT709 = 1  # of matrix, primaries and transfer, the number of H.273


class VideoError(DataError):
    """A video file cannot be read or written."""


@dataclass(frozen=True)
class VideoIndex:
    """Packets of a video stream in decoding order and the frames they hold.

    Args:
        pts_N: Presentation time of each packet in ticks of ``time_base``.
        dts_N: Decoding time of each packet in the same ticks.
        is_key_N: True where a packet can be decoded alone.
        packet_of_frame: Decoding position of each frame index; frames whose packet was lost are absent.
        frame_of_pts: Frame index by presentation time.
        start_of_frame: Decoding position of the key packet from which each frame must be decoded.
        frame_count: Frames of the file, lost ones within included.
        time_base: Seconds per tick.
        fps: Average frames per second.
    """

    pts_N: np.ndarray
    dts_N: np.ndarray
    is_key_N: np.ndarray
    packet_of_frame: dict[int, int]
    frame_of_pts: dict[int, int]
    start_of_frame: dict[int, int]
    frame_count: int
    time_base: Fraction
    fps: float


def open_video(path: VideoSource) -> InputContainer:
    """Open a video file for reading.

    Args:
        path: The file.

    Returns:
        A PyAV container with at least one video stream.

    Raises:
        VideoError: The file is missing, empty, truncated beyond use, or holds no video.
    """
    size = source_size(path)
    if size < 0:
        raise VideoError(f"There is no video file {path}; check the path.")
    if size == 0:
        raise VideoError(f"The video {path} is empty (0 bytes); copy or record it again.")
    try:
        container: InputContainer = av.open(as_file(path), "r")
    except (OSError, av.FFmpegError) as error:
        raise VideoError(
            f"{path} cannot be opened as a video, it is truncated or of another format; copy it again."
        ) from error
    if not container.streams.video:
        container.close()
        raise VideoError(f"{path} holds no video stream; give a video file.")
    return container


def build_index(path: VideoSource, fps: float | None = None) -> VideoIndex:
    """Read the packet headers of a video.

    Args:
        path: The file.
        fps: When given, a frame's index is its time multiplied by it, so that frames lost in a damaged file
            do not shift the later ones; without it frames are numbered in order of presentation.

    Returns:
        The index.

    Raises:
        VideoError: The file cannot be opened or holds no packets.
    """
    with open_video(path) as container:
        stream = container.streams.video[0]
        rows = _packet_rows(container)
        rate = stream.average_rate or stream.guessed_rate or Fraction(30)
        time_base = stream.time_base or Fraction(1, 1000)
    if not rows:
        raise VideoError(f"No frame of {path} can be decoded, the file is damaged; copy or record it again.")
    pts_N, dts_N, key_N, shown_N = (np.array(column) for column in zip(*rows, strict=True))
    return _make_index(pts_N, dts_N, key_N.astype(bool), shown_N.astype(bool), time_base, float(rate), fps)


def index_of_table(table: PacketTable, fps: float | None = None) -> VideoIndex:
    """The index of a file whose own tables say where its pictures are; see :func:`build_index`."""
    ticks = int(table.pts_N[-1] - table.pts_N[0])
    rate = float((len(table.pts_N) - 1) / (ticks * table.time_base)) if ticks else 30.0
    shown_N = np.ones(len(table.pts_N), bool)
    return _make_index(table.pts_N, table.pts_N, table.is_key_N.copy(), shown_N, table.time_base, rate, fps)


def _make_index(
    pts_N: np.ndarray,
    dts_N: np.ndarray,
    key_N: np.ndarray,
    shown_N: np.ndarray,
    time_base: Fraction,
    rate: float,
    fps: float | None,
) -> VideoIndex:
    key_N[0] = True  # whatever stands first is the only place to start from
    packet_of_frame = _number_frames(pts_N, shown_N, time_base, fps)
    return VideoIndex(
        pts_N=pts_N,
        dts_N=dts_N,
        is_key_N=key_N,
        packet_of_frame=packet_of_frame,
        frame_of_pts={int(pts_N[packet]): frame for frame, packet in packet_of_frame.items()},
        start_of_frame=_start_packets(pts_N, np.flatnonzero(key_N), packet_of_frame),
        frame_count=max(packet_of_frame) + 1,
        time_base=time_base,
        fps=rate,
    )


def _packet_rows(container: InputContainer) -> list[tuple[int, int, bool, bool]]:
    """``(pts, dts, is key, is shown)`` of every packet with a time; a damaged tail ends the list."""
    rows: list[tuple[int, int, bool, bool]] = []
    try:
        for packet in container.demux(container.streams.video[0]):
            time = packet.pts if packet.pts is not None else packet.dts
            if time is None or not packet.size:
                continue
            decoding_time = packet.dts if packet.dts is not None else time
            rows.append((time, decoding_time, packet.is_keyframe, not packet.is_discard))
    except (OSError, av.FFmpegError):
        return rows
    return rows


def _number_frames(
    pts_N: np.ndarray, shown_N: np.ndarray, time_base: Fraction, fps: float | None
) -> dict[int, int]:
    """Map frame index to decoding position, by presentation order or by time."""
    shown = np.flatnonzero(shown_N) if shown_N.any() else np.arange(len(pts_N))
    ordered = shown[np.argsort(pts_N[shown], kind="stable")]
    if fps is None:
        return {frame: int(packet) for frame, packet in enumerate(ordered)}
    frames = np.rint(pts_N[ordered] * float(time_base) * fps).astype(int)
    return {int(frame): int(packet) for frame, packet in zip(frames, ordered, strict=True) if frame >= 0}


def _start_packets(pts_N: np.ndarray, keys: np.ndarray, packet_of_frame: dict[int, int]) -> dict[int, int]:
    """Last key packet at or before each frame in decoding order that is not presented after it.

    Pictures that follow a key packet but are shown before it (open groups) lean on the group before.
    """
    if len(keys) == len(pts_N):
        return dict(packet_of_frame)
    starts: dict[int, int] = {}
    for frame, packet in packet_of_frame.items():
        before = int(np.searchsorted(keys, packet, side="right")) - 1
        while before > 0 and pts_N[keys[before]] > pts_N[packet]:
            before -= 1
        starts[frame] = int(keys[max(before, 0)])
    return starts
