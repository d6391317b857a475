"""What a test leaves in the run directory: metrics.json, metrics.csv per frame, and a contact sheet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch import Tensor

from lca_lightning.batch import Batch
from lca_lightning.datasets.pictures import write_png
from lca_lightning.training.pictures import Rendered, picture_row
from lca_lightning.writing import write_text

COUNTS = ("frames", "subjects", "frames_without_mask")


class TestReport:
    """Collects the rows of a test, and a few pictures spread over its subjects.

    Args:
        pictures: Rows of the contact sheet at most.
        per_subject: Rows of one subject at most.
    """

    __test__ = False  # not a test class, whatever its name says to pytest

    def __init__(self, pictures: int = 12, per_subject: int = 4) -> None:
        self.pictures, self.per_subject = pictures, per_subject
        self.rows: dict[tuple[str, str], dict[str, float]] = {}
        self.sheet: list[tuple[str, Tensor]] = []

    def add(self, batch: Batch, rendered: Rendered, names: Sequence[str], scores_nS: Tensor) -> None:
        """Add the frames of a batch; a frame seen before (padding over processes) is kept once.

        Args:
            batch: The batch.
            rendered: Its renderings.
            names: Names of the scores.
            scores_nS: Scores of each frame, row by row, ``(B * T, S)``.
        """
        places = [(b, t) for b, frames in enumerate(batch.frames) for t in range(len(frames))]
        for (b, t), scores in zip(places, scores_nS.tolist(), strict=True):
            key = (batch.subjects[b], batch.frames[b][t])
            if key not in self.rows:
                self.rows[key] = dict(zip(names, scores, strict=True))
                shown = sum(subject == key[0] for subject, _ in self.sheet)
                if len(self.sheet) < self.pictures and shown < self.per_subject:
                    self.sheet.append((key[0], picture_row(batch, rendered, b, t)))

    def write(self, folder: Path, scores: Mapping[str, float], checkpoint: str) -> dict[str, Any]:
        """Write the three files on the first process, atomically, and start afresh.

        Args:
            folder: Where to write; made when missing.
            scores: Mean scores and the counts ``frames`` and ``subjects``.
            checkpoint: File that was measured, empty for an untrained model.

        Returns:
            What ``metrics.json`` holds.
        """
        rows = _gathered(self.rows)
        summary = {
            "protocols": {"masked": {name: value for name, value in scores.items() if name not in COUNTS}},
            **{name: int(scores[name]) for name in COUNTS[:2]},
            "checkpoint": checkpoint or None,
        }
        if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
            write_text(folder / "metrics.csv", _table(rows))
            if self.sheet:
                write_png(_stacked([picture for _, picture in self.sheet]), folder / "contact_sheet.png")
            write_text(folder / "metrics.json", json.dumps(summary, indent=2) + "\n")
        self.rows, self.sheet = {}, []
        return summary


def _stacked(pictures: list[Tensor]) -> Tensor:
    """Stack rows of pictures whose widths may differ."""
    width = max(picture.shape[2] for picture in pictures)
    padded = [
        torch.nn.functional.pad(picture, (0, width - picture.shape[2]), value=1.0) for picture in pictures
    ]
    return torch.cat(padded, dim=1)


def _gathered(rows: dict[tuple[str, str], dict[str, float]]) -> dict[tuple[str, str], dict[str, float]]:
    """Join the rows of all processes."""
    if not torch.distributed.is_initialized():
        return rows
    parts: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, rows)
    return {key: row for part in parts for key, row in part.items()}


def _table(rows: dict[tuple[str, str], dict[str, float]]) -> str:
    text = io.StringIO()
    names = list(next(iter(rows.values()), {}))
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["subject", "frame", *names])
    for (subject, frame), row in sorted(rows.items()):
        writer.writerow([subject, frame, *(f"{row[name]:.6g}" for name in names)])
    return text.getvalue()
