"""Pickles: arrays come back exactly, everything else is refused and never executed."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse

from lca_lightning.errors import DataError
from lca_lightning.safe_pickle import read_npy, read_pickle


class _Command:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch executed",)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    "wrap", [lambda x: {"a": [x]}, lambda x: np.array([x], object)], ids=["dict", "array"]
)
def test_code_is_refused_and_not_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int, wrap: object
) -> None:
    monkeypatch.chdir(tmp_path)
    payload = pickle.dumps(wrap(_Command()), protocol)  # type: ignore[operator]
    with pytest.raises(DataError, match="not executed"):
        read_pickle(io.BytesIO(payload))
    np.save(tmp_path / "code.npy", np.array(_Command(), object), allow_pickle=True)
    with pytest.raises(DataError, match="not executed"):
        read_npy(tmp_path / "code.npy")
    assert not (tmp_path / "executed").exists()


def test_storages_of_tensors_cannot_carry_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    inner = pickle.dumps(_Command(), 2)

    class Storage:
        def __reduce__(self) -> tuple[object, tuple[bytes]]:
            return torch.storage._load_from_bytes, (inner,)

    with pytest.raises(DataError):
        read_pickle(io.BytesIO(pickle.dumps({"t": Storage()}, 2)))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_arrays_tensors_and_sparse_matrices_come_back(protocol: int) -> None:
    rng = np.random.default_rng(0)
    tensor = torch.from_numpy(rng.normal(size=(4, 6)))[1:, ::2].T  # offset, stride and transposition
    matrix = sparse.random(5, 7, 0.4, random_state=0, format="csc")
    content = {
        "array": rng.normal(size=(3, 4)).T,
        "scalar": np.float32(1.5),
        "tensor": tensor,
        "sparse": matrix,
        "list": [1, (2.0, "text", None, True)],
        "swapped": np.arange(3, dtype=">i2"),
        "words": np.array(["ab", "c"]),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "empty": np.zeros((0, 3), np.int32),
        "objects": np.array([{"inner": np.arange(3)}, None], object),
    }
    got = read_pickle(io.BytesIO(pickle.dumps(content, protocol)))
    np.testing.assert_array_equal(got["array"], content["array"])
    np.testing.assert_array_equal(got["tensor"], tensor.numpy())
    np.testing.assert_array_equal(got["sparse"], matrix.toarray())
    np.testing.assert_array_equal(got["objects"][0]["inner"], np.arange(3))
    for name in ("swapped", "words", "columns", "empty"):
        np.testing.assert_array_equal(got[name], content[name])
        assert got[name].dtype == content[name].dtype and got[name].shape == content[name].shape
    assert got["scalar"] == 1.5 and got["list"] == [1, (2.0, "text", None, True)]


def test_object_files_hold_what_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "saved.npy"
    np.save(path, np.array({"poses": [torch.eye(4)], "name": "x"}, object), allow_pickle=True)
    got = read_npy(path)
    np.testing.assert_array_equal(got["poses"][0], np.eye(4))
    np.save(path, np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(read_npy(path), np.arange(6).reshape(2, 3))


@pytest.mark.parametrize("payload", [b"", b"\x80\x03X", b"no pickle", pickle.dumps([1, 2])[:-2]])
def test_broken_files_are_named(tmp_path: Path, payload: bytes) -> None:
    path = tmp_path / "camera.pkl"
    path.write_bytes(payload)
    with pytest.raises(DataError, match="camera.pkl"):
        read_pickle(path)
    with pytest.raises(DataError, match="camera.pkl"):
        read_npy(path)


def test_tensors_cannot_reach_beyond_their_storage() -> None:
    class Outside:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            storage = torch.zeros(2).storage()
            return torch._utils._rebuild_tensor_v2, (storage, 0, (1000,), (1,), False, {})

    with pytest.raises(DataError, match="storage"):
        read_pickle(io.BytesIO(pickle.dumps(Outside(), 2)))


class _Built:
    """Pickles as a call and the state that is then set."""

    def __init__(self, call: object, arguments: tuple[object, ...], state: object) -> None:
        self.parts = call, arguments, state

    def __reduce__(self) -> tuple[object, ...]:
        return self.parts


RECONSTRUCT = np.zeros(1).__reduce__()[0]
FORGED = _Built(np.dtype, ("V8", False, True), (3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0))
DISGUISED = _Built(np.dtype, ("f8", False, True), (3, "|", (np.dtype("O"), (1,)), None, None, 8, 1, 0))


@pytest.mark.parametrize("kind", [FORGED, DISGUISED], ids=["parts", "inner"])
def test_bytes_are_never_taken_for_addresses_of_objects(kind: _Built) -> None:
    """numpy's own unpickling believes such a type, and the process dies when the array is looked at."""
    array = _Built(RECONSTRUCT, (np.ndarray, (0,), b"b"), (1, (1,), kind, False, b"\x41" * 8))
    with pytest.raises(DataError, match="only numbers are read"):
        read_pickle(io.BytesIO(pickle.dumps(array, 2)))


@pytest.mark.parametrize("shape", [(1 << 40,), (-1,), (2,)])
def test_arrays_hold_as_many_bytes_as_their_shape_says(shape: tuple[int]) -> None:
    array = _Built(RECONSTRUCT, (np.ndarray, (0,), b"b"), (1, shape, np.dtype("f8"), False, b"A" * 8))
    with pytest.raises(DataError, match="broken pickle"):
        read_pickle(io.BytesIO(pickle.dumps(array, 2)))
    with pytest.raises(DataError, match="broken pickle"):
        read_pickle(io.BytesIO(pickle.dumps(_Built(np.ndarray, (shape,), None), 2)))


def test_a_pickle_does_not_change_what_reads_it() -> None:
    for target in (b"cnumpy\ndtype\n", b"cnumpy\nndarray\n", b"c_codecs\nencode\n", b"cchumpy.ch\nCh\n"):
        with pytest.raises(DataError):
            read_pickle(io.BytesIO(b"\x80\x02" + target + b"N}X\x05\x00\x00\x00valueK\x01s\x86b."))
    kept = {"a": np.arange(2.0)}
    np.testing.assert_array_equal(read_pickle(io.BytesIO(pickle.dumps(kept, 2)))["a"], kept["a"])


def test_lists_of_the_same_lists_do_not_multiply() -> None:
    nested: list[object] = [0]
    for _ in range(60):  # 2 to the 60 entries, were each written out
        nested = [nested, nested]
    got = read_pickle(io.BytesIO(pickle.dumps(nested)))
    assert len(got) == 2 and got[0] is got[1]
