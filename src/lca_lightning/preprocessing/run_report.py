"""What a run of preprocessing did: counts by reason, lists of what was left out, tables for people."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lca_lightning.preprocessing.clips import ClipResult
from lca_lightning.preprocessing.ledger import SET_ASIDE, LedgerEntry
from lca_lightning.writing import write_text

# Results kept in memory for a line each on the terminal.
MOST_LINES = 20


@dataclass
class RunReport:
    """Counts while a run goes on, and its files at the end.

    Attributes:
        total: Clips asked for.
        written: Clips written in this run.
        already_there: Clips that were finished before.
        left_out: Entries of clips dropped or set aside, now or before.
        kept: The first results, for a line each.
        worked: Clips that really ran.
    """

    total: int
    written: int = 0
    already_there: int = 0
    left_out: list[LedgerEntry] = field(default_factory=list)
    kept: list[ClipResult] = field(default_factory=list)
    worked: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def dropped(self) -> list[LedgerEntry]:
        """Clips that cannot be used, with the reason."""
        return [entry for entry in self.left_out if entry.state != SET_ASIDE]

    @property
    def set_aside(self) -> list[LedgerEntry]:
        """Clips that crashed again and again or took too long."""
        return [entry for entry in self.left_out if entry.state == SET_ASIDE]

    @property
    def settled(self) -> int:
        """Clips of which nothing more is to be done."""
        return self.written + self.already_there + len(self.left_out)

    def keep(self, result: ClipResult, already_there: bool) -> None:
        """Count a clip that is in the data set."""
        self.written += not already_there
        self.already_there += already_there
        if len(self.kept) < MOST_LINES:
            self.kept.append(result)

    def pace(self) -> str:
        """Throughput of the clips that really ran, and the time the rest will take at that rate."""
        hours = (time.monotonic() - self.started) / 3600
        if not self.worked or hours <= 0:
            return f"{len(self.left_out)} left out"
        rate = self.worked / hours
        left = (self.total - self.settled) / rate
        text = f"{rate:.0f} clips/h" if rate >= 10 else f"{rate:.1f} clips/h"
        return f"{text}, {_duration(left)} left, {len(self.left_out)} left out"

    def by_category(self) -> dict[str, int]:
        """Number of clips left out by reason in a few words, most frequent first."""
        return dict(Counter(entry.category for entry in self.left_out).most_common())

    def table(self) -> list[str]:
        """Lines for the terminal."""
        rows = [("written", self.written), ("already there", self.already_there)]
        rows += [(f"left out: {name}", count) for name, count in self.by_category().items()]
        width = max(len(name) for name, _ in rows)
        return [f"  {name:<{width}}  {count:>8}" for name, count in rows if count]

    def write(self, out: Path, finished: bool) -> None:
        """Write ``summary.json``, ``dropped.json`` and ``set_aside.json``.

        Args:
            out: Folder of the data set.
            finished: Whether every clip was settled.
        """
        hours = (time.monotonic() - self.started) / 3600
        summary: dict[str, Any] = {
            "clips": self.total,
            "written": self.written,
            "already_there": self.already_there,
            "dropped": len(self.dropped),
            "set_aside": len(self.set_aside),
            "left_out_by_reason": self.by_category(),
            "finished": finished,
            "hours": round(hours, 3),
            "clips_per_hour": round(self.worked / hours, 1) if self.worked and hours else None,
        }
        _write_json(out / "summary.json", summary)
        _write_json(out / "dropped.json", {"dropped": [_line(entry) for entry in self.dropped]})
        _write_json(out / "set_aside.json", {"set_aside": [_line(entry) for entry in self.set_aside]})


def _line(entry: LedgerEntry) -> dict[str, Any]:
    line: dict[str, Any] = {"clip": entry.clip, "reason": entry.reason, "videos": list(entry.videos)}
    if entry.crashes:
        line["crashes"] = entry.crashes
    if entry.detail:
        line["detail"] = entry.detail
    return line


def _write_json(path: Path, values: dict[str, Any]) -> None:
    write_text(path, json.dumps(values, indent=2) + "\n")


def _duration(hours: float) -> str:
    minutes = round(60 * hours)
    if minutes >= 48 * 60:
        return f"{minutes / 1440:.1f} days"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def category(reason: str) -> str:
    """A reason in a few words: what stands before its colon, or what kind of input was unusable."""
    head, colon, _ = reason.partition(":")
    if colon and len(head) <= 40 and head[:1].islower():
        return head
    return "unreadable or unsuitable input"
