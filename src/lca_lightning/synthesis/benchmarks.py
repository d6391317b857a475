"""The named benchmark sets: many people in the wild, few in the studio, and what they are tested on.

They mirror the trade-off that the paper studies: ``wild`` has many people and one camera, ``studio`` few
people, many cameras, even light and neither glasses nor hats. People who train carry the errors of a fit in
both; people who validate or test have exact fits: with errors, an avatar two pixels too wide scores higher
than the true one, and a table would rank how well each row has learned to hide them. Everything that decides
what a set holds is in the table below; results carry the digest of the data they were measured on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from lca_lightning.errors import UsageError
from lca_lightning.synthesis.capture import SubjectTask, render_tasks, subject_tasks
from lca_lightning.synthesis.sequence import cached_rig, subject_traits
from lca_lightning.synthesis.settings import CaptureSettings
from lca_lightning.synthesis.traits import slice_labels


@dataclass(frozen=True)
class BenchmarkPart:
    """One data set of a benchmark.

    Attributes:
        kind: Its kind and the name of its folder.
        seed: No two parts of any benchmark share a seed, so no two share a person.
        subjects: Number of people.
        val: How many of them validate.
        test: How many of them test, the last ones.
        frames: Frames per person.
        cameras: Cameras per person.
        size: Height and width in pixels.
        samples: Samples per pixel.
        fit_noise: Strength of the errors of the rig values that training people carry.
    """

    kind: str
    seed: int
    subjects: int
    val: int
    test: int
    frames: int
    cameras: int
    size: tuple[int, int]
    samples: int
    fit_noise: float

    @property
    def settings(self) -> CaptureSettings:
        """What to render."""
        return CaptureSettings(
            self.kind, self.frames, self.cameras, *self.size, seed=self.seed, samples=self.samples,
            fit_noise=self.fit_noise,
        )  # fmt: skip

    @property
    def pictures(self) -> int:
        """Pictures of the whole part."""
        return self.subjects * self.frames * self.cameras


BENCHMARKS: dict[str, tuple[BenchmarkPart, ...]] = {
    #              kind, seed, subjects, val, test, frames, cameras, size, samples, fit noise
    "lca-synth-tiny": (
        BenchmarkPart("wild", 1001, 232, 16, 64, 16, 1, (192, 144), 16, 1.0),
        BenchmarkPart("studio", 1002, 32, 6, 18, 8, 8, (192, 144), 16, 1.0),
        BenchmarkPart("light_stage", 1003, 6, 1, 2, 12, 6, (192, 144), 32, 0.0),
        BenchmarkPart("stylised", 1004, 12, 0, 12, 8, 1, (192, 144), 16, 0.0),
    ),
    "lca-synth-small": (
        BenchmarkPart("wild", 2001, 384, 24, 40, 16, 1, (256, 192), 16, 1.0),
        BenchmarkPart("studio", 2002, 36, 6, 12, 16, 12, (256, 192), 16, 1.0),
        BenchmarkPart("light_stage", 2003, 10, 1, 3, 12, 8, (256, 192), 32, 0.0),
        BenchmarkPart("stylised", 2004, 24, 0, 24, 8, 1, (256, 192), 16, 0.0),
    ),
    "lca-synth-base": (
        BenchmarkPart("wild", 3001, 10000, 200, 400, 32, 1, (512, 384), 32, 1.0),
        BenchmarkPart("studio", 3002, 200, 16, 40, 32, 16, (512, 384), 32, 1.0),
        BenchmarkPart("light_stage", 3003, 64, 6, 14, 48, 16, (512, 384), 64, 0.0),
        BenchmarkPart("stylised", 3004, 200, 0, 200, 16, 1, (512, 384), 32, 0.0),
    ),
}


def benchmark_tasks(name: str, root: str | Path) -> list[SubjectTask]:
    """All sequences of a benchmark, each part in the folder of its kind.

    Args:
        name: One of ``BENCHMARKS``.
        root: Folder of the benchmark.

    Raises:
        UsageError: There is no such benchmark.
    """
    if name not in BENCHMARKS:
        raise UsageError(f"There is no benchmark {name!r}; there are {', '.join(BENCHMARKS)}.")
    return [
        task if task.split == "train" else replace(task, settings=replace(task.settings, fit_noise=0.0))
        for part in BENCHMARKS[name]
        for task in subject_tasks(Path(root) / part.kind, part.settings, part.subjects, part.val, part.test)
    ]


def benchmark_labels(subjects: Iterable[str]) -> dict[str, dict[str, str]]:
    """Plain words for people of benchmarks, drawn again from their seeds: what scores are sliced by.

    Args:
        subjects: Names as in ``sequence.json``, after a mixture's prefix if there is one; those of no
            benchmark are left out.

    Returns:
        Labels by kind (see `traits.slice_labels`) by subject.
    """
    parts = {part.seed: part for parts in BENCHMARKS.values() for part in parts}
    labels = {}
    for name in subjects:
        found = re.fullmatch(r"(?:.*/)?synthetic-(\d{4,})-(\d{5,})", name)
        part = parts.get(int(found[1])) if found else None
        if found and part is not None and int(found[2]) < part.subjects:
            traits = subject_traits(part.settings, int(found[2]))
            labels[name] = slice_labels(traits, cached_rig(part.settings.rig))
    return labels


def synthesize_benchmark(
    name: str,
    root: str | Path,
    workers: int = 0,
    shard: tuple[int, int] = (1, 1),
    progress: bool = True,
) -> list[Path]:
    """Make a benchmark, or continue it.

    Args:
        name: One of ``BENCHMARKS``.
        root: Folder of the benchmark; it gets ``wild``, ``studio``, ``light_stage`` and ``stylised``.
        workers: Processes that render; 0 renders in this process.
        shard: (i, n): make every n-th sequence from the i-th on, counted from 1.
        progress: Show a progress bar.

    Returns:
        Folders of the shard's sequences.
    """
    return render_tasks(benchmark_tasks(name, root), workers, shard, progress)
