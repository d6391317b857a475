from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np

from lca_lightning.datasets.format import CameraRecord
from lca_lightning.datasets.frame_store import FrameStore, Shot


class CountedSequence:
    """Stands in for a sequence on disk and counts what is decoded; every frame has its own grey."""

    def __init__(self) -> None:
        self.id = "one"
        self.cameras = {name: CameraRecord(name, 40, 30, np.eye(3), np.eye(4)) for name in ("a", "b")}
        self.signals = SimpleNamespace(person_boxes={}, face_boxes={})
        self.requests: list[tuple[str, list[int]]] = []

    def iterate_rgba(self, camera: str, frames: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        self.requests.append((camera, frames))
        for frame in frames:
            rgba = np.full((30, 40, 4), 10 * frame, np.uint8)
            rgba[..., 3] = 255
            yield frame, rgba


def greys(crops) -> list[int]:
    return [int(crop.image_HW3[4, 4, 0]) for crop in crops]


def test_frames_come_in_order_and_are_decoded_once():
    store, sequence = FrameStore((8, 8), (4, 4), 10**6), CountedSequence()
    asked = [Shot("a", 7), Shot("b", 1), Shot("a", 2), Shot("a", 7)]
    assert greys(store.get(sequence, asked)) == [70, 10, 20, 70]
    assert sequence.requests == [("a", [7, 2]), ("b", [1])]
    assert greys(store.get(sequence, [Shot("a", 2), Shot("a", 3)])) == [20, 30]
    assert sequence.requests[2:] == [("a", [3])]


def test_the_bound_is_kept_and_the_oldest_go_first():
    one = FrameStore((8, 8), (4, 4), 10**6).get(CountedSequence(), [Shot("a", 0)])[0].nbytes
    assert one == 8 * 8 * 4 + 9 * 4  # box aside
    store, sequence = FrameStore((8, 8), (4, 4), 3 * one), CountedSequence()
    for frame in (0, 1, 2, 0, 3):
        store.get(sequence, [Shot("a", frame)])
    assert store._held_bytes == 3 * one
    sequence.requests.clear()
    store.get(sequence, [Shot("a", frame) for frame in (0, 2, 3)])
    assert sequence.requests == []
    store.get(sequence, [Shot("a", 1)])
    assert sequence.requests == [("a", [1])]
    assert greys(FrameStore((8, 8), (4, 4), 0).get(sequence, [Shot("a", 4)])) == [40]


def test_copies_for_other_processes_start_empty():
    store = FrameStore((8, 8), (4, 4), 10**6)
    store.get(CountedSequence(), [Shot("a", 0)])
    for twin in (pickle.loads(pickle.dumps(store)), copy.copy(store)):
        assert twin._held_bytes == 0 and not twin._crops
