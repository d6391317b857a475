"""Where stages and tests are kept: one folder each, named by the hash of what their result depends on."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lca_lightning.errors import DataError
from lca_lightning.experiments.plan import Job
from lca_lightning.writing import write_text

try:
    import fcntl
except ImportError:  # not on Windows; there two calls must not share a folder
    fcntl = None  # type: ignore[assignment]

RECORD = "stage.json"
_FORMAT = "lca-stage"


class Store:
    """Folder of results.

    Args:
        out: Folder of the experiments.
    """

    def __init__(self, out: Path) -> None:
        self.out = out

    def folder(self, job: Job) -> Path:
        """Run directory of a job."""
        return self.out / ("stages" if job.kind == "train" else "tests") / job.key

    def record(self, job: Job) -> dict[str, Any]:
        """What is known of a job; empty where it never began."""
        return read_record(self.folder(job) / RECORD)

    def write(self, job: Job, **values: Any) -> None:
        """Add values to a job's record."""
        known = self.record(job) or {
            "format": _FORMAT,
            "version": 1,
            "title": job.title,
            "describes": job.describes,
        }
        write_text(
            self.folder(job) / RECORD, json.dumps({**known, **values}, indent=1, sort_keys=True) + "\n"
        )

    def state(self, job: Job) -> str:
        """``done``, ``stopped`` (can be resumed) or ``missing``."""
        if self.record(job).get("status") == "finished" and self._result(job).is_file():
            return "done"
        if job.kind == "train" and (self.folder(job) / "last.ckpt").is_file():
            return "stopped"
        return "missing"

    def checkpoint(self, key: str) -> Path:
        """Final checkpoint of a stage."""
        return self.out / "stages" / key / "last.ckpt"

    def _result(self, job: Job) -> Path:
        return self.checkpoint(job.key) if job.kind == "train" else self.folder(job) / "test" / "metrics.csv"

    def lock(self, job: Job) -> int | None:
        """Claim a job for this process and the children that inherit the descriptor.

        Returns:
            The descriptor, None where another process has the job.

        Raises:
            DataError: The folder cannot be written.
        """
        folder = self.folder(job)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise DataError(f"Cannot write {folder} ({error.strerror}); choose another --out.") from error
        if fcntl is None:
            return descriptor
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        return descriptor


def read_record(path: Path) -> dict[str, Any]:
    """Read a record; empty where there is none, or it is of something else or damaged."""
    with contextlib.suppress(OSError, ValueError):
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and content.get("format") == _FORMAT:
            return content
    return {}


def what_changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say in a few words why a result is out of date.

    Args:
        before: Description of the stored result.
        now: Description of the job.
    """
    names = {
        "config": "configuration",
        "data": "data",
        "code": "code",
        "protocol": "protocol",
        "after": "stage before",
    }
    changed = [text for key, text in names.items() if before.get(key) != now.get(key)]
    return " and ".join(changed) or "nothing"
