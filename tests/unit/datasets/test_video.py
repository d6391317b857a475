from __future__ import annotations

import multiprocessing
import struct
import subprocess
import sys
import warnings
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from lca_lightning.datasets.video import (
    BrokenFramesWarning,
    VideoError,
    VideoWriter,
    broken_frame_count,
    iterate_frames,
    probe_video,
    read_frames,
)
from lca_lightning.datasets.video_reader import VideoReader


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(((a.astype(float) - b) ** 2).mean() / 255**2))


def zero_bytes(source: Path, target: Path, packet: int) -> Path:
    """Copy a video with the bytes of one packet set to zero."""
    with av.open(str(source)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(source.read_bytes())
    position, size = packets[packet]
    data[position : position + size] = bytes(size)
    target.write_bytes(data)
    return target


def test_color_round_trip_keeps_size_rate_and_colours(counter, counter_video):
    info = probe_video(counter_video)
    assert (info.width, info.height, info.fps, info.frames, info.rotation) == (96, 64, 30.0, 48, 0)
    frames = read_frames(counter_video, [3, 20])
    for index, image in frames.items():
        assert psnr(image[12:], counter.frame(index)[12:]) > 36
        assert (
            np.abs(image[12:].astype(float).mean((0, 1)) - counter.frame(index)[12:].mean((0, 1))).max() < 2.5
        )


def test_every_frame_index_is_exact_in_any_order(counter, counter_video):
    asked = [47, 0, 7, 8, 9, 31, 32, 15, 16, 47]
    frames = read_frames(counter_video, asked)
    assert {index: counter.read(image) for index, image in frames.items()} == {
        index: index for index in asked
    }
    assert [counter.read(image) for _, image in iterate_frames(counter_video, 5, 40, 3)] == list(
        range(5, 40, 3)
    )


@pytest.mark.parametrize(("gop", "b_frames", "open_gop"), [(12, 2, 0), (250, 3, 0), (10, 2, 1), (1, 0, 0)])
def test_exact_with_reordered_and_open_groups(tmp_path, counter, gop, b_frames, open_gop):
    path = tmp_path / "foreign.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(24000, 1001))
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.options = {"g": str(gop), "bf": str(b_frames), "x264-params": f"open-gop={open_gop}:b-adapt=0"}
        for index in range(60):
            picture = av.VideoFrame.from_ndarray(counter.frame(index), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    assert probe_video(path).frames == 60
    generator = np.random.default_rng(1)
    for _ in range(4):
        asked = generator.choice(60, 7, replace=False)
        frames = read_frames(path, asked)
        assert all(counter.read(image) == index for index, image in frames.items())
        assert len(frames) == 7
    assert [counter.read(image) for _, image in iterate_frames(path)] == list(range(60))


def test_gray_is_lossless(tmp_path):
    masks = np.random.default_rng(0).integers(0, 256, (5, 33, 47), dtype=np.uint8)
    with VideoWriter(tmp_path / "mask.mkv", 29.97, 47, 33, gray=True) as writer:
        for mask in masks:
            writer.add(mask)
    read = read_frames(tmp_path / "mask.mkv", range(5), gray=True, fps=29.97)
    assert all(np.array_equal(read[index], masks[index]) for index in range(5))


def test_odd_sizes_are_padded_by_repetition(tmp_path, counter):
    image = counter.frame(9)[:63, :95]
    with VideoWriter(tmp_path / "odd.mp4", 25, 95, 63) as writer:
        writer.add(image)
    read = read_frames(tmp_path / "odd.mp4", [0])[0]
    assert read.shape == (64, 96, 3)
    assert psnr(read[20:63, :95], image[20:]) > 36


def test_a_broken_group_is_replaced_by_the_nearest_good_frames(tmp_path, counter, counter_video):
    path = zero_bytes(counter_video, tmp_path / "broken.mp4", packet=18)  # group 16..23, from 18 on
    with pytest.warns(BrokenFramesWarning, match="broken frames"):
        frames = read_frames(path, range(14, 27))
    assert [counter.read(frames[i]) for i in range(14, 27)] == [
        14,
        15,
        16,
        17,
        17,
        17,
        17,
        24,
        24,
        24,
        24,
        25,
        26,
    ]
    assert broken_frame_count(path) == 6
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert counter.read(read_frames(path, [19])[19]) == 17
        assert counter.read(read_frames(path, [40])[40]) == 40


def test_streaming_a_broken_file_repeats_the_last_good_frame(tmp_path, counter, counter_video):
    middle = zero_bytes(counter_video, tmp_path / "middle.mp4", packet=18)
    with pytest.warns(BrokenFramesWarning):
        frames = [(index, counter.read(image)) for index, image in iterate_frames(middle)]
    assert frames == [(i, 17 if 18 <= i < 24 else i) for i in range(48)]
    first = zero_bytes(counter_video, tmp_path / "first.mp4", packet=0)
    with pytest.warns(BrokenFramesWarning):
        frames = [(index, counter.read(image)) for index, image in iterate_frames(first)]
    assert frames == [(i, 8 if i < 8 else i) for i in range(48)]
    last = zero_bytes(counter_video, tmp_path / "last.mp4", packet=45)
    with pytest.warns(BrokenFramesWarning):
        frames = [(index, counter.read(image)) for index, image in iterate_frames(last)]
    assert frames == [(i, min(i, 44)) for i in range(48)]


def test_lost_mask_packets_do_not_shift_later_frames(tmp_path):
    path = tmp_path / "mask.mkv"
    written = np.random.default_rng(0).integers(0, 256, (60, 64, 64), dtype=np.uint8)
    with VideoWriter(path, 30, 64, 64, gray=True) as writer:
        for mask in written:
            writer.add(mask)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 9000] = bytes(9000)
    path.write_bytes(data)
    with pytest.warns(BrokenFramesWarning):
        masks = read_frames(path, range(60), fps=30, gray=True)
    exact = [index for index in range(60) if np.array_equal(masks[index], written[index])]
    assert 59 in exact and 0 in exact and len(exact) >= 40
    assert broken_frame_count(path) == 60 - len(exact)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_truncated_files(tmp_path, counter, suffix):
    path = tmp_path / f"whole{suffix}"
    with VideoWriter(path, 30, 96, 64) as writer:
        for index in range(48):
            writer.add(counter.frame(index))
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if suffix == ".mp4":  # its table of contents stands at the end
        with pytest.raises(VideoError, match="truncated"):
            probe_video(cut)
    else:
        frames = probe_video(cut).frames
        assert 10 < frames < 40
        assert counter.read(read_frames(cut, [9])[9]) == 9
        with pytest.raises(VideoError, match="there is no frame 47"):
            read_frames(cut, [47])


def test_nothing_decodes(tmp_path, counter_video):
    with av.open(str(counter_video)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(counter_video.read_bytes())
    for position, size in packets:
        data[position : position + size] = bytes(size)
    (tmp_path / "dead.mp4").write_bytes(data)
    with pytest.raises(VideoError, match="No frame of .* can be decoded"):
        probe_video(tmp_path / "dead.mp4")
    with pytest.raises(VideoError, match="No frame of .* can be decoded"):
        read_frames(tmp_path / "dead.mp4", [4])
    with pytest.raises(VideoError, match="No frame of .* can be decoded"):
        list(iterate_frames(tmp_path / "dead.mp4"))


def test_missing_empty_and_foreign_files(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video")
    for name, message in (("missing", "no video file"), ("empty", "empty"), ("text", "cannot be opened")):
        with pytest.raises(VideoError, match=message):
            read_frames(tmp_path / f"{name}.mp4", [0])


@pytest.mark.parametrize(("matrix", "turns"), [((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)])
def test_rotation_metadata_is_honoured(tmp_path, counter_video, matrix, turns):
    data = bytearray(counter_video.read_bytes())
    offset = data.find(b"tkhd") + 4 + 40  # version 0: the 3x3 display matrix
    a, b, c, d = (value << 16 for value in matrix)
    data[offset : offset + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path = tmp_path / "turned.mp4"
    path.write_bytes(data)
    info = probe_video(path)
    assert (info.width, info.height) == ((96, 64) if turns == 2 else (64, 96))
    upright = read_frames(counter_video, [5])[5]
    assert np.array_equal(read_frames(path, [5])[5], np.rot90(upright, turns))
    assert np.array_equal(dict(iterate_frames(path, 5, 6))[5], np.rot90(upright, turns))


def test_writer_leaves_nothing_after_an_exception(tmp_path, counter):
    with pytest.raises(RuntimeError), VideoWriter(tmp_path / "a.mp4", 30, 96, 64) as writer:
        writer.add(counter.frame(0))
        raise RuntimeError
    with (
        pytest.raises(VideoError, match="must be uint8 of shape"),
        VideoWriter(tmp_path / "b.mp4", 30, 96, 64) as writer,
    ):
        writer.add(counter.frame(0)[:10])
    with pytest.raises(VideoError, match="no frames"), VideoWriter(tmp_path / "c.mp4", 30, 96, 64):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_gives_one_sentence_and_leaves_nothing(tmp_path):
    program = """
import resource, signal, sys, numpy as np
from lca_lightning.datasets.video import VideoError, VideoWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
noise = np.random.default_rng(0)
try:
    with VideoWriter(sys.argv[1], 30, 256, 256) as writer:
        for _ in range(int(sys.argv[2])):
            writer.add(noise.integers(0, 256, (256, 256, 3), dtype=np.uint8))
except VideoError as error:
    print(error)
"""
    for frames in ("4", "60"):  # noticed while closing, and while writing
        command = [sys.executable, "-c", program, str(tmp_path / "full.mp4"), frames]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "cannot be written (" in result.stdout and "free some space" in result.stdout
        assert list(tmp_path.iterdir()) == []


def _read_in_child(path: Path, queue: multiprocessing.Queue) -> None:
    queue.put({index: image.mean() for index, image in read_frames(path, [4, 33, 20]).items()})


def test_forked_children_read_independently(counter_video):
    expected = {index: image.mean() for index, image in read_frames(counter_video, [4, 33, 20]).items()}
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = [context.Process(target=_read_in_child, args=(counter_video, queue)) for _ in range(3)]
    for child in children:
        child.start()
    for _ in range(20):
        read_frames(counter_video, [40, 2])
    results = [queue.get(timeout=20) for _ in children]
    for child in children:
        child.join()
    assert results == [expected] * 3


def test_a_group_is_decoded_once_per_request(counter_video):
    reader = VideoReader(counter_video)
    reader.read([23, 16, 19, 17, 40, 41])
    assert reader.decoded == 8 + 2
    reader.close()


@pytest.mark.parametrize("name", ["sports2d_video/demo.mp4", "pose2sim_multiview/cam01.mp4"])
def test_random_access_equals_reading_in_order_on_real_videos(samples, name):
    asked = [3, 59, 17, 58, 30]
    in_order = {index: image for index, image in iterate_frames(samples / name, 0, 60) if index in asked}
    picked = read_frames(samples / name, asked)
    assert sorted(picked) == sorted(in_order) == sorted(asked)
    assert all(np.array_equal(picked[index], in_order[index]) for index in asked)
    assert not np.array_equal(picked[58], picked[59])
    assert read_frames(samples / name, [probe_video(samples / name).frames - 1])
