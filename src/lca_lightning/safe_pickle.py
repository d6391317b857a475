"""Pickles of other people's data sets, read without running anything that they name.

Only plain containers, numpy arrays and scalars, PyTorch tensors, SciPy sparse matrices and the array inside
a chumpy variable are rebuilt; every other name is refused before it is looked up.
"""

from __future__ import annotations

import io
import math
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from lca_lightning.errors import DataError
from lca_lightning.pickled_arrays import KNOWN, Maker, StandIn

_LARGEST_REPEAT = 1000  # expanded tensors repeat a few values; more is a trap
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


class _Tensor(StandIn):
    """Stands for a PyTorch tensor."""

    def __init__(self, values: Any, offset: int, shape: Any, stride: Any, *_: Any) -> None:
        flat = np.asarray(values)
        if flat.dtype.hasobject or flat.ndim != 1:
            raise ValueError("a tensor's storage holds something else than numbers")
        shape, stride = tuple(int(n) for n in shape), tuple(int(n) for n in stride)
        last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True) if n)
        if offset < 0 or min(stride, default=0) < 0 or min(shape, default=0) < 0 or last >= max(flat.size, 1):
            raise ValueError("a tensor reaches beyond its storage")
        if math.prod(shape) > _LARGEST_REPEAT * max(flat.size, 1):
            raise ValueError("a tensor repeats its storage beyond reason")
        steps = tuple(step * flat.itemsize for step in stride)
        self._array = np.lib.stride_tricks.as_strided(flat[offset:], shape, steps).copy()

    def value(self, plain: Any) -> np.ndarray:
        """The array."""
        return self._array


def _storage(content: bytes) -> np.ndarray:
    """The values of a PyTorch storage, by PyTorch's own reader that refuses code."""
    import torch

    with warnings.catch_warnings():  # old files hold typed storages, which PyTorch comments on
        warnings.simplefilter("ignore", UserWarning)
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return torch.empty(0, dtype=loaded.dtype).set_(loaded.untyped()).numpy()


_KNOWN: dict[tuple[str, str], Any] = {
    **KNOWN,
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
    ("torch.storage", "_load_from_bytes"): Maker(_storage),
}


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


def plain(value: Any, done: dict[int, Any] | None = None) -> Any:
    """Replace stand-ins by arrays, through all containers; what is shared stays shared."""
    done = {} if done is None else done
    if not isinstance(value, (dict, list, tuple, StandIn, np.ndarray)):
        return value
    if id(value) not in done:  # or a file of lists of the same lists would grow without bounds
        done[id(value)] = _replaced(value, lambda entry: plain(entry, done))
    return done[id(value)]


def _replaced(value: Any, plain: Callable[[Any], Any]) -> Any:
    if isinstance(value, StandIn):
        return value.value(plain)
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(entry) for entry in value)
    return value
