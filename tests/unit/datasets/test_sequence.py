"""Ways to read a sequence agree with each other, with FFmpeg, and with what was written."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from lca_lightning.datasets import open_readers
from lca_lightning.datasets.crops import crop_frame, crop_rgba, cut_values
from lca_lightning.datasets.format import CameraRecord, Dataset, SequenceWriter
from lca_lightning.datasets.linear_light import linear_to_deep, linear_to_srgb8
from lca_lightning.datasets.video import VideoWriter
from lca_lightning.datasets.video_packets import read_packet_table
from lca_lightning.errors import DataError
from tests.unit.datasets.conftest import counter_frame
from tests.unit.datasets.packable import record, signals, write_sequence


def test_frames_one_by_one_are_those_read_together(tmp_path: Path) -> None:
    write_sequence(tmp_path, "ann")
    sequence = Dataset(tmp_path).sequence(0)
    images, masks = sequence.read_frames("cam0", [2, 5, 7])
    seen = {}
    for frame, rgba in sequence.iterate_rgba("cam0", [7, 2, 5, 2]):
        seen[frame] = rgba.copy()
    assert list(seen) == [2, 5, 7]
    for frame, image, mask in zip((2, 5, 7), images, masks, strict=True):
        assert np.abs(seen[frame][..., :3].astype(int) - image).max() <= 1
        assert np.array_equal(seen[frame][..., 3], mask)


def test_every_frame_is_a_key_frame_and_costs_one_picture(tmp_path: Path) -> None:
    write_sequence(tmp_path, "ann")
    sequence = Dataset(tmp_path).sequence(0)
    before = open_readers.pictures_decoded()
    list(sequence.iterate_rgba("cam0", [9, 1, 4]))
    assert open_readers.pictures_decoded() - before == 2 * 3  # pictures and masks


@pytest.mark.parametrize("interval", [1, 8])
def test_the_files_own_tables_say_what_ffmpeg_says(tmp_path: Path, interval: int) -> None:
    path = tmp_path / "video.mp4"
    with VideoWriter(path, 25, 96, 64, keyframe_interval=interval) as writer:
        for frame in range(20):
            writer.add(counter_frame(frame))
    table = read_packet_table(path)
    assert table is not None and table.is_key_N.sum() == -(-20 // interval)
    data = path.read_bytes()
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    for place, packet in enumerate(packets):
        offset, size = int(table.offsets_N[place]), int(table.sizes_N[place])
        assert data[offset : offset + size] == bytes(packet) and packet.is_keyframe == table.is_key_N[place]
        assert table.pts_N[place] * table.time_base == packet.pts * packet.time_base


def test_damaged_tables_are_left_to_ffmpeg(counter_video: Path, tmp_path: Path) -> None:
    whole = counter_video.read_bytes()
    start = whole.index(b"moov")
    generator = np.random.default_rng(0)
    for trial in range(60):
        broken = bytearray(whole)
        for place in generator.integers(start, len(whole), 4):
            broken[place] = int(generator.integers(256))
        path = tmp_path / f"{trial}.mp4"
        path.write_bytes(bytes(broken[: generator.integers(start, len(whole) + 1)] if trial % 2 else broken))
        table = read_packet_table(path)  # never raises, whatever the bytes are
        assert table is None or len(table.pts_N) == len(table.offsets_N)


def test_linear_light_and_layers_come_back(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    radiance = generator.uniform(0, 3.9, (4, 64, 96, 3))
    albedo = generator.uniform(0, 1, (64, 96, 3))
    normals = generator.normal(size=(64, 96, 3))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    stored = np.round((normals + 1) / 2 * 65535)
    stored[:10] = 32768  # no surface
    layers = {"albedo": np.round(albedo * 65535).astype(np.uint16), "normal": stored.astype(np.uint16)}
    mask = np.full((64, 96), 255, np.uint8)
    options = dict(subject="ann", split="train", fps=25, rig="anny", licence="CC0", provenance="a test")
    with SequenceWriter(
        tmp_path, "take", cameras=[record("cam")], kind="light_stage", color="linear", linear_white=4.0,
        layers=("albedo", "normal"), consent="synthetic", **options,
    ) as writer:  # fmt: skip
        for picture in radiance:
            writer.add_frame("cam", linear_to_deep(picture, 4.0), mask, layers)
        writer.finish(signals(4))
    sequence = Dataset(tmp_path).sequence(0)
    assert (sequence.color, sequence.layers, sequence.consent) == (
        "linear",
        ("albedo", "normal"),
        "synthetic",
    )
    np.testing.assert_allclose(sequence.read_linear("cam", [3, 1]), radiance[[3, 1]], atol=4 / 65535)
    np.testing.assert_allclose(sequence.read_layer("cam", "albedo", [0])[0], albedo, atol=1e-5)
    read = sequence.read_layer("cam", "normal", [2])[0]
    np.testing.assert_allclose(read[10:], normals[10:], atol=1e-4)
    assert (read[:10] == 0).all()
    shown = sequence.read_frames("cam", [2])[0][0]
    assert np.array_equal(shown, linear_to_srgb8(linear_to_deep(radiance[2], 4.0), 4.0))
    ((_, rgba),) = sequence.iterate_rgba("cam", [2])
    assert np.array_equal(rgba[..., :3], shown)
    with pytest.raises(DataError, match="no layer 'depth'"):
        sequence.read_layer("cam", "depth", [0])


def test_srgb_sequences_have_no_linear_light(tmp_path: Path) -> None:
    write_sequence(tmp_path, "ann", frames=2)
    with pytest.raises(DataError, match="holds sRGB"):
        Dataset(tmp_path).sequence(0).read_linear("cam0", [0])


def cut_by_pillow(image: np.ndarray, box: tuple[int, ...], size: tuple[int, int], fill: int) -> np.ndarray:
    """The box of a picture on a ground of one value, resized by Pillow."""
    left, top, right, bottom = box
    ground = Image.new("RGB", (right - left, bottom - top), (fill,) * 3)
    ground.paste(Image.fromarray(image), (-left, -top))
    return np.asarray(ground.resize(size[::-1], Image.Resampling.BILINEAR), int)


@pytest.mark.parametrize("box", [(10, 5, 90, 60), (-20, -10, 70, 80), (30, 20, 40, 30)])
def test_fast_cuts_are_those_of_pillow(box: tuple[int, ...]) -> None:
    image = counter_frame(11)
    rgba = np.concatenate([image, image[..., :1]], -1)
    for size in ((40, 30), (96, 80)):
        ours = cut_values(rgba, np.array(box), size, (128, 128, 128, 0)).astype(int)
        theirs = cut_by_pillow(image, box, size, 128)
        assert np.abs(ours[..., :3] - theirs).max() <= 1


def test_a_cut_has_the_intrinsics_of_its_own_box() -> None:
    image, K_33 = counter_frame(0), record("cam").K_33
    person = np.array([20.3, 10.6, 60.2, 55.1])
    cut = crop_frame(image, image[..., 0], K_33, person, None, (64, 48), (8, 8))
    left, top, right, bottom = cut.box
    assert cut.box.dtype.kind == "i" and abs((right - left) / (bottom - top) - 0.75) < 0.03
    pixel = np.array([33.0, 41.0, 1.0])
    ray = np.linalg.inv(K_33) @ pixel
    expected = (33.0 - left) * 48 / (right - left), (41.0 - top) * 64 / (bottom - top)
    np.testing.assert_allclose((cut.K_33 @ ray)[:2], expected, rtol=1e-5)
    same = crop_rgba(np.concatenate([image, image[..., :1]], -1), K_33, person, None, (64, 48), (8, 8))
    assert np.array_equal(same.body_4HW, cut.body_4HW) and np.array_equal(same.K_33, cut.K_33)


@pytest.mark.parametrize("width", [32, 34, 36, 38, 40, 42, 44, 46, 49])
def test_cuts_see_every_column_of_any_width(tmp_path: Path, width: int) -> None:
    """FFmpeg's own conversion to RGBA leaves the last columns of some widths as the memory was."""
    camera = CameraRecord("cam0", width, 48, np.array([[90.0, 0, 16], [0, 90, 24], [0, 0, 1]]), np.eye(4))
    options = dict(subject="a", split="train", fps=25, rig="anny", licence="CC0", provenance="a test")
    with SequenceWriter(tmp_path, "take", cameras=[camera], kind="wild", **options) as writer:
        for frame in range(3):
            image = np.full((48, width, 3), 60 + 60 * frame, np.uint8)
            writer.add_frame("cam0", image, np.full((48, width), 255, np.uint8))
        writer.finish(signals(3))
    sequence = Dataset(tmp_path).sequence(0)
    images, masks = sequence.read_frames("cam0", range(3))
    for frame, rgba_HW4 in sequence.iterate_rgba("cam0", range(3)):
        assert rgba_HW4.shape == (48, width, 4) and np.array_equal(rgba_HW4[..., 3], masks[frame])
        assert np.abs(rgba_HW4[..., :3].astype(int) - images[frame]).max() <= 2
