"""Moving patterns whose frame number can be read back from the pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from lca_lightning.datasets.video import VideoWriter

BITS = 8


def counter_frame(index: int, height: int = 64, width: int = 96) -> np.ndarray:
    """A smooth moving gradient with the frame number as a row of black and white squares on top."""
    rows, columns = np.mgrid[:height, :width]
    image = np.empty((height, width, 3), np.uint8)
    image[..., 0] = 60 + 60 * np.sin((columns + 2 * index) / 15)
    image[..., 1] = 80 + 80 * rows / height
    image[..., 2] = 100 + 50 * np.cos((rows + columns + index) / 20)
    side = width // BITS
    for bit in range(BITS):
        image[:side, bit * side : (bit + 1) * side] = 255 * (index >> bit & 1)
    return image


def read_counter(image: np.ndarray) -> int:
    """The frame number painted by :func:`counter_frame`."""
    side = image.shape[1] // BITS
    middles = [image[side // 2, bit * side + side // 2].mean() > 127 for bit in range(BITS)]
    return sum(1 << bit for bit, lit in enumerate(middles) if lit)


@dataclass(frozen=True)
class Counter:
    """Paints and reads frame numbers."""

    frame: Callable[..., np.ndarray] = counter_frame
    read: Callable[[np.ndarray], int] = read_counter


@pytest.fixture(scope="session")
def counter() -> Counter:
    return Counter()


@pytest.fixture(scope="session")
def counter_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 counted frames, groups of 8."""
    path = tmp_path_factory.mktemp("video") / "counter.mp4"
    with VideoWriter(path, 30, 96, 64) as writer:
        for index in range(48):
            writer.add(counter_frame(index))
    return path
