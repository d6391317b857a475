from __future__ import annotations
from dataclasses import dataclass
from typing import Any, Protocol
import numpy as np
from lca_lightning.datasets.format import Dataset, Sequence

class Sequences(Protocol):
    root: Any
    kind: str
    rig: str
    @property
    def index(self) -> Any: ...
    def sequence(self, position: int) -> Sequence: ...

@dataclass
class Index:
    ids_N: np.ndarray
    subjects_N: np.ndarray
    splits_N: np.ndarray
    frames_N: np.ndarray
    cameras_N: np.ndarray
    groups_N: np.ndarray

class Shim(Dataset):  # type: ignore
    @property
    def index(self):
        s = self._sequences
        return Index(np.array([x.id for x in s]), np.array([x.subject for x in s]), np.array([x.split for x in s]), np.array([x.frame_count for x in s]), np.array([len(x.cameras) for x in s]), np.zeros(len(s), int))
    def sequence(self, position): return self._sequences[position]

def open_dataset(root):
    try:
        from lca_lightning.datasets.reader import open_dataset as opened
    except ImportError:
        return Shim(root)
    try:
        return opened(root)
    except ImportError:
        from lca_lightning.datasets.reader import Dataset
        return Dataset(root)

class SampleOrder:
    def __init__(self, groups_N, seed, window_groups=None):
        self.n, self.seed = len(groups_N), seed
    def position(self, number):
        lap, place = divmod(number, self.n)
        return int(np.random.default_rng([self.seed, 0, lap]).permutation(self.n)[place])

try:
    from lca_lightning.datasets.order import SampleOrder  # noqa
except ImportError:
    pass
