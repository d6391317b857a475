"""Lossless pictures found by their place in the file are those that FFmpeg finds by seeking."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import av
import numpy as np
import pytest

from lca_lightning.datasets import video_reader
from lca_lightning.datasets.matroska_packets import read_matroska_table
from lca_lightning.datasets.video_index import VideoError
from lca_lightning.datasets.video_reader import BrokenFramesWarning, VideoReader
from lca_lightning.datasets.video_source import VideoBytes

COUNT, HEIGHT, WIDTH = 12, 34, 46


def write(path: Path, codec: str = "ffv1", pixels: str = "gray", group: int = 1) -> np.ndarray:
    generator = np.random.default_rng(0)
    pictures = generator.integers(0, 256, (COUNT, HEIGHT, WIDTH), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
        stream.codec_context.gop_size = group
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(picture, format="gray").reformat(format=pixels)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return pictures


def test_pictures_are_those_that_were_written(tmp_path: Path) -> None:
    path = tmp_path / "mask.mkv"
    pictures = write(path)
    table = read_matroska_table(path)
    assert table is not None and len(table.pts_N) == COUNT
    found = VideoReader(path, fps=30, pixels="gray").read([7, 0, 11, 7])
    assert sorted(found) == [0, 7, 11]
    assert all(np.array_equal(found[frame], pictures[frame]) for frame in found)


def test_ffmpegs_own_way_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mask.mkv"
    write(path)
    ours = VideoReader(path, fps=30, pixels="gray").read(range(COUNT))
    monkeypatch.setattr(video_reader, "read_matroska_table", mock.Mock(return_value=None))
    theirs = VideoReader(path, fps=30, pixels="gray").read(range(COUNT))
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[frame], theirs[frame]) for frame in ours)


def test_a_file_in_memory_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "mask.mkv"
    pictures = write(path)
    source = VideoBytes("pack/mask.mkv", path.read_bytes())
    assert read_matroska_table(source) is not None
    assert np.array_equal(VideoReader(source, fps=30, pixels="gray").read([5])[5], pictures[5])


def test_other_files_are_left_to_ffmpeg(tmp_path: Path) -> None:
    write(tmp_path / "lossy.mkv", "libx264", "yuv420p")
    write(tmp_path / "mask.nut")
    write(tmp_path / "groups.mkv", group=6)  # later pictures lean on what was learned from earlier ones
    assert read_matroska_table(tmp_path / "groups.mkv") is None
    assert read_matroska_table(tmp_path / "lossy.mkv") is None
    assert read_matroska_table(tmp_path / "mask.nut") is None
    assert read_matroska_table(tmp_path / "nowhere.mkv") is None


def test_a_damaged_picture_is_replaced_by_its_neighbour(tmp_path: Path) -> None:
    path = tmp_path / "mask.mkv"
    pictures = write(path)
    table = read_matroska_table(path)
    assert table is not None
    content = bytearray(path.read_bytes())
    start = int(table.offsets_N[4])
    content[start : start + 40] = b"\xff" * 40
    path.write_bytes(content)
    with pytest.warns(BrokenFramesWarning, match="first met is 4"):
        found = VideoReader(path, fps=30, pixels="gray").read([4, 9])
    assert any(np.array_equal(found[4], pictures[near]) for near in (3, 5))
    assert np.array_equal(found[9], pictures[9])


def test_a_truncated_file_gives_what_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "mask.mkv"
    pictures = write(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    found = VideoReader(path, fps=30, pixels="gray").read([2])
    assert np.array_equal(found[2], pictures[2])
    path.write_bytes(content[:40])
    with pytest.raises(VideoError):
        VideoReader(path, fps=30, pixels="gray")
