"""Build and call the C++/OpenMP tile rasteriser that the CPU renderer is timed against."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lca_lightning.errors import MissingAssetError

SOURCE = Path(__file__).parents[3] / "benchmarks" / "rivals" / "raster_tiles.cpp"
FLAGS = ("-O3", "-march=native", "-fopenmp", "-shared", "-fPIC")

Array = np.ndarray[Any, Any]


def build_rival(folder: Path) -> ctypes.CDLL:
    """Compile the rival and load it.

    Args:
        folder: Where the library is written.

    Raises:
        MissingAssetError: There is no g++ or no source (it is in the repository only), or it fails.
    """
    compiler = shutil.which("g++")
    if compiler is None:
        raise MissingAssetError("This benchmark compiles its C++ rival and found no g++; install g++.")
    if not SOURCE.is_file():
        raise MissingAssetError(
            "This benchmark needs benchmarks/rivals/raster_tiles.cpp; run it from a checkout."
        )
    library = folder / "raster_tiles.so"
    built = subprocess.run(
        [compiler, *FLAGS, str(SOURCE), "-o", str(library)], capture_output=True, text=True
    )
    if built.returncode:
        raise MissingAssetError(
            f"g++ could not compile {SOURCE.name}: {built.stderr.strip().splitlines()[:1]}"
        )
    return ctypes.CDLL(str(library))


class RasterRival:
    """One scene in the rival's hands: contiguous arrays in, preallocated arrays out.

    Args:
        tensors: Means, quaternions, scales, opacities, colours, one w2c, one K and one background, float32.
        cotangents: Gradients of colour ``(1, 3, H, W)``, alpha and depth ``(1, 1, H, W)``.
    """

    def __init__(self, tensors: tuple[torch.Tensor, ...], cotangents: tuple[torch.Tensor, ...]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="lca-rival-")
        self._library = build_rival(Path(self._folder.name))
        self._library.raster_forward.restype = ctypes.c_int64
        self._inputs = [np.ascontiguousarray(tensor.detach().numpy(), np.float32) for tensor in tensors]
        self._cotangents = [np.ascontiguousarray(tensor.numpy(), np.float32) for tensor in cotangents]
        self.images = [np.empty_like(array) for array in self._cotangents]
        self.gradients = [np.empty_like(array) for array in self._inputs[:5]] + [np.empty((1, 4, 4))]
        self.intersections = 0

    def __call__(self) -> None:
        """Forward and backward once; results are in ``images`` and ``gradients``."""
        height, width = self.images[0].shape[-2:]
        sizes = [
            ctypes.c_int(value) for value in (len(self._inputs[0]), width, height, torch.get_num_threads())
        ]
        self.intersections = self._library.raster_forward(
            *sizes, *map(_pointer, [*self._inputs, *self.images])
        )
        arrays = [*self.images[1:], *self._cotangents, *self.gradients]
        self._library.raster_backward(*map(_pointer, arrays))


def _pointer(array: Array) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)
