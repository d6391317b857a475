"""Outfits: which part of the body a garment covers, how thick it is and how it is painted."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lca_lightning.synthesis.body_atlas import BodyFields, Landmarks
from lca_lightning.synthesis.textures import (
    PATTERNS,
    contrasting_color,
    paint_pattern,
    paint_print,
    random_cloth_color,
    random_print,
    text_mask,
)

_EDGE_METRES = 0.003
_ARM_METRES = 0.26
_LEG_METRES = 0.39


@dataclass(frozen=True)
class Top:
    """Shirt or pullover.

    Attributes:
        sleeve: Where the sleeve ends along the arm: 0 none, 1 elbow, 2 wrist.
        hem: Lower edge in ``height_t`` (0 at the hip).
        neck_radius: Half width of the neckline, metres.
        neck_depth: How far the neckline goes down in front, metres.
        thickness: How far it stands off the body, metres.
    """

    sleeve: float
    hem: float
    neck_radius: float
    neck_depth: float
    thickness: float

    def coverage(self, points: BodyFields, marks: Landmarks) -> NDArray:
        """Coverage in [0, 1] of body points, ``(N,)``."""
        on_arm = (points.arm > (0.5 if self.sleeve > 0.05 else 0.3)).astype(np.float64)
        sleeve = _edge((self.sleeve - points.arm_t) * _ARM_METRES)
        offset = points.position - marks.neck
        depth = np.where(offset[:, 2] > 0.0, self.neck_depth, 0.35 * self.neck_depth + 0.01)
        vertical = np.where(offset[:, 1] < 0, offset[:, 1] / depth, 0.0)
        hole = np.sqrt((offset[:, 0] / self.neck_radius) ** 2 + vertical**2)
        neckline = _edge((hole - 1) * self.neck_radius) * (points.head < 0.6)
        torso = _edge((self.hem - points.height_t) * _LEG_METRES) * neckline
        return np.where(on_arm > 0, sleeve, torso)


@dataclass(frozen=True)
class Trousers:
    """Trousers, shorts or tights.

    Attributes:
        waist: Upper edge in ``height_t``.
        leg: Lower edge in ``height_t``: 1 knee, 2 ankle.
        thickness: How far it stands off the body at the lower edge, metres.
    """

    waist: float
    leg: float
    thickness: float

    def coverage(self, points: BodyFields, marks: Landmarks) -> NDArray:
        """Coverage in [0, 1] of body points, ``(N,)``."""
        below = _edge((points.height_t - self.waist) * _LEG_METRES)
        above = _edge((self.leg - points.height_t) * _LEG_METRES)
        return below * above * (points.arm < 0.4)


@dataclass(frozen=True)
class Shoes:
    """Shoes or boots; ``shaft`` is their upper edge in ``height_t`` (2 at the ankle joint)."""

    shaft: float
    thickness: float = 0.003

    def coverage(self, points: BodyFields, marks: Landmarks) -> NDArray:
        """Coverage in [0, 1] of body points, ``(N,)``."""
        return _edge((points.height_t - self.shaft) * _LEG_METRES) * (points.arm < 0.4)


@dataclass(frozen=True)
class Skirt:
    """Skirt on a mesh of its own.

    Attributes:
        waist: Upper edge in ``height_t``.
        hem: Lower edge in ``height_t``.
        flare: Growth of the radius from waist to hem, metres.
        slit: Angle that is open in front, radians; 0 closes it.
    """

    waist: float
    hem: float
    flare: float
    slit: float = 0.0


@dataclass(frozen=True)
class Paint:
    """Pattern, colours and prints of one garment."""

    pattern: str
    colors: tuple[NDArray, ...]
    scale: float
    seed: int
    prints: tuple[tuple[str, bool], ...] = field(default=())

    def colors_at(self, points: BodyFields, marks: Landmarks) -> NDArray:
        """Linear RGB ``(N, 3)`` at body points."""
        rng = np.random.default_rng(self.seed)
        colors = paint_pattern(self.pattern, points, self.colors, self.scale, rng)
        for text, back in self.prints:
            center = np.array([0.0, marks.neck[1] - (0.16 if back else 0.19)])
            width = 0.2 if len(text) < 3 else 0.27
            colors = paint_print(colors, points, text_mask(text), self.colors[-1], center, width, back)
        return colors


@dataclass(frozen=True)
class Outfit:
    """What a person wears; later garments lie over earlier ones."""

    trousers: Trousers
    trousers_paint: Paint
    shoes: Shoes
    shoes_paint: Paint
    top: Top
    top_paint: Paint
    skirt: Skirt | None
    skirt_paint: Paint | None
    tucked: bool

    def layers(self) -> list[tuple[Trousers | Shoes | Top, Paint]]:
        """Garments that lie on the body, from the inside out."""
        legs: list[tuple[Trousers | Shoes | Top, Paint]] = [(self.trousers, self.trousers_paint)]
        top: list[tuple[Trousers | Shoes | Top, Paint]] = [(self.top, self.top_paint)]
        shoes: list[tuple[Trousers | Shoes | Top, Paint]] = [(self.shoes, self.shoes_paint)]
        return [*shoes, *top, *legs] if self.tucked else [*shoes, *legs, *top]

    def paint(self, skin_N3: NDArray, points: BodyFields, marks: Landmarks) -> NDArray:
        """Paint all garments over skin colours, ``(N, 3)``."""
        colors = skin_N3
        for garment, paint in self.layers():
            amount = garment.coverage(points, marks)[:, None]
            colors = colors + (paint.colors_at(points, marks) - colors) * amount
        return colors

    def thickness(self, points: BodyFields, marks: Landmarks) -> NDArray:
        """Distance in metres between cloth and skin at body points, ``(N,)``."""
        total = np.zeros(len(points.position))
        for garment, _ in self.layers():
            total = np.maximum(
                total, garment.coverage(points, marks) * garment.thickness * _looseness(garment, points)
            )
        return total


def _looseness(garment: Trousers | Shoes | Top, points: BodyFields) -> NDArray:
    """Cloth hangs further off the body towards its lower edge."""
    if isinstance(garment, Top):
        torso = np.clip(0.35 + 0.65 * (points.height_t + 0.8) / 0.8, 0.35, 1.0)
        return np.where(points.arm > 0.5, np.clip(0.4 + 0.5 * points.arm_t, 0.4, 1), torso)
    if isinstance(garment, Trousers):
        return np.clip(0.25 + 0.5 * points.height_t, 0.15, 1.0)
    return np.ones(len(points.position))


def _edge(signed_metres: NDArray) -> NDArray:
    return np.clip(signed_metres / _EDGE_METRES + 0.5, 0.0, 1.0)


def random_paint(
    rng: np.random.Generator, odds_plain: float, prints: tuple[tuple[str, bool], ...] = ()
) -> Paint:
    """Draw pattern and colours; ``odds_plain`` is the chance of plain cloth."""
    pattern = "plain" if rng.random() < odds_plain else str(rng.choice(PATTERNS[1:]))
    first = random_cloth_color(rng)
    second = contrasting_color(rng, first)
    ink = (
        contrasting_color(rng, first)
        if pattern == "plain"
        else 1.0 - np.round(first.mean() + 0.3) * np.ones(3) * 0.9
    )
    return Paint(
        pattern, (first, second, ink), float(rng.uniform(0.04, 0.13)), int(rng.integers(2**31)), prints
    )


def random_outfit(rng: np.random.Generator) -> Outfit:
    """Draw an outfit.

    Args:
        rng: Source of every choice.

    Returns:
        A complete outfit; skirts come with bare legs or tights.
    """
    sleeve = float(rng.choice([0.0, rng.uniform(0.45, 0.8), rng.uniform(1.85, 1.97)], p=[0.1, 0.5, 0.4]))
    deep = rng.random() < 0.25
    top = Top(
        sleeve=sleeve,
        hem=float(rng.uniform(-0.02, 0.3)),
        neck_radius=float(rng.uniform(0.075, 0.105)),
        neck_depth=float(rng.uniform(0.12, 0.17) if deep else rng.uniform(0.05, 0.09)),
        thickness=float(rng.uniform(0.006, 0.022)),
    )
    prints: list[tuple[str, bool]] = []
    if rng.random() < 0.55:
        prints.append((random_print(rng), False))
    if rng.random() < 0.35:
        prints.append((random_print(rng), True))
    wears_skirt = rng.random() < 0.2
    leg = float(rng.choice([rng.uniform(0.55, 0.95), rng.uniform(1.85, 2.0)], p=[0.35, 0.65]))
    trousers = Trousers(
        waist=float(rng.uniform(-0.3, -0.15)),
        leg=0.2 if wears_skirt and rng.random() < 0.6 else leg,
        thickness=0.002 if wears_skirt else float(rng.uniform(0.004, 0.022)),
    )
    shaft = float(rng.choice([rng.uniform(1.93, 2.0), rng.uniform(1.55, 1.8)], p=[0.75, 0.25]))
    skirt = Skirt(waist=-0.25, hem=float(rng.uniform(0.6, 1.5)), flare=float(rng.uniform(0.03, 0.16)))
    return Outfit(
        trousers=trousers,
        trousers_paint=random_paint(rng, 0.65),
        shoes=Shoes(shaft),
        shoes_paint=random_paint(rng, 0.8),
        top=top,
        top_paint=random_paint(rng, 0.4, tuple(prints)),
        skirt=skirt if wears_skirt else None,
        skirt_paint=random_paint(rng, 0.5) if wears_skirt else None,
        tucked=bool(wears_skirt or rng.random() < 0.3),
    )
