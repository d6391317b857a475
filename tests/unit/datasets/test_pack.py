"""Packing: complete or absent, the same pictures as before, and nothing pickled."""

from __future__ import annotations

import errno
import json
import pickletools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lca_lightning.datasets import pack as pack_module
from lca_lightning.datasets import pack_items
from lca_lightning.datasets.format import Dataset
from lca_lightning.datasets.pack import pack_dataset
from lca_lightning.datasets.pack_items import part_count
from lca_lightning.datasets.reader import open_dataset
from lca_lightning.datasets.video import VideoWriter
from lca_lightning.errors import ConfigError, DataError
from tests.unit.datasets.conftest import counter_frame, read_counter
from tests.unit.datasets.packable import FRAMES, equal_sequences, write_people, write_sequence

pytest.importorskip("litdata")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people(tmp_path_factory.mktemp("people") / "data")


def test_a_pack_reads_as_the_folder_it_was_made_from(people: Path, tmp_path: Path) -> None:
    summary = pack_dataset(people, str(tmp_path / "pack"))
    assert (summary.items, summary.sequences, summary.chunks, summary.skipped) == (5, 5, 1, {})
    plain, packed = Dataset(people), open_dataset(tmp_path / "pack")
    assert (packed.kind, packed.rig, len(packed)) == (plain.kind, plain.rig, len(plain))
    for column in ("ids_N", "subjects_N", "splits_N", "frames_N", "cameras_N"):
        assert getattr(packed.index, column).tolist() == getattr(plain.index, column).tolist()
    for position in plain.positions():
        assert equal_sequences(packed.sequence(position), plain.sequence(position))
    assert packed.positions("val").tolist() == plain.positions("val").tolist()
    with pytest.raises(DataError, match="lies in a pack"):
        print(packed.sequence(0).folder)


