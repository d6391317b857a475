"""Samples of several sources in fixed proportions, as a pure function of the seed and the sample's number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from torch.utils import data

from lca_lightning.batch import Batch
from lca_lightning.datasets.samples import SampleSource
from lca_lightning.datasets.sampling import source_generator
from lca_lightning.errors import ConfigError

BLOCK = 4096  # samples in which every source has exactly its share


def normalized_weights(names: list[str], weights: Mapping[str, float] | None) -> np.ndarray:
    """Shares of the sources, which sum to 1.

    Args:
        names: Of the sources.
        weights: Weight of each source, those not named count 0; None for equal ones.

    Raises:
        ConfigError: No source, an unknown one, a negative weight, or weights that sum to zero.
    """
    if not names:
        raise ConfigError("data.init_args.sources names no source; give at least one data module.")
    given = dict.fromkeys(names, 1.0) if weights is None else dict(weights)
    for name, weight in given.items():
        if name not in names:
            raise ConfigError(
                f"data.init_args.weights names the unknown source {name!r}; the sources are "
                f"{', '.join(names)}."
            )
        if not weight >= 0 or not np.isfinite(weight):
            raise ConfigError(f"data.init_args.weights.{name} must not be negative, got {weight}.")
    total = sum(given.values())
    if not total > 0:
        raise ConfigError("data.init_args.weights sum to zero; give at least one source a positive weight.")
    return np.array([given.get(name, 0.0) / total for name in names])


class MixtureSchedule:
    """Which source gives a sample, and which of that source's own samples it is.

    In every block of 4096 samples each source has exactly its share, in an order drawn afresh, so each source
    goes through its own data without leaving anything out.

    Args:
        shares: Of the sources, summing to 1.
        seed: Of the run.
    """

    def __init__(self, shares: np.ndarray, seed: int) -> None:
        self.shares, self.seed = np.asarray(shares, float), seed
        exact = self.shares * BLOCK
        counts = np.maximum(np.floor(exact).astype(int), (exact > 0).astype(int))
        order = np.argsort(np.floor(exact) - exact, kind="stable")  # largest remainders first
        for place in np.resize(order[exact[order] > 0], max(BLOCK - counts.sum(), 0)):
            counts[place] += 1
        while counts.sum() > BLOCK:  # sources of a tiny share were rounded up
            counts[np.argmax(counts)] -= 1
        self.counts = counts

    def place(self, number: int) -> tuple[int, int]:
        """Source of a sample, and the sample's number within that source."""
        block, offset = divmod(number, BLOCK)
        sources, ranks = _block(self.seed, block, tuple(int(count) for count in self.counts))
        source = int(sources[offset])
        return source, block * int(self.counts[source]) + int(ranks[offset])


@lru_cache(maxsize=8)
def _block(seed: int, block: int, counts: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Source of each sample of a block, and how many of that source came before it."""
    sources = source_generator(seed, block).permutation(np.repeat(np.arange(len(counts)), counts))
    ranks = np.empty(BLOCK, int)
    for source, count in enumerate(counts):
        ranks[sources == source] = np.arange(count)
    return sources, ranks


class MixedSource(SampleSource):
    """A mixture as one source.

    Args:
        sources: Sources by name; their rigs agree.
        shares: Of the sources, summing to 1.
        seed: Of the run.
        same_people: Subjects of one name are one person in all sources.
    """

    def __init__(
        self, sources: dict[str, SampleSource], shares: np.ndarray, seed: int, same_people: bool = True
    ) -> None:
        self.names, self.sources = list(sources), list(sources.values())
        self.same_people = same_people
        self.schedule = MixtureSchedule(shares, seed)
        self.rig = self.sources[0].rig

    def sample(self, number: int, views: int) -> Batch:
        """The next sample of the source that is due."""
        source, own = self.schedule.place(number)
        return named_after(self.sources[source].sample(own, views), self.names[source], self.same_people)


class NamedSamples(data.Dataset[Batch]):
    """Samples of one source of a mixture, named after it.

    Args:
        samples: The source's own.
        name: Of the source.
        same_people: Subjects of one name are one person in all sources.
    """

    def __init__(self, samples: Any, name: str, same_people: bool) -> None:
        self.samples, self.name, self.same_people = samples, name, same_people
        self.views: int | None = getattr(samples, "views", None)
        self.without_person = tuple(
            (subject if same_people else f"{name}/{subject}", f"{name}/{frame}")
            for subject, frame in getattr(samples, "without_person", ())
        )

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Batch:
        return named_after(self.samples[index], self.name, self.same_people)


def named_after(batch: Batch, source: str, same_people: bool) -> Batch:
    """A batch whose frames, and subjects unless they are the same people, tell which source they are from."""

    def named(rows: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(f"{source}/{name}" for name in names) for names in rows)

    return replace(
        batch,
        frames=named(batch.frames),
        reference_shots=None if batch.reference_shots is None else named(batch.reference_shots),
        subjects=batch.subjects if same_people else tuple(f"{source}/{name}" for name in batch.subjects),
    )
