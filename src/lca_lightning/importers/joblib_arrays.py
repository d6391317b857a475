"""Arrays in files that joblib wrote: a pickle with the bytes of arrays in between; nothing is executed."""

from __future__ import annotations

import io
import math
import pickle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from lca_lightning.errors import DataError
from lca_lightning.pickled_arrays import Closed, PickledArray, PickledType


class _ArrayRecord(metaclass=Closed):
    """Stands for joblib's note that an array's bytes follow."""

    shape: tuple[int, ...] = ()
    order: str = "C"
    dtype: PickledType | None = None
    numpy_array_alignment_bytes: int | None = None  # older files do not align


_KNOWN: dict[tuple[str, str], Any] = {
    ("joblib.numpy_pickle", "NumpyArrayWrapper"): _ArrayRecord,
    ("numpy", "ndarray"): PickledArray,
    ("numpy", "dtype"): PickledType,
}


class _Reader(pickle._Unpickler):  # the plain-Python one, whose steps can be followed
    """Reads the bytes of an array wherever a record of one was just built."""

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: io.BytesIO, label: str) -> None:
        super().__init__(file)
        self._file, self._label = file, label

    def find_class(self, module: str, name: str) -> Any:
        """Return a harmless stand-in, or refuse."""
        if (module, name) not in _KNOWN:
            raise DataError(
                f"{self._label} asks for {module}.{name}, which arrays do not need; it was not executed."
            )
        return _KNOWN[module, name]

    def _build(self) -> None:
        pickle._Unpickler.load_build(self)  # type: ignore[attr-defined]
        if isinstance(self.stack[-1], _ArrayRecord):  # type: ignore[attr-defined]
            self.stack.append(self._array(self.stack.pop()))  # type: ignore[attr-defined]

    dispatch[pickle.BUILD[0]] = _build

    def _array(self, record: _ArrayRecord) -> np.ndarray:
        if not isinstance(record.dtype, PickledType):
            raise ValueError("an array's type is none")
        dtype = record.dtype.dtype
        if dtype.hasobject:
            raise DataError(f"{self._label} holds an array of Python objects; only numbers are read.")
        if record.numpy_array_alignment_bytes is not None:
            self._file.read(self._file.read(1)[0])
        shape = tuple(int(size) for size in record.shape)
        count = math.prod(shape)
        content = self._file.read(count * dtype.itemsize)
        flat = np.frombuffer(content, dtype, count)
        return flat.reshape(shape, order="F" if record.order == "F" else "C").copy()


def read_joblib(path: Path) -> Any:
    """Read an uncompressed file of joblib's.

    Args:
        path: The file.

    Returns:
        Containers, numbers, texts and arrays.

    Raises:
        DataError: The file is missing, compressed, broken, or asks for anything but arrays.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check the path.") from error
    try:
        return _Reader(io.BytesIO(content), str(path)).load()
    except (
        pickle.UnpicklingError, ValueError, TypeError, KeyError, IndexError, EOFError, AttributeError
    ) as error:  # fmt: skip
        raise DataError(
            f"{path} is no file of arrays that joblib wrote uncompressed ({type(error).__name__}: {error}); "
            "get it again."
        ) from error
