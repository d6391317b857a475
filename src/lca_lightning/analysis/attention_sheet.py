"""The picture of an attention study: a row per query, a column per photo, as in LCA's Figure 6."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from lca_lightning.analysis.attention_scores import MapScore
from lca_lightning.analysis.attention_study import CheckpointAttention, QueryMaps, SetAttention
from lca_lightning.analysis.body_picture import body_picture
from lca_lightning.analysis.heat_colors import change_picture, color_bar, heat_picture, mark, upsample
from lca_lightning.datasets.pictures import to_uint8, write_png
from lca_lightning.model.avatar_model import AvatarModel

_GAP, _LINE, _TEXT_WIDTH = 6, 15, 190
_PAPER, _INK, _FAINT = (255, 255, 255), (30, 30, 30), (115, 115, 115)
Cell = tuple[Image.Image, str]


def write_attention_sheet(
    path: str | Path,
    model: AvatarModel,
    checkpoints: Sequence[CheckpointAttention],
    height: int = 220,
    number: int = 0,
) -> Path:
    """Write the picture of one reference set.

    Args:
        path: The PNG file.
        model: Whose rig and anchors the queries are of.
        checkpoints: One, or two: then a third line shows the change from the first to the second.
        height: Of every photo in pixels.
        number: Which of the reference sets.

    Returns:
        The path.
    """
    sets = [checkpoint.sets[number] for checkpoint in checkpoints]
    rows: list[tuple[Image.Image | None, list[str], list[Cell]]] = [(None, [], _photos(sets[0], height))]
    for place, entry in enumerate(sets[0].maps):
        silhouette = body_picture(model, entry.query, height)
        for checkpoint, found in zip(checkpoints, sets, strict=True):
            title = [entry.query.name, f"anchor {entry.query.anchor}", "", checkpoint.name]
            score = found.maps[place].body
            rows.append((silhouette, title + _facts(score), _heat_cells(found, found.maps[place], height)))
        if len(sets) == 2:
            pair = (sets[0].maps[place], sets[1].maps[place])
            title = [entry.query.name, "", "change", f"{checkpoints[0].name} to", checkpoints[1].name]
            rows.append((silhouette, title, _change_cells(sets[0], pair, height)))
    return write_png(_compose(rows, _heading(checkpoints, sets[0]), height, len(sets) == 2), path)


def _heading(checkpoints: Sequence[CheckpointAttention], found: SetAttention) -> str:
    names = " and ".join(f"{item.name} (step {item.step})" for item in checkpoints)
    return f"{found.photos.sequence}: attention of layer {checkpoints[0].layer} in {names}"


def _photos(found: SetAttention, height: int) -> list[Cell]:
    """The photos as the model saw them: bodies, then face close-ups."""
    references = found.photos.references
    cells = [
        (_resize(image, height), label)
        for image, label in zip(references.body_BV3HW[0], found.photos.labels, strict=True)
    ]
    return cells + [
        (_resize(references.face_BV3hw[0, view], height), f"face of {found.photos.labels[view]}")
        for view in found.face_views
    ]


def _heat_cells(found: SetAttention, entry: QueryMaps, height: int) -> list[Cell]:
    cells: list[Cell] = []
    for images_V3HW, map_VRC, score in _kinds(found, entry):
        sizes = _size(images_V3HW, height)
        heat_VHW = upsample(map_VRC, sizes) / max(float(map_VRC.max()), 1e-30)
        for image, heat, photo in zip(images_V3HW, heat_VHW, score.photos, strict=True):
            picture = Image.fromarray(heat_picture(np.asarray(_resize(image, height)), heat))
            if photo.place is not None:
                mark(picture, photo.place, bool(photo.visible))
            on_person = "" if photo.on_person is None else f", {photo.on_person:.0%} on person"
            cells.append((picture, f"{photo.share:.0%} here{on_person}"))
    return cells


def _change_cells(found: SetAttention, pair: tuple[QueryMaps, QueryMaps], height: int) -> list[Cell]:
    """Where attention grew (red) and shrank (blue): both maps sum to 1 over the photos of their kind."""
    cells: list[Cell] = []
    kinds = [_kinds(found, entry) for entry in pair]
    for (images_V3HW, before_VRC, _), (_, after_VRC, score) in zip(*kinds, strict=True):
        sizes = _size(images_V3HW, height)
        change_VHW = upsample(_density(after_VRC), sizes) - upsample(_density(before_VRC), sizes)
        change_VHW = change_VHW / max(float(np.abs(change_VHW).max()), 1e-30)
        for image, change, photo in zip(images_V3HW, change_VHW, score.photos, strict=True):
            picture = Image.fromarray(change_picture(np.asarray(_resize(image, height)), change))
            if photo.place is not None:
                mark(picture, photo.place, bool(photo.visible))
            cells.append((picture, "red more, blue less"))
    return cells


def _kinds(found: SetAttention, entry: QueryMaps) -> list[tuple[Tensor, Tensor, MapScore]]:
    """Photos, map and numbers of the body pictures and, for a token of the face, of the close-ups."""
    references = found.photos.references
    kinds = [(references.body_BV3HW[0], entry.body_VRC, entry.body)]
    if entry.face_VRC is not None and entry.face is not None:
        kinds.append((references.face_BV3hw[0, list(found.face_views)], entry.face_VRC, entry.face))
    return kinds


def _density(map_VRC: Tensor) -> Tensor:
    """Attention over that of an even spread; grids of other sizes then compare."""
    return map_VRC.double() * map_VRC.numel() / map_VRC.double().sum().clamp(min=1e-30)


def _facts(score: MapScore) -> list[str]:
    lines = [f"to photos {score.on_images:.1%}"]
    if score.on_person is not None and score.person_area is not None:
        lines.append(f"on person {score.on_person:.0%} (even {score.person_area:.0%})")
    if score.near is not None and score.near_area is not None:
        lines.append(f"near the part {score.near:.0%} (even {score.near_area:.0%})")
    return [*lines, f"entropy {score.entropy:.2f}"]


def _compose(
    rows: list[tuple[Image.Image | None, list[str], list[Cell]]], heading: str, height: int, change: bool
) -> Image.Image:
    font, small = ImageFont.load_default(size=12), ImageFont.load_default(size=11)
    body_width = max((picture.width for picture, _, _ in rows if picture is not None), default=0)
    left = _GAP + _TEXT_WIDTH + body_width + _GAP
    pitch = height + _LINE + _GAP
    width = left + max(sum(picture.width + _GAP for picture, _ in cells) for _, _, cells in rows)
    sheet = Image.new("RGB", (max(width, 900), 2 * _LINE + _GAP * 3 + len(rows) * pitch), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, _GAP), heading, _INK, font)
    _legend(sheet, draw, small, change)
    for row, (silhouette, texts, cells) in enumerate(rows):
        top = 2 * _LINE + 2 * _GAP + row * pitch
        for line, text in enumerate(texts):
            style = (_INK, font) if line == 0 else (_FAINT, small)
            draw.text((_GAP, top + line * _LINE), text, *style)
        if silhouette is not None:
            sheet.paste(silhouette, (_GAP + _TEXT_WIDTH, top))
        x = left
        for picture, label in cells:
            sheet.paste(picture, (x, top))
            draw.text((x, top + height + 1), label, _FAINT, small)
            x += picture.width + _GAP
    return sheet


def _legend(sheet: Image.Image, draw: ImageDraw.ImageDraw, font: object, change: bool) -> None:
    y = _GAP + _LINE + 2
    sheet.paste(color_bar(80, 10), (_GAP, y + 2))
    text = "none to the query's largest in any photo; ring: the true place (green seen, blue hidden)"
    draw.text((_GAP + 86, y), text, _FAINT, font)  # type: ignore[arg-type]
    if change:
        sheet.paste(color_bar(80, 10, change=True), (_GAP + 560, y + 2))
        draw.text((_GAP + 646, y), "change: less to more", _FAINT, font)  # type: ignore[arg-type]


def _size(images_V3HW: Tensor, height: int) -> tuple[int, int]:
    return height, max(1, round(images_V3HW.shape[-1] * height / images_V3HW.shape[-2]))


def _resize(image_3HW: Tensor, height: int) -> Image.Image:
    rows, columns = _size(image_3HW[None], height)
    with torch.no_grad():
        return Image.fromarray(to_uint8(image_3HW)).resize((columns, rows), Image.Resampling.LANCZOS)
