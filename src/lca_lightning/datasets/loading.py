"""Samplers and a loader whose position is the step of the run, not the state of a process."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

from torch.utils import data
from torch.utils.data.distributed import DistributedSampler

from lca_lightning.datasets.sampling import sample_number
from lca_lightning.errors import DataError

LAST_WORDS = 120  # seconds in which a stopping run may still need batches and write a checkpoint


class SeededSampler(DistributedSampler[int]):
    """Numbers of this process' training samples, from the step that the run has reached.

    A ``DistributedSampler`` in name only, so that the Trainer leaves it in place.

    Args:
        steps_per_epoch: Steps of an epoch.
        batch_size: Samples of one process in a step.
        rank: Of this process.
        world_size: Number of processes.
        first_step: Called whenever an epoch begins or a run resumes; steps taken so far.
    """

    def __init__(
        self,
        steps_per_epoch: int,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        first_step: Callable[[], int] = lambda: 0,
    ) -> None:
        self.steps_per_epoch, self.batch_size = steps_per_epoch, batch_size
        self.rank, self.world_size, self.first_step = rank, world_size, first_step

    def __iter__(self) -> Iterator[int]:
        # a resumed epoch is cut short by the Trainer, which counts the batches it has had already
        first = self.first_step()
        for step in range(first, first + self.steps_per_epoch):
            for slot in range(self.batch_size):
                yield sample_number(step, self.rank, self.world_size, self.batch_size, slot)

    def __len__(self) -> int:
        return self.steps_per_epoch * self.batch_size

    def set_epoch(self, epoch: int) -> None:
        """Nothing to do: the step says it all."""


class EvaluationSampler(DistributedSampler[int]):
    """Every item exactly once over all processes: no padding that would be counted twice.

    Raises:
        DataError: There are fewer items than processes.
    """

    def __init__(self, count: int, rank: int = 0, world_size: int = 1) -> None:
        if count < world_size:
            raise DataError(
                f"The data has {count} evaluation items for {world_size} processes; use fewer devices."
            )
        self._indices = range(rank, count, world_size)

    def __iter__(self) -> Iterator[int]:
        return iter(self._indices)

    def __len__(self) -> int:
        return len(self._indices)

    def set_epoch(self, epoch: int) -> None:
        """Nothing to do: the order is fixed."""


class StepLoader(data.DataLoader[Any]):
    """A loader that Lightning may resume in mid-epoch, because its sampler asks for the step itself."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing to store."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""


def leave_signals_to_the_run(worker: int) -> None:
    """Keep a loading process alive while its run finishes a step and writes a checkpoint.

    Ctrl-C in a terminal and a scheduler's ``SIGTERM`` reach all processes of a run. A loading process that
    dies of them takes the run with it in mid-step; when the run ends, its loading processes end anyway.

    Args:
        worker: Number of the loading process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(LAST_WORDS))  # an alarm ends the process
