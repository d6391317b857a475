"""Which cameras and frames of a sequence are for training and which are held out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lca_lightning.datasets.format import Sequence
from lca_lightning.errors import ConfigError, DataError


@dataclass(frozen=True)
class HoldOut:
    """What is kept from training within a sequence.

    Args:
        train_cameras: Cameras for training and for references; None takes all that are not held out.
        test_cameras: Cameras held out; None takes those that ``train_cameras`` leaves, if it is given.
        test_frame_fraction: Part at the end of every sequence that is held out, 0 to below 1.
        only_cameras: Use no other cameras at all; None takes every camera of a sequence.
    """

    train_cameras: tuple[str, ...] | None = None
    test_cameras: tuple[str, ...] | None = None
    test_frame_fraction: float = 0.0
    only_cameras: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.test_frame_fraction < 1:
            raise ConfigError(
                f"data.init_args.test_frame_fraction must lie in [0, 1), got {self.test_frame_fraction}."
            )
        both = set(self.train_cameras or ()) & set(self.test_cameras or ())
        if both:
            raise ConfigError(f"The camera {sorted(both)[0]} is in both train_cameras and test_cameras.")

    @property
    def holds_out(self) -> bool:
        """Whether a training sequence has anything left for testing."""
        return bool(self.train_cameras or self.test_cameras or self.test_frame_fraction)

    def cameras(self, sequence: Sequence) -> tuple[list[str], list[str]]:
        """Cameras for training (and references), cameras for testing; equal where none is held out.

        Raises:
            DataError: A camera named in the configuration is not in the sequence.
        """
        names = list(self.only_cameras or sequence.cameras)
        for name in (*names, *(self.train_cameras or ()), *(self.test_cameras or ())):
            if name not in sequence.cameras:
                known = ", ".join(sequence.cameras)
                raise DataError(f"Sequence {sequence.id} has no camera {name!r}; it has {known}.")
        train = list(self.train_cameras or [name for name in names if name not in (self.test_cameras or ())])
        rest = [name for name in names if name not in train]
        if not train:
            raise DataError(f"All cameras of sequence {sequence.id} are held out; shorten test_cameras.")
        return train, list(self.test_cameras or (rest if self.train_cameras and rest else train))

    def frames(self, sequence: Sequence) -> tuple[np.ndarray, np.ndarray]:
        """Frame masks ``(T,)`` for training and for testing; all frames for both where none is held out."""
        everything = np.ones(sequence.frame_count, bool)
        if not self.test_frame_fraction:
            return everything, everything
        first = sequence.frame_count - max(1, round(sequence.frame_count * self.test_frame_fraction))
        late = np.arange(sequence.frame_count) >= first
        return ~late, late
