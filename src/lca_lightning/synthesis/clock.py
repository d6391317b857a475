"""Times of frames and smooth random signals over them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Clock:
    """Times of the frames.

    Attributes:
        seconds_T: Seconds since the start.
        duration: Seconds of the whole sequence.
    """

    seconds_T: NDArray[np.float64]
    duration: float

    def wave(
        self, rng: np.random.Generator, low: float, high: float, rate: float = 0.35
    ) -> NDArray[np.float64]:
        """Smooth random signal inside ``[low, high]``; ``rate`` is its typical frequency in Hz."""
        frequencies = rng.uniform(0.35, 1.3, 3) * rate
        shares = rng.dirichlet([1.5, 1.0, 0.6])
        phases = rng.uniform(0, 2 * np.pi, 3)
        signal = np.sin(2 * np.pi * self.seconds_T[:, None] * frequencies + phases) @ shares
        return low + (high - low) * (0.5 + 0.5 * signal)
