"""Pickles of other people's data sets, read without running anything that they name.

Only plain containers, numpy arrays and scalars, PyTorch tensors, SciPy sparse matrices and the array inside
a chumpy variable are rebuilt; every other name is refused before it is looked up.
"""

from __future__ import annotations

import codecs
import io
import pickle
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

import numpy as np

from lca_lightning.errors import DataError

_BROKEN = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    AttributeError,
    ImportError,
    UnicodeError,
    MemoryError,
    OverflowError,
    RuntimeError,
)


def read_pickle(source: Path | IO[bytes], name: str = "") -> Any:
    """Read a pickle of arrays and plain containers.

    Args:
        source: A file, or one opened for reading bytes; pickles of Python 2 too.
        name: What to call it in messages; the path where it has one.

    Returns:
        Dictionaries, lists, tuples, numbers, texts and numpy arrays; PyTorch tensors become arrays.

    Raises:
        DataError: The pickle asks for anything else, or is broken; nothing of it was executed.
    """
    if isinstance(source, Path):
        try:
            with source.open("rb") as file:
                return read_pickle(file, name or str(source))
        except OSError as error:
            raise DataError(f"{source} cannot be read ({error.strerror}); check the path.") from error
    label = name or "The pickle"
    try:
        return plain(_Unpickler(source, label).load())
    except _BROKEN as error:
        raise DataError(
            f"{label} is a broken pickle ({type(error).__name__}: {error}); get it again."
        ) from error


def read_npy(source: Path | IO[bytes], name: str = "") -> Any:
    """Read a ``.npy`` file, one with an object inside through :func:`read_pickle`.

    Args:
        source: A file, or one opened for reading bytes.
        name: What to call it in messages; the path where it has one.

    Returns:
        The array; for a zero-dimensional object array, the object (usually a dictionary of arrays).

    Raises:
        DataError: It is no such file, or its pickle asks for more than arrays.
    """
    if isinstance(source, Path):
        try:
            return read_npy(io.BytesIO(source.read_bytes()), name or str(source))
        except OSError as error:
            raise DataError(f"{source} cannot be read ({error.strerror}); check the path.") from error
    label = name or "The array file"
    try:
        first = np.lib.format.read_magic(source) == (1, 0)
        header = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(source)
        if dtype.hasobject:
            found = read_pickle(source, label)
            return found.item() if isinstance(found, np.ndarray) and shape == () else found
        source.seek(0)
        return np.load(source, allow_pickle=False)
    except _BROKEN as error:
        raise DataError(f"{label} is no readable .npy file ({error}); get it again.") from error


class _Tensor:
    """Stands for a PyTorch tensor until the array is wanted."""

    def __init__(self, values: Any, offset: int, shape: Any, stride: Any, *_: Any) -> None:
        flat = np.asarray(values)
        shape, stride = tuple(int(n) for n in shape), tuple(int(n) for n in stride)
        last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True) if n)
        if offset < 0 or min(stride, default=0) < 0 or min(shape, default=0) < 0 or last >= max(flat.size, 1):
            raise ValueError("a tensor reaches beyond its storage")
        view = np.lib.stride_tricks.as_strided(
            flat[offset:], shape, tuple(step * flat.itemsize for step in stride)
        )
        self.array = view.copy()


def _load_storage(content: bytes) -> np.ndarray:
    """The values of a PyTorch storage, by PyTorch's own reader that refuses code."""
    import torch

    with warnings.catch_warnings():  # old files hold typed storages, which PyTorch comments on
        warnings.simplefilter("ignore", UserWarning)
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return torch.empty(0, dtype=loaded.dtype).set_(loaded.untyped()).numpy()


class _Variable:
    """Stands for a chumpy variable, of which only its array matters."""

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def array(self) -> Any:
        """The array under ``x``, however deep."""
        state = self.state
        if not isinstance(state, dict) or not isinstance(state.get("x"), np.ndarray):
            raise DataError("A chumpy variable holds a formula instead of an array; save its values instead.")
        return state["x"]


class _Sparse(_Variable):
    """Stands for a SciPy sparse matrix in columns (csc) or rows (csr)."""

    by_column = True

    def array(self) -> np.ndarray:
        """The dense matrix."""
        from scipy import sparse

        state = self.state
        shape = state.get("_shape", state.get("shape"))
        parts = state["data"], state["indices"], state["indptr"]
        build = sparse.csc_matrix if self.by_column else sparse.csr_matrix
        matrix = build(parts, shape=shape)
        matrix.check_format(full_check=True)  # indices of a file are not to be trusted
        return np.asarray(matrix.todense())


class _SparseRows(_Sparse):
    by_column = False


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """How pickles of protocol 2 carry bytes."""
    if encoding not in ("latin1", "latin-1"):
        raise DataError(f"The pickle asks for the text encoding {encoding!r}, which arrays do not need.")
    return codecs.encode(text, "latin1")


def _scalar(dtype: np.dtype, content: bytes | str = b"") -> Any:
    if dtype.hasobject:
        raise DataError("The pickle holds a scalar of Python objects, which arrays do not need.")
    raw = content.encode("latin1") if isinstance(content, str) else content
    return np.frombuffer(raw, dtype, 1)[0]


_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
    ("torch.storage", "_load_from_bytes"): _load_storage,
    ("chumpy.ch", "Ch"): _Variable,
    ("copy_reg", "_reconstructor"): lambda kind, *_: kind(),
    ("copyreg", "_reconstructor"): lambda kind, *_: kind(),
    ("__builtin__", "object"): object,
    ("builtins", "object"): object,
}
for _package in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _KNOWN[_package, "_reconstruct"] = np.zeros(1).__reduce__()[0]  # numpy's own, wherever it lives
    _KNOWN[_package, "scalar"] = _scalar
for _package in ("scipy.sparse.csc", "scipy.sparse._csc"):
    _KNOWN[_package, "csc_matrix"] = _Sparse
for _package in ("scipy.sparse.csr", "scipy.sparse._csr"):
    _KNOWN[_package, "csr_matrix"] = _SparseRows


class _Unpickler(pickle.Unpickler):
    """Refuses every name that arrays and containers do not need."""

    def __init__(self, file: IO[bytes], label: str) -> None:
        super().__init__(file, encoding="latin1")
        self._label = label

    def find_class(self, module: str, name: str) -> Any:
        """Return a harmless stand-in, or refuse."""
        if (module, name) not in _KNOWN:
            raise DataError(
                f"{self._label} asks for {module}.{name}, which arrays do not need; it was not executed. "
                "Get the file from a source you trust."
            )
        return _KNOWN[module, name]

    def persistent_load(self, identity: Any) -> Any:
        """Refuse references to outside the pickle."""
        raise DataError(f"{self._label} refers to something outside itself; it was not looked up.")


def plain(value: Any) -> Any:
    """Replace stand-ins by arrays, through all containers."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(entry) for entry in value) if type(value) in (list, tuple) else list(value)
    if isinstance(value, _Tensor):
        return value.array
    if isinstance(value, _Variable):
        return value.array()
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        changed = np.empty(value.shape, object)
        for index, entry in np.ndenumerate(value):
            changed[index] = plain(entry)
        return changed
    return value
