"""Attention of several tokens over several reference sets, measured, and summed up for comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from lca_lightning.analysis.attention import AttentionRows, check_head, layer_number, query_attention
from lca_lightning.analysis.attention_scores import MapScore, Places, score_map, true_places
from lca_lightning.analysis.queries import Query
from lca_lightning.analysis.reference_sets import ReferenceSet
from lca_lightning.errors import CheckpointError
from lca_lightning.model.avatar_model import AvatarModel
from lca_lightning.writing import write_text

FORMAT, VERSION = "lca-attention", 1
SUMMED = ("on_images", "on_person", "person_area", "entropy", "near", "near_area")
EXACT = 1e-3  # relative difference above which the rows are not those of the model (bfloat16 included)


@dataclass(frozen=True)
class QueryMaps:
    """One token's attention in one reference set.

    Args:
        query: The token.
        body_VRC: Attention to patches of the body pictures.
        body: Measured.
        face_VRC: The same of face close-ups, for tokens of the face.
        face: Measured.
    """

    query: Query
    body_VRC: Tensor
    body: MapScore
    face_VRC: Tensor | None = None
    face: MapScore | None = None


@dataclass(frozen=True)
class SetAttention:
    """Attention of all chosen tokens in one reference set.

    Args:
        photos: The set.
        maps: One per token.
        face_views: Photos that show a face, in the order of the face maps.
        error: Largest relative difference between the model's output and what the rows give.
    """

    photos: ReferenceSet
    maps: tuple[QueryMaps, ...]
    face_views: tuple[int, ...]
    error: float


@dataclass(frozen=True)
class CheckpointAttention:
    """What one checkpoint looks at.

    Args:
        name: For pictures and tables.
        path: Of the checkpoint.
        step: Training steps it has seen.
        layer: Encoder layer, from 1.
        sets: One result per reference set.
    """

    name: str
    path: str
    step: int
    layer: int
    sets: tuple[SetAttention, ...]

    def summary(self) -> dict[str, dict[str, float | None]]:
        """Mean numbers over the sets for each query, and over queries under ``"all"``."""
        names = [entry.query.name for entry in self.sets[0].maps]
        found = {
            name: _mean_scores([result.maps[place].body for result in self.sets])
            for place, name in enumerate(names)
        }
        found["all"] = {key: _mean([row[key] for row in found.values()]) for key in SUMMED}
        return found


def study(
    model: AvatarModel,
    sets: Sequence[ReferenceSet],
    queries: list[Query],
    *,
    name: str,
    path: str | Path,
    layer: int | None = None,
    head: int | None = None,
    progress: Callable[[], object] | None = None,
) -> CheckpointAttention:
    """Look at the attention of chosen tokens over reference sets.

    Args:
        model: In evaluation mode.
        sets: Reference sets, each of one subject.
        queries: The tokens.
        name: Of the checkpoint in pictures.
        path: Of the checkpoint.
        layer: Encoder layer from 1; the last when None.
        head: One head from 0; the mean of all when None.
        progress: Called after each set.

    Returns:
        Maps and numbers.

    Raises:
        UsageError: There is no such layer or head.
        CheckpointError: The rows do not give the model's output.
    """
    number = layer_number(model, layer)
    check_head(model, head)
    results = []
    for photos in sets:
        results.append(_look(model, photos, queries, number, head))
        if progress is not None:
            progress()
    return CheckpointAttention(name, str(path), int(model.step), number, tuple(results))


def write_attention_json(
    path: str | Path, checkpoints: Sequence[CheckpointAttention], head: int | None
) -> Path:
    """Write every number of a study.

    Args:
        path: The file.
        checkpoints: One, or two to compare.
        head: The head looked at; None for the mean.

    Returns:
        The path.
    """
    import json

    first = checkpoints[0]
    content: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "layer": first.layer,
        "head": "mean" if head is None else head,
        "queries": [asdict(entry.query) for entry in first.sets[0].maps],
        "sets": [
            {
                "subject": found.photos.subject,
                "sequence": found.photos.sequence,
                "photos": found.photos.labels,
            }
            for found in first.sets
        ],
        "checkpoints": [_describe(checkpoint) for checkpoint in checkpoints],
    }
    if len(checkpoints) == 2:
        content["change"] = summary_change(*checkpoints)
    return write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def summary_change(before: CheckpointAttention, after: CheckpointAttention) -> dict[str, dict[str, Any]]:
    """Differences of the summaries, after less before; None where a number is unknown."""
    old, new = before.summary(), after.summary()
    change: dict[str, dict[str, Any]] = {}
    for name, row in old.items():
        change[name] = {}
        for key, value in row.items():
            other = new[name][key]
            change[name][key] = None if value is None or other is None else other - value
    return change


def _look(
    model: AvatarModel, photos: ReferenceSet, queries: list[Query], layer: int, head: int | None
) -> SetAttention:
    found = query_attention(model, photos.references, [query.anchor for query in queries], layer)
    error = max(rows.error for rows in (found.body, found.face) if rows is not None)
    if error > EXACT:
        raise CheckpointError(
            f"The attention rows do not give the layer's output (relative difference {error:.1e}); "
            "do not trust them, and report this with the checkpoint's configuration."
        )
    bodies = _scores(found.body, photos, head, true_places(model, photos, queries), face=False)
    faces: dict[int, tuple[Tensor, MapScore]] = {}
    if found.face is not None:
        scored = _scores(found.face, photos, head, None, face=True)
        faces = dict(zip(found.face.queries, scored, strict=True))
    maps = [
        QueryMaps(query, *bodies[place], *faces.get(query.anchor, (None, None)))
        for place, query in enumerate(queries)
    ]
    return SetAttention(photos, tuple(maps), found.face.views if found.face else (), error)


def _scores(
    rows: AttentionRows, photos: ReferenceSet, head: int | None, places: Places | None, face: bool
) -> list[tuple[Tensor, MapScore]]:
    references = photos.references
    images = references.face_BV3hw if face else references.body_BV3HW
    mattes = references.face_mattes_BV1hw if face else references.body_mattes_BV1HW
    mattes_VHW = None if mattes is None else mattes[0, list(rows.views), 0]
    size = (images.shape[-2], images.shape[-1])
    scored = []
    for place, map_VRC in enumerate(rows.maps(head)):
        points = None if places is None else places.points_QV2[place]
        visible = None if places is None else places.visible_QV[place]
        scored.append((map_VRC, score_map(map_VRC, mattes_VHW, rows.views, size, points, visible)))
    return scored


def _describe(checkpoint: CheckpointAttention) -> dict[str, Any]:
    return {
        "name": checkpoint.name,
        "path": checkpoint.path,
        "step": checkpoint.step,
        "largest_relative_error": max(found.error for found in checkpoint.sets),
        "summary": checkpoint.summary(),
        "maps": [
            [
                {
                    "query": entry.query.name,
                    "body": asdict(entry.body),
                    "face": None if entry.face is None else asdict(entry.face),
                }
                for entry in found.maps
            ]
            for found in checkpoint.sets
        ],
    }


def _mean_scores(scores: Sequence[MapScore]) -> dict[str, float | None]:
    return {key: _mean([getattr(score, key) for score in scores]) for key in SUMMED}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
