"""The index of a plain data set follows its folder and opens nothing that it need not."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from lca_lightning.datasets import index as index_module
from lca_lightning.datasets import reader
from lca_lightning.datasets.format import Dataset, write_dataset_header
from lca_lightning.datasets.index import INDEX_FILE
from lca_lightning.errors import DataError
from tests.unit.datasets.packable import write_people, write_sequence


def bare_folders(root: Path, count: int) -> Path:
    """Descriptions without videos: what the index reads."""
    write_dataset_header(root, kind="wild", rig="anny", licence="CC0", provenance="a test")
    for number in range(count):
        folder = root / "sequences" / f"take{number:05d}"
        folder.mkdir(parents=True)
        split = "test" if number % 10 == 0 else "train"
        values = {"subject": f"person{number // 2}", "split": split, "frames": 30 + number, "fps": 30}
        (folder / "sequence.json").write_text(json.dumps({**values, "cameras": {"a": {}, "b": {}}}))
    return root


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the descriptions that are read."""
    read: list[str] = []
    original = index_module._read_row

    def read_row(folder: Path) -> index_module.Row:
        read.append(folder.name)
        return original(folder)

    monkeypatch.setattr(index_module, "_read_row", read_row)
    return read


def test_rows_are_in_order_of_ids(tmp_path: Path) -> None:
    dataset = Dataset(bare_folders(tmp_path, 25))
    index = dataset.index
    assert list(index.ids_N) == sorted(index.ids_N) and len(dataset) == 25
    assert index.subjects_N[7] == "person3" and index.frames_N[7] == 37 and (index.cameras_N == 2).all()
    assert dataset.positions("test").tolist() == [0, 10, 20] and len(dataset.positions()) == 25
    assert (index.groups_N == 0).all() and dataset.positions("val").tolist() == []


def test_only_what_has_changed_is_read_again(tmp_path: Path, counted: list[str]) -> None:
    root = bare_folders(tmp_path, 20)
    Dataset(root)
    assert len(counted) == 20
    counted.clear()
    Dataset(root)
    assert counted == []
    changed = root / "sequences/take00003/sequence.json"
    changed.write_text(changed.read_text().replace('"person1"', '"another"'))
    shutil.rmtree(root / "sequences/take00005")
    shutil.copytree(root / "sequences/take00000", root / "sequences/new")
    (root / "sequences/.half.partial-1").mkdir()
    dataset = Dataset(root)
    assert sorted(counted) == ["new", "take00003"]
    assert "take00005" not in dataset.index.ids_N and len(dataset) == 20
    assert dataset.index.subjects_N[list(dataset.index.ids_N).index("take00003")] == "another"
    counted.clear()
    assert len(Dataset(root)) == 20 and counted == []


@pytest.mark.parametrize("damage", ["truncated", "text", "pickled"])
def test_a_damaged_index_is_made_again_and_never_unpickled(tmp_path: Path, damage: str) -> None:
    root = bare_folders(tmp_path, 6)
    expected = Dataset(root).index
    path = root / INDEX_FILE
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "text":
        path.write_text("nothing")
    else:
        with path.open("wb") as file:
            objects = np.array([{"a": 1}], object)
            np.savez(file, version=np.array("1"), ids_N=objects, stamps_N2=np.zeros((1, 2)))
    found = Dataset(root).index
    assert np.array_equal(found.ids_N, expected.ids_N) and np.array_equal(found.frames_N, expected.frames_N)
    with np.load(path, allow_pickle=False) as arrays:
        assert len(arrays["ids_N"]) == 6


def test_a_folder_that_may_only_be_read_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise DataError("read-only")

    monkeypatch.setattr(index_module, "write_atomically", refuse)
    assert len(Dataset(bare_folders(tmp_path, 4))) == 4 and not (tmp_path / INDEX_FILE).exists()


def test_broken_descriptions_are_named(tmp_path: Path) -> None:
    root = bare_folders(tmp_path, 3)
    path = root / "sequences/take00001/sequence.json"
    whole = path.read_text()
    for text, match in (
        (whole[:20], "truncated"),
        (whole.replace("train", "holiday"), "holiday"),
        (whole.replace("frames", "pictures"), "'frames'"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=match):
            Dataset(root)
    path.unlink()
    with pytest.raises(DataError, match="take00001/sequence.json is missing"):
        Dataset(root)


def test_only_a_bounded_number_stays_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Dataset(write_people(tmp_path))
    monkeypatch.setattr(dataset, "largest_open", 2)
    first = dataset.sequence(0)
    assert dataset.sequence(0) is first
    for position in dataset.positions():
        dataset.sequence(position)
    assert len(dataset._open) == 2 and dataset.sequence(0) is not first
    assert [sequence.id for sequence in dataset.sequences("test")] == ["zoe_take"]
    assert reader.open_dataset(tmp_path).sequence(3).subject == "eve"


def test_an_index_from_another_moment_is_not_trusted(tmp_path: Path) -> None:
    write_sequence(tmp_path, "ann", frames=4)
    assert Dataset(tmp_path).index.frames_N.tolist() == [4]
    path = tmp_path / "sequences/ann_take/sequence.json"
    shutil.rmtree(tmp_path / "sequences/ann_take")
    write_sequence(tmp_path, "ann", frames=7)
    os.utime(path)
    assert Dataset(tmp_path).index.frames_N.tolist() == [7]


def test_stored_arrays_hold_nothing_else_and_refuse_objects() -> None:
    buffer = io.BytesIO()
    index_module.save_arrays(buffer, {"names_N": np.array(["ann", "bob"]), "version": np.array("1")})
    buffer.seek(0)
    with np.load(buffer, allow_pickle=False) as arrays:
        assert arrays.files == ["names_N", "version"] and arrays["names_N"].tolist() == ["ann", "bob"]
    with pytest.raises(ValueError, match="[Oo]bject"):
        index_module.save_arrays(io.BytesIO(), {"bad": np.array([{}], object)})


def test_long_sequences_stay_open_in_smaller_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Dataset(write_people(tmp_path))  # the first has 20 pictures, four have 10
    monkeypatch.setattr(dataset, "most_pictures", 30)
    for position in (0, 1, 2, 3, 4, 0, 0, 1):
        dataset.sequence(position)
        held = dataset.index.frames_N[list(dataset._open)] @ dataset.index.cameras_N[list(dataset._open)]
        assert held == dataset._open_pictures <= 30
    assert list(dataset._open) == [0, 1]
    monkeypatch.setattr(dataset, "most_pictures", 5)
    assert dataset.sequence(2) is dataset.sequence(2) and list(dataset._open) == [2]
    assert pickle.loads(pickle.dumps(dataset))._open_pictures == 0
