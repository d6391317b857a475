"""In which order samples are taken: a pure function of a seed and the sample's number."""

from __future__ import annotations

import numpy as np

from lca_lightning.errors import ConfigError

_ORDER = 0  # the stream of random numbers that decides the order, see :mod:`.sampling`
_LAPS_KEPT = 2


class SampleOrder:
    """Endless laps over items, each a fresh shuffle; every item comes once in a lap.

    The order depends on the seed alone, not on the number of loading processes, ranks or earlier draws: a run
    that goes on at a sample's number with other processes sees what the straight run would have seen.

    Items of a pack lie in chunks. With ``window_groups`` the chunks are shuffled and items are shuffled only
    within runs of that many chunks, so that no more than two runs (the present and the next) need to be at
    hand at any time. All ranks work through the same run together.

    A data module uses it like this::

        positions = dataset.positions("train")
        order = SampleOrder(dataset.index.groups_N[positions], seed, window_groups=dataset.window_groups)
        sequence = dataset.sequence(positions[order.position(number)])
        dataset.prefetch(order.upcoming(number))

    Args:
        groups_N: Chunk of each item.
        seed: Of the run.
        window_groups: Chunks in a run; None shuffles everything at once.

    Raises:
        ConfigError: There are no items, or the window is not positive.
    """

    def __init__(self, groups_N: np.ndarray, seed: int, window_groups: int | None = None) -> None:
        if not len(groups_N):
            raise ConfigError("There is nothing to take samples from; choose another split or add data.")
        if window_groups is not None and window_groups < 1:
            raise ConfigError(f"The window must hold at least one chunk, got {window_groups}.")
        self.groups_N = np.asarray(groups_N)
        self.seed, self.window_groups = int(seed), window_groups
        self._by_group = np.argsort(self.groups_N, kind="stable")
        self._names, first = np.unique(self.groups_N[self._by_group], return_index=True)
        self._bounds = np.append(first, len(self.groups_N))
        self._laps: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self.groups_N)

    def position(self, number: int) -> int:
        """Which item the sample of this number takes, a place in ``groups_N``."""
        lap, place = divmod(int(number), len(self))
        return int(self._lap(lap)[0][place])

    def upcoming(self, number: int) -> list[int]:
        """Chunks of the run of this number and then those of the next run; without windows, none."""
        if self.window_groups is None:
            return []
        lap, place = divmod(int(number), len(self))
        groups = self._lap(lap)[1]
        ends = np.cumsum(self._sizes(groups))
        run = int(np.searchsorted(ends, place, side="right")) // self.window_groups * self.window_groups
        after = groups[run : run + 2 * self.window_groups]
        if run + self.window_groups >= len(groups):
            after = np.append(after, self._lap(lap + 1)[1][: self.window_groups])
        return list(dict.fromkeys(int(self._names[group]) for group in after))

    def _sizes(self, groups: np.ndarray) -> np.ndarray:
        return self._bounds[groups + 1] - self._bounds[groups]

    def _lap(self, lap: int) -> tuple[np.ndarray, np.ndarray]:
        """Items of a lap in order, and the order of its chunks; the last laps are remembered."""
        if lap not in self._laps:
            self._laps = {known: self._laps[known] for known in list(self._laps)[1 - _LAPS_KEPT :]}
            self._laps[lap] = self._shuffle(lap)
        return self._laps[lap]

    def _shuffle(self, lap: int) -> tuple[np.ndarray, np.ndarray]:
        generator = np.random.default_rng([self.seed, _ORDER, lap])
        if self.window_groups is None:
            return generator.permutation(len(self)), np.arange(len(self._names))
        groups = generator.permutation(len(self._names))
        runs = []
        for start in range(0, len(groups), self.window_groups):
            run = groups[start : start + self.window_groups]
            members = [self._by_group[self._bounds[group] : self._bounds[group + 1]] for group in run]
            runs.append(generator.permutation(np.concatenate(members)))
        return np.concatenate(runs), groups