def test_long_sequences_are_interleaved_without_decoding(people: Path, tmp_path: Path) -> None:
    summary = pack_dataset(people, str(tmp_path / "pack"), frames_per_item=5)
    # ann has 20 pictures, bob and dan 10 each; eve and zoe are for evaluation
    assert summary.items == 4 + 2 * 2 + 2 and not summary.whole
    plain, packed = Dataset(people).sequence(0), open_dataset(tmp_path / "pack")
    parts = [packed.sequence(position) for position in range(4)]
    assert [part.frame_count for part in parts] == [3, 3, 2, 2]
    for first, part in enumerate(parts):
        wanted = list(range(first, FRAMES, 4))
        assert part.signals.translation_T3[:, 0].tolist() == wanted
        for camera in plain.cameras:
            ours, theirs = part.read_frames(camera, range(len(wanted))), plain.read_frames(camera, wanted)
            assert [read_counter(image) for image in ours[0]] == wanted
            assert all(np.array_equal(mine, other) for mine, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(
    ("frames", "cameras", "room", "parts"), [(10, 1, 100, 1), (10, 1, 5, 2), (7, 4, 7, 3), (3, 90, 2, 1)]
)
def test_every_part_keeps_two_frames(frames: int, cameras: int, room: int, parts: int) -> None:
    assert part_count(frames, cameras, room) == parts


def test_groups_of_pictures_are_kept_whole(tmp_path: Path) -> None:
    write_sequence(tmp_path / "data", "ann")
    video = tmp_path / "data/sequences/ann_take/videos/cam0.mp4"
    with VideoWriter(video, 25, 96, 64, keyframe_interval=8) as writer:
        for frame in range(FRAMES):
            writer.add(counter_frame(frame))
    summary = pack_dataset(tmp_path / "data", str(tmp_path / "pack"), frames_per_item=5)
    assert summary.whole == ("ann_take",) and summary.items == 1
    assert equal_sequences(
        open_dataset(tmp_path / "pack").sequence(0), Dataset(tmp_path / "data").sequence(0)
    )


def test_items_beyond_what_a_chunk_can_count_are_listed(
    people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {
        folder.name: sum(file.stat().st_size for file in folder.rglob("*.m*"))
        for folder in (people / "sequences").iterdir()
    }
    monkeypatch.setattr(pack_items, "LARGEST_ITEM_BYTES", max(sizes.values()) - 1)
    monkeypatch.setattr(pack_module, "LARGEST_ITEM_BYTES", 10**9)
    summary = pack_dataset(people, str(tmp_path / "pack"))
    assert list(summary.skipped) == ["ann_take"] and summary.items == 4
    assert "lower --frames-per-item" in summary.skipped["ann_take"]
    assert not pack_dataset(people, str(tmp_path / "parts"), frames_per_item=10).skipped
    monkeypatch.setattr(pack_items, "LARGEST_ITEM_BYTES", 10**9)
    monkeypatch.setattr(pack_module, "LARGEST_ITEM_BYTES", 3 * max(sizes.values()))
    summary = pack_dataset(people, str(tmp_path / "full"))
    assert summary.skipped and all("lower --chunk-mb" in reason for reason in summary.skipped.values())
    packed, plain = open_dataset(tmp_path / "full"), Dataset(people)
    assert len(packed) == summary.items == 5 - len(summary.skipped)
    for position in packed.positions():
        same = plain.index.ids_N.tolist().index(packed.index.ids_N[position])
        assert equal_sequences(packed.sequence(position), plain.sequence(same))


def test_what_lies_beside_a_sequence_stays_in_the_folder(tmp_path: Path) -> None:
    write_sequence(tmp_path / "data", "ann")
    shutil.copy(tmp_path / "data/dataset.json", tmp_path / "data/sequences/ann_take/truth.json")
    for name, frames in (("whole", 1000), ("parts", 5)):
        pack_dataset(tmp_path / "data", str(tmp_path / name), frames_per_item=frames)
        files = open_dataset(tmp_path / name).sequence(0).files
        assert files.size("signals.safetensors") and not files.size("truth.json")


def test_litdata_reads_the_pack_and_nothing_in_it_is_pickled(people: Path, tmp_path: Path) -> None:
    pack_dataset(people, str(tmp_path / "pack"))
    index = json.loads((tmp_path / "pack/index.json").read_text())
    assert index["config"]["data_format"] == ["bytes"]
    from litdata import StreamingDataset

    items = StreamingDataset(str(tmp_path / "pack"))
    assert len(items) == 5
    first = bytes(items[0])
    length = int.from_bytes(first[:8], "little")
    assert "sequence.json" in json.loads(first[8 : 8 + length])
    with pytest.raises(ValueError):
        list(pickletools.genops(first))


def test_chunks_hold_about_what_was_asked_for(people: Path, tmp_path: Path, monkeypatch: Any) -> None:
    largest = max(
        sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        for folder in (people / "sequences").iterdir()
    )
    original = pack_module._plan
    monkeypatch.setattr(pack_module, "_plan", lambda *a: original(*a[:2], largest, a[3]))
    summary = pack_dataset(people, str(tmp_path / "pack"))
    assert 3 <= summary.chunks <= 5
    packed = open_dataset(tmp_path / "pack")
    assert set(packed.index.groups_N) == set(range(summary.chunks))
    assert equal_sequences(packed.sequence(4), Dataset(people).sequence(4))


def damage(root: Path) -> None:
    """Four kinds of broken sequences and one whole."""
    for name in ("ann", "bob", "eve", "dan", "whole"):
        write_sequence(root, name)
    folder = root / "sequences"
    (folder / "ann_take/masks/cam0.mkv").unlink()
    video = folder / "bob_take/videos/cam0.mp4"
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    signals = folder / "eve_take/signals.safetensors"
    signals.write_bytes(signals.read_bytes()[:-40])
    with VideoWriter(folder / "dan_take/videos/cam0.mp4", 25, 96, 64) as writer:
        for frame in range(FRAMES - 3):
            writer.add(counter_frame(frame))


def test_broken_sequences_are_left_out_and_listed(tmp_path: Path) -> None:
    damage(tmp_path / "data")
    summary = pack_dataset(tmp_path / "data", str(tmp_path / "pack"))
    assert sorted(summary.skipped) == ["ann_take", "bob_take", "dan_take", "eve_take"]
    assert "missing or empty" in summary.skipped["ann_take"]
    assert "7 of 10 frames" in summary.skipped["dan_take"]
    assert open_dataset(tmp_path / "pack").index.ids_N.tolist() == ["whole_take"]
    assert json.loads((tmp_path / "pack/pack.json").read_text())["skipped"] == summary.skipped
    shutil.rmtree(tmp_path / "data/sequences/whole_take")
    with pytest.raises(DataError, match="No sequence of .* can be packed"):
        pack_dataset(tmp_path / "data", str(tmp_path / "other"))
    assert not (tmp_path / "other").exists()


class FullDisk:
    """litdata's writer on a disk that is full when the n-th chunk ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
        from litdata.streaming import writer

        self.finished, self.room, original = 0, room, writer.BinaryWriter.done

        def done(itself: Any) -> Any:
            if self.finished >= self.room:
                raise OSError(errno.ENOSPC, "No space left on device")
            self.finished += 1
            return original(itself)

        monkeypatch.setattr(writer.BinaryWriter, "done", done)


def test_a_full_disk_leaves_nothing_that_loads_and_the_next_run_goes_on(
    people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = pack_module._plan
    monkeypatch.setattr(pack_module, "_plan", lambda *a: original(*a[:2], 1, a[3]))  # a chunk for each item
    disk = FullDisk(monkeypatch, room=3)
    with pytest.raises(DataError, match="No space left on device.*run the command again"):
        pack_dataset(people, str(tmp_path / "pack"))
    assert not (tmp_path / "pack").exists()
    (staging,) = tmp_path.glob(".pack.partial")
    with pytest.raises(DataError):
        open_dataset(staging)
    disk.room = 99
    assert pack_dataset(people, str(tmp_path / "pack")).items == 5
    assert disk.finished == 5 and not staging.exists()  # three before, two now
    assert equal_sequences(open_dataset(tmp_path / "pack").sequence(2), Dataset(people).sequence(2))


def test_changed_data_begins_anew(people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(people, tmp_path / "data")
    original = pack_module._plan
    monkeypatch.setattr(pack_module, "_plan", lambda *a: original(*a[:2], 1, a[3]))
    disk = FullDisk(monkeypatch, room=3)
    with pytest.raises(DataError):
        pack_dataset(tmp_path / "data", str(tmp_path / "pack"))
    write_sequence(tmp_path / "data", "new")
    disk.room = 99
    assert pack_dataset(tmp_path / "data", str(tmp_path / "pack")).items == 6
    assert disk.finished == 3 + 6


def test_occupied_places_and_impossible_numbers_are_refused(people: Path, tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack/mine.txt").write_text("precious")
    with pytest.raises(DataError, match="exists already"):
        pack_dataset(people, str(tmp_path / "pack"))
    for wrong in ({"chunk_mb": 0}, {"chunk_mb": 5000}, {"jobs": 0}, {"frames_per_item": 1}):
        with pytest.raises(ConfigError, match="must"):
            pack_dataset(people, str(tmp_path / "other"), **wrong)
    with pytest.raises(ConfigError, match="s3://BUCKET/PREFIX"):
        pack_dataset(people, "ftp://somewhere/pack")
    assert (tmp_path / "pack/mine.txt").read_text() == "precious"


@pytest.mark.slow
def test_processes_write_the_same_pack(people: Path, tmp_path: Path) -> None:
    pack_dataset(people, str(tmp_path / "one"), chunk_mb=1, frames_per_item=5)
    pack_dataset(people, str(tmp_path / "two"), chunk_mb=1, frames_per_item=5, jobs=2)
    for path in (tmp_path / "one").glob("*.bin"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
