"""How long training waits for its data, by the clock of Lightning's profiler hooks."""

from __future__ import annotations

import time

from lightning.pytorch.profilers import Profiler


class DataWait(Profiler):
    """Times one thing: how long training waits for its next batch."""

    ACTION = "[_TrainingEpochLoop].train_dataloader_next"

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0
        self._started: float | None = None

    def start(self, action_name: str) -> None:
        """Start the clock when a batch is asked for."""
        if action_name == self.ACTION:
            self._started = time.perf_counter()

    def stop(self, action_name: str) -> None:
        """Stop it when the batch is there."""
        if action_name == self.ACTION and self._started is not None:
            self.seconds += time.perf_counter() - self._started
            self._started = None
