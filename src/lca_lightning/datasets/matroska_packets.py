"""Where the pictures of a lossless Matroska file lie in it: masks, linear pictures and layers.

FFmpeg finds the packets once; each later picture then costs one read and one decoded picture, without a seek
and without draining the decoder.
"""

from __future__ import annotations

import av
import numpy as np
from av.packet import Packet

from lca_lightning.datasets.video_packets import PacketTable
from lca_lightning.datasets.video_source import SourceBytes, VideoSource, as_file, source_suffix

_BLOCK_HEADER = 4  # bytes before the content of a block: track, time (2), flags
_UNSPECIFIED_MATRIX = 2  # H.273


def read_matroska_table(source: VideoSource) -> PacketTable | None:
    """Find the pictures of a file whose every picture is decoded alone.

    Args:
        source: The file.

    Returns:
        Its table, or None for any file that is not a plain FFV1 Matroska file; FFmpeg reads those.
    """
    if source_suffix(source) != ".mkv":
        return None
    try:
        content = SourceBytes(source)
    except OSError:
        return None
    try:
        with av.open(as_file(source), "r") as container:
            stream = container.streams.video[0]
            if stream.codec_context.name != "ffv1" or stream.time_base is None:
                return None
            places: list[tuple[int, int, int]] = []
            for packet in container.demux(stream):
                if packet.size:
                    place = _place(packet, content)
                    if place is None or (places and place[2] <= places[-1][2]):
                        return None
                    places.append(place)
            extradata = bytes(stream.codec_context.extradata or b"")
            time_base, size = stream.time_base, (stream.width, stream.height)
    except (OSError, LookupError, av.FFmpegError):
        return None  # a damaged file
    finally:
        content.close()
    if not places:
        return None
    offsets_N, sizes_N, pts_N = np.array(places, np.int64).T
    keys_N = np.ones(len(places), bool)
    return PacketTable(
        "ffv1", extradata, offsets_N, sizes_N, pts_N, keys_N, time_base, _UNSPECIFIED_MATRIX, size
    )


def _place(packet: Packet, content: SourceBytes) -> tuple[int, int, int] | None:
    """Offset, size and time of a packet; None where its bytes do not stand in the file as they are."""
    if packet.pts is None or packet.pos is None or not packet.is_keyframe or packet.is_discard:
        return None
    offset = packet.pos + _BLOCK_HEADER
    if bytes(content.read(offset, packet.size)) != bytes(packet):
        return None
    return offset, packet.size, packet.pts
