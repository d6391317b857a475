"""Finding training runs and what is known of each, from small files only. Standard library only."""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lca_lightning.training.run_record import RUN_FILE, current_status, read_run, seconds_of

_DEPTH = 4  # folders below the one asked for: runs/tiny/pretrain/TIME, and one more
_MARKS = (RUN_FILE, "last.ckpt")
_BESIDE_CONFIG = ("tensorboard", "images", "best.ckpt", "interrupted.ckpt", "test")
_DATA = ("dataset.json", "pack.json")
_MAX_STEPS = re.compile(r"^  max_steps: (\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class RunSummary:
    """One run; None and empty where its folder does not say.

    Args:
        path: Run directory.
        status: ``running``, ``finished``, ``interrupted``, ``failed``, ``stopped`` (its process is gone) or
            ``unknown``.
        recipe: Name of its recipe.
        step: Optimiser steps done.
        total_steps: Steps it is to do.
        validation: Scores of the last validation.
        best: Scores of the best one.
        test: Mean scores by name, those of several sets as ``set/name``.
        tests: Entries of ``test/metrics.json`` as they are.
        age_seconds: Time since its last sign of life.
        size_bytes: All its files.
        error: Why it ended, where it did not finish.
    """

    path: Path
    status: str
    recipe: str | None = None
    step: int | None = None
    total_steps: int | None = None
    validation: dict[str, float] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)
    test: dict[str, float] = field(default_factory=dict)
    tests: tuple[Mapping[str, Any], ...] = ()
    age_seconds: float = 0.0
    size_bytes: int = 0
    error: str | None = None

    def sort_value(self, key: str) -> float | None:
        """A number of the run: ``step``, ``age``, ``size``, ``test/SCORE``, or ``val/SCORE`` of the best."""
        numbers = {
            "step": self.step,
            "age": self.age_seconds,
            "size": self.size_bytes,
            **self.best,
            **{f"test/{score}": value for score, value in self.test.items()},
        }
        value = numbers.get(key)
        return None if value is None else float(value)

    def names(self) -> set[str]:
        """What it can be sorted by."""
        scores = {name.removeprefix("val/") for name in self.best} | set(self.test)
        return scores | {"step", "age", "size"} | set(self.best) | {f"test/{name}" for name in self.test}


def find_runs(roots: Iterable[Path]) -> list[RunSummary]:
    """Every run in or below some folders, newest first.

    Args:
        roots: Run directories, or folders that hold them up to four levels down.

    Returns:
        Their summaries; folders that hold something else are left out.
    """
    folders = dict.fromkeys(folder for root in roots for folder in _run_folders(root, _DEPTH))
    now = time.time()
    return sorted((summarise(folder, now) for folder in folders), key=lambda run: run.age_seconds)


def summarise(folder: Path, now: float | None = None) -> RunSummary:
    """Read what is known of one run; whatever is missing, damaged or of another version is left open.

    Args:
        folder: Run directory.
        now: Seconds since the epoch; the present when None.
    """
    now = time.time() if now is None else now
    record = read_run(folder)
    scores = record.get("scores")
    scores = scores if isinstance(scores, Mapping) else {}
    size, changed = _size_and_change(folder)
    beat = seconds_of(record.get("heartbeat")) or changed
    tests = _tests(folder / "test" / "metrics.json")
    total = _whole(record.get("total_steps"))
    return RunSummary(
        path=folder,
        status=current_status(record, now),
        recipe=_text(record.get("recipe")),
        step=_whole(record.get("steps")),
        total_steps=_configured_steps(folder) if total is None else total,
        validation=_numbers(scores.get("last")),
        best=_numbers(scores.get("best")),
        test=_test_scores(tests),
        tests=tests,
        age_seconds=max(0.0, now - beat),
        size_bytes=size,
        error=_text(record.get("error")),
    )


def _run_folders(folder: Path, depth: int) -> Iterator[Path]:
    """The folder itself if it is a run, else runs below it."""
    try:
        with os.scandir(folder) as entries:
            children = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
    except OSError:  # gone, or not ours to read
        return
    begun = "config.yaml" in children and any(name in children for name in _BESIDE_CONFIG)
    if begun or any(children.get(mark) is False for mark in _MARKS):
        yield folder
    elif depth and not any(name in children for name in _DATA):  # data sets have a million folders
        for name in sorted(name for name, is_folder in children.items() if is_folder and name[0] != "."):
            yield from _run_folders(folder / name, depth - 1)


def _size_and_change(folder: Path) -> tuple[int, float]:
    """Bytes of all files, and the latest change of one in the folder itself."""
    size, changed, open_folders = 0, 0.0, [str(folder)]
    while open_folders:
        place = open_folders.pop()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        open_folders.append(entry.path)
                        continue
                    status = entry.stat(follow_symlinks=False)
                    size += status.st_size
                    changed = max(changed, status.st_mtime) if place == str(folder) else changed
        except OSError:  # a run at work removes files as well
            continue
    return size, changed


def _tests(path: Path) -> tuple[Mapping[str, Any], ...]:
    """Results of ``lca test``: entries with ``set``, ``views``, ``task``, ``protocol`` and ``scores``."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ()
    if not isinstance(content, Mapping):
        return ()
    if isinstance(content.get("protocols"), Mapping):  # as written before there were several sets
        protocols = content["protocols"].items()
        return tuple({"protocol": name, "scores": scores} for name, scores in protocols)
    results = content.get("results")
    return tuple(r for r in results if isinstance(r, Mapping)) if isinstance(results, list) else ()


def _test_scores(results: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Scores over all frames by the first protocol, of the most views; by set where there are several."""
    chosen: dict[str, Mapping[str, Any]] = {}
    for result in results:
        if result.get("task") not in (None, "all") or not isinstance(result.get("scores"), Mapping):
            continue
        known = chosen.setdefault(str(result.get("set", "")), result)
        same = known.get("protocol") == result.get("protocol")
        if same and (_whole(result.get("views")) or 0) > (_whole(known.get("views")) or 0):
            chosen[str(result.get("set", ""))] = result
    several = len(chosen) > 1
    return {
        f"{name}/{score}" if several else score: value
        for name, result in chosen.items()
        for score, value in _numbers(result["scores"]).items()
    }


def _configured_steps(folder: Path) -> int | None:
    """``trainer.max_steps`` of ``config.yaml``, for runs that kept no record."""
    try:
        found = _MAX_STEPS.search((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return int(found.group(1)) if found else None


def _numbers(values: Any) -> dict[str, float]:
    pairs = values.items() if isinstance(values, Mapping) else ()
    return {
        str(name): float(value)
        for name, value in pairs
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    }


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
