"""Stand-ins for the arrays in a pickle: a file's own words never reach numpy's unpickling, which trusts them.

numpy rebuilds whatever type a pickle describes, numbers whose bytes are then taken for addresses of objects
included. Here only plain number and text types are understood, and arrays are made of checked bytes.
"""

from __future__ import annotations

import codecs
import math
import re
from collections import OrderedDict
from typing import Any

import numpy as np

from lca_lightning.errors import DataError

_PLAIN_TYPE = re.compile(r"[<>|=]?([?]|[bBhHiIlLqQefdgFDG]|[biufc](1|2|4|8|16|32)|[SU]\d{1,6}|O8?)")


class Closed(type):
    """Classes that a pickle may call but not change."""

    def __setattr__(cls, name: str, value: Any) -> None:
        raise TypeError("a pickle must not change what reads it")


class StandIn(metaclass=Closed):
    """Stands for a pickled object until what it holds is wanted."""

    def value(self, plain: Any) -> Any:
        """What it stands for; ``plain`` replaces the stand-ins inside."""
        raise NotImplementedError


class PickledType(StandIn):
    """Stands for a numpy type; only numbers, texts and objects, nothing with parts."""

    def __init__(self, text: Any, *_: Any) -> None:
        name = text.decode("ascii") if isinstance(text, bytes) else text
        if not isinstance(name, str) or not _PLAIN_TYPE.fullmatch(name):
            raise DataError(f"The pickle holds an array of type {str(name)[:40]!r}; only numbers are read.")
        self.dtype = np.dtype(name)

    def __setstate__(self, state: Any) -> None:
        order, shape, names = state[1], state[2], state[3]
        if shape is not None or names is not None:
            raise DataError("The pickle holds an array whose entries have parts; only numbers are read.")
        if order in ("<", b"<"):
            self.dtype = self.dtype.newbyteorder("<")
        elif order in (">", b">"):
            self.dtype = self.dtype.newbyteorder(">")

    def value(self, plain: Any) -> Any:
        """The type."""
        return self.dtype


class PickledArray(StandIn):
    """Stands for an array."""

    content: Any = None

    def __init__(self, *_: Any) -> None:
        self.shape: tuple[int, ...] = (0,)
        self.dtype, self.order = np.dtype("f8"), "C"

    def __setstate__(self, state: Any) -> None:
        shape, kind, by_column, content = state[-4:]
        self.fill(content, kind, shape, "F" if by_column else "C")

    def fill(self, content: Any, kind: PickledType, shape: Any, order: str) -> PickledArray:
        """Take over bytes, or the list of an array of objects, checked against the shape."""
        self.shape, self.dtype, self.order = tuple(int(n) for n in shape), kind.dtype, order
        count = math.prod(self.shape)
        if min(self.shape, default=0) < 0 or order not in ("C", "F"):
            raise ValueError("an array has an impossible shape")
        if self.dtype.hasobject:
            held, wanted = (len(content) if isinstance(content, list) else -1), count
        else:
            content = content.encode("latin1") if isinstance(content, str) else bytes(content)
            held, wanted = len(content), count * self.dtype.itemsize
        if held != wanted:
            raise ValueError(f"an array holds {held} instead of {wanted} bytes or objects")
        self.content = content
        return self

    def value(self, plain: Any) -> np.ndarray:
        """The array."""
        if self.content is None:
            raise ValueError("an array has no content")
        if not self.dtype.hasobject:
            count = math.prod(self.shape)
            flat = np.frombuffer(self.content, self.dtype, count) if count else np.zeros(0, self.dtype)
        else:
            flat = np.empty(len(self.content), object)
            for index, entry in enumerate(self.content):
                flat[index] = plain(entry)
        return flat.reshape(self.shape, order=self.order).copy(order="K")  # type: ignore[call-overload]


class PickledVariable(StandIn):
    """Stands for a chumpy variable, of which only its array matters."""

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def value(self, plain: Any) -> Any:
        """The array under ``x``."""
        found = plain(self.state.get("x")) if isinstance(self.state, dict) else None
        if not isinstance(found, np.ndarray):
            raise DataError("A chumpy variable holds a formula instead of an array; save its values instead.")
        return found


class PickledColumns(PickledVariable):
    """Stands for a SciPy sparse matrix in columns (csc)."""

    by_column = True

    def value(self, plain: Any) -> np.ndarray:
        """The dense matrix."""
        from scipy import sparse

        state = plain(self.state)
        shape = state.get("_shape", state.get("shape"))
        parts = state["data"], state["indices"], state["indptr"]
        build = sparse.csc_matrix if self.by_column else sparse.csr_matrix
        matrix = build(parts, shape=shape)
        matrix.check_format(full_check=True)  # indices of a file are not to be trusted
        return np.asarray(matrix.todense())


class PickledRows(PickledColumns):
    """Stands for a SciPy sparse matrix in rows (csr)."""

    by_column = False


class Maker:
    """A function that a pickle may call but not change."""

    __slots__ = ("_make",)
    _make: Any

    def __init__(self, make: Any) -> None:
        object.__setattr__(self, "_make", make)

    def __setattr__(self, name: str, value: Any) -> None:
        raise TypeError("a pickle must not change what reads it")

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)


def _encoded(text: str, encoding: str = "latin1") -> bytes:
    """How pickles of protocol 2 carry bytes."""
    if encoding not in ("latin1", "latin-1"):
        raise DataError(f"The pickle asks for the text encoding {encoding!r}, which arrays do not need.")
    return codecs.encode(text, "latin1")


def _scalar(kind: PickledType, content: bytes | str = b"") -> Any:
    if kind.dtype.hasobject:
        raise DataError("The pickle holds a scalar of Python objects, which arrays do not need.")
    raw = content.encode("latin1") if isinstance(content, str) else content
    return np.frombuffer(raw, kind.dtype, 1)[0]


def _reconstructed(kind: Any, *_: Any) -> StandIn:
    if not isinstance(kind, Closed):
        raise DataError("The pickle rebuilds an object that arrays do not need.")
    return kind()


def _from_buffer(content: Any, kind: PickledType, shape: Any, order: str) -> PickledArray:
    return PickledArray().fill(content, kind, shape, order)


KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): PickledArray,
    ("numpy", "dtype"): PickledType,
    ("_codecs", "encode"): Maker(_encoded),
    ("collections", "OrderedDict"): OrderedDict,
    ("chumpy.ch", "Ch"): PickledVariable,
    ("copy_reg", "_reconstructor"): Maker(_reconstructed),
    ("copyreg", "_reconstructor"): Maker(_reconstructed),
    ("__builtin__", "bytes"): Maker(lambda: b""),  # how protocol 2 writes no bytes at all
    ("__builtin__", "object"): object,
    ("builtins", "object"): object,
}
for _package in ("numpy.core", "numpy._core"):
    KNOWN[f"{_package}.multiarray", "_reconstruct"] = Maker(_reconstructed)
    KNOWN[f"{_package}.multiarray", "scalar"] = Maker(_scalar)
    KNOWN[f"{_package}.numeric", "_frombuffer"] = Maker(_from_buffer)
for _package in ("scipy.sparse.csc", "scipy.sparse._csc"):
    KNOWN[_package, "csc_matrix"] = PickledColumns
for _package in ("scipy.sparse.csr", "scipy.sparse._csr"):
    KNOWN[_package, "csr_matrix"] = PickledRows
