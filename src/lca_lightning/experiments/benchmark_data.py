"""The benchmark an experiment runs on: where it is, what it lacks, its digests."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from pathlib import Path

from lca_lightning.errors import ConfigError, DataError
from lca_lightning.experiments.children import Child
from lca_lightning.experiments.code_copy import CodeCopy
from lca_lightning.training.provenance import data_digest

DEFAULT_FOLDER = Path("data")


class BenchmarkData:
    """A benchmark's folder.

    Args:
        name: Of the benchmark, such as ``lca-synth-tiny``.
        given: ``--data``; the folder is used as it is. None for ``data/<name>``, which is made when needed.
    """

    def __init__(self, name: str, given: Path | None) -> None:
        self.name, self.given = name, given
        self.folder = DEFAULT_FOLDER / name if given is None else given
        self.digest: Callable[..., str] = functools.cache(self._digest)

    def missing(self, parts: Iterable[str]) -> list[str]:
        """Parts that are not there whole; of a given folder, parts that are not there at all."""
        if self.given is not None:
            return [part for part in parts if not (self.folder / part / "dataset.json").is_file()]
        from lca_lightning.synthesis.benchmarks import benchmark_tasks

        wanted = set(parts)
        tasks = [task for task in benchmark_tasks(self.name, self.folder) if Path(task.root).name in wanted]
        return sorted({Path(task.root).name for task in tasks if not (task.path / "sequence.json").is_file()})

    def make(self, code: CodeCopy, threads: int, log: Path) -> None:
        """Make the benchmark, or continue it; its own progress goes to the log.

        Raises:
            DataError: It failed, or a given folder lacks a part.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        words = ["synthesize", "--benchmark", self.name, "--out", str(self.folder)]
        with (log.parent / ".lock").open("w") as lock:
            child = Child(words, log, code.folder, threads, lock.fileno())
            try:
                status = child.wait(None)
            except BaseException:
                child.ask_to_stop()
                child.wait()
                raise
        if status:
            raise DataError(f"Making {self.name} ended with status {status}:\n{child.last_lines()}")

    def refuse_missing(self, parts: Iterable[str]) -> None:
        """Refuse a given folder that lacks a part, and a part that the benchmark never has.

        Raises:
            ConfigError: The benchmark has no such part; names those it has.
            DataError: Names the part and the command that makes it.
        """
        if self.given is None:
            self._refuse_unknown(parts)
        elif absent := self.missing(parts):
            raise DataError(
                f"{self.folder} has no {absent[0]!r}; give the folder of a whole benchmark, or make it: "
                f"lca synthesize --benchmark {self.name} --out {self.folder}"
            )

    def _refuse_unknown(self, parts: Iterable[str]) -> None:
        from lca_lightning.synthesis.benchmarks import BENCHMARKS

        known = [part.kind for part in BENCHMARKS.get(self.name, ())]
        unknown = [part for part in parts if part not in known]
        if known and unknown:
            raise ConfigError(f"{self.name} has no part {unknown[0]!r}; it has {', '.join(known)}.")

    def _digest(self, part: str, without: str | None = None) -> str:
        """Digest of a part, without one split; a name in its place while it is still to be made."""
        folder = self.folder / part
        return data_digest(folder, without) if (folder / "dataset.json").is_file() else "not made yet"
