"""The picture of a token study: one plane of subjects per checkpoint, coloured by domain (LCA Figure S1)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lca_lightning.analysis.token_study import TokenStudy
from lca_lightning.datasets.pictures import write_png

# in-the-wild red and studio green as in the paper; further domains in order
_KNOWN = {"wild": (214, 64, 56), "studio": (46, 150, 80)}
_OTHERS = ((58, 110, 190), (230, 150, 30), (130, 80, 170), (90, 90, 90), (0, 150, 160), (180, 60, 130))
_PAPER, _INK, _FAINT, _FRAME = (255, 255, 255), (30, 30, 30), (110, 110, 110), (205, 205, 205)
_FINE = 3  # drawn this much larger, then reduced: smooth dots and lines
_GAP, _TITLE, _LINE, _MARGIN = 14, 24, 17, 0.09


def write_tokens_picture(path: str | Path, studies: Sequence[TokenStudy], side: int = 340) -> Path:
    """Draw the planes side by side.

    Args:
        path: The PNG file.
        studies: One per checkpoint.
        side: Of each plane in pixels.

    Returns:
        The path.
    """
    font, small = ImageFont.load_default(size=15), ImageFont.load_default(size=12)
    domains = list(dict.fromkeys(domain for study in studies for domain in study.domains))
    colors = domain_colors(domains)
    pitch = side + _GAP
    height = 2 * _GAP + _LINE + _TITLE + side + 6 * _LINE
    sheet = Image.new("RGB", (max(len(studies) * pitch + _GAP, 480), height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    _legend(draw, studies[0], colors, small)
    for number, study in enumerate(studies):
        left, top = _GAP + number * pitch, _GAP + _LINE + _TITLE
        draw.text((left, top - _LINE - 3), f"{study.name} (step {study.step})", _INK, font)
        sheet.paste(_plane(study, colors, side), (left, top))
        for line, text in enumerate(_facts(study)):
            draw.text((left, top + side + 4 + line * _LINE), text, _INK if line == 1 else _FAINT, small)
    return write_png(sheet, path)


def domain_colors(domains: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """A colour for each domain: the paper's for names that contain ``wild`` and ``studio``."""
    colors: dict[str, tuple[int, int, int]] = {}
    others = iter(_OTHERS * (1 + len(domains) // len(_OTHERS)))
    for domain in domains:
        known = next((color for part, color in _KNOWN.items() if part in domain.lower()), None)
        colors[domain] = known if known is not None and known not in colors.values() else next(others)
    return colors


def _facts(study: TokenStudy) -> list[str]:
    scores = study.scores
    first, second = study.plane.explained
    return [
        f"axes hold {first:.0%} and {second:.0%} of the variance",
        f"silhouette {scores.silhouette:.2f} (by chance {scores.silhouette_chance:.3f})",
        f"nearest mean {scores.centroid_accuracy:.0%}, linear {scores.linear_accuracy:.0%} right",
        f"distance of means over spread {scores.distance_ratio:.2f}",
        f"in the plane: silhouette {study.plane_scores.silhouette:.2f}, Frechet {scores.frechet_2d:.2f}",
    ]


def _plane(study: TokenStudy, colors: dict[str, tuple[int, int, int]], side: int) -> Image.Image:
    """Dots of the subjects and a cross at each domain's mean; both axes have the same scale."""
    points_N2 = study.plane.points_N2
    middle_2 = (points_N2.max(0) + points_N2.min(0)) / 2
    reach = max(float(np.abs(points_N2 - middle_2).max()), 1e-12)
    size = side * _FINE
    picture = Image.new("RGB", (size, size), _PAPER)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, size - 1, size - 1), outline=_FRAME, width=_FINE)

    def place(point_2: np.ndarray) -> tuple[float, float]:
        x, y = (point_2 - middle_2) / reach * (1 - 2 * _MARGIN) / 2 * size
        return size / 2 + float(x), size / 2 - float(y)

    radius = 5 * _FINE
    for entry, point_2 in zip(study.subjects, points_N2, strict=True):
        x, y = place(point_2)
        draw.ellipse(
            (x - radius, y - radius, x + radius, y + radius), colors[entry.domain], _PAPER, width=_FINE
        )
    for domain in study.domains:
        own = np.array([entry.domain == domain for entry in study.subjects])
        x, y = place(points_N2[own].mean(0))
        for step in ((1, 1), (1, -1)):
            arm_x, arm_y = (2 * radius * part for part in step)
            for width, color in ((4 * _FINE, _PAPER), (2 * _FINE, colors[domain])):
                draw.line((x - arm_x, y - arm_y, x + arm_x, y + arm_y), color, width)
    return picture.resize((side, side), Image.Resampling.LANCZOS)


def _legend(
    draw: ImageDraw.ImageDraw, study: TokenStudy, colors: dict[str, tuple[int, int, int]], font: object
) -> None:
    x = _GAP
    for domain, color in colors.items():
        count = sum(entry.domain == domain for entry in study.subjects)
        draw.ellipse((x, _GAP - 6, x + 9, _GAP + 3), color)
        text = f"{domain}: {count} subjects"
        draw.text((x + 14, _GAP - 9), text, _INK, font)  # type: ignore[arg-type]
        x += 14 + round(draw.textlength(text, font)) + 24  # type: ignore[arg-type]
    draw.text((x, _GAP - 9), "cross: mean of a domain", _FAINT, font)  # type: ignore[arg-type]
