"""What a person wears: everyday clothes with accessories, or what studios ask people to come in."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lca_lightning.datasets.linear_light import srgb_to_linear
from lca_lightning.synthesis.garments import Outfit, Paint, Skirt, random_outfit, random_paint
from lca_lightning.synthesis.hair import random_style
from lca_lightning.synthesis.textures import random_cloth_color

WARDROBES = ("everyday", "bareheaded", "tight", "drawn")
GLASSES = ("round", "square", "sunglasses")
HATS = ("cap", "sun hat", "bucket hat")
BAGS = ("backpack", "shoulder bag")
_STYLES_UNDER_HATS = ("bald", "stubble", "short", "bob", "long", "bun")


@dataclass(frozen=True)
class Jacket:
    """An open jacket or coat over the top.

    Attributes:
        sleeve: Where the sleeve ends along the arm: 1 elbow, 2 wrist.
        hem: Lower edge of the fitted part in ``height_t``.
        gap: Half width of the opening in front, metres.
        thickness: Distance from the clothes under it, metres.
        skirt: The loose part below the waist, or None for a short jacket.
        paint: Pattern and colours.
    """

    sleeve: float
    hem: float
    gap: float
    thickness: float
    skirt: Skirt | None
    paint: Paint


@dataclass(frozen=True)
class Accessories:
    """Things over the clothes; None where there is none.

    Attributes:
        jacket: Jacket or coat.
        glasses: One of ``GLASSES``.
        hat: One of ``HATS``.
        bag: One of ``BAGS``.
        colors: Linear colours of glasses, hat and bag, ``(3, 3)``.
    """

    jacket: Jacket | None = None
    glasses: str | None = None
    hat: str | None = None
    bag: str | None = None
    colors: NDArray | None = None

    def names(self) -> list[str]:
        """Words for what is worn."""
        coat = [] if self.jacket is None else ["jacket" if self.jacket.skirt is None else "coat"]
        return coat + [name for name in (self.glasses, self.hat, self.bag) if name is not None]


@dataclass(frozen=True)
class Dress:
    """Everything a person wears, and the hair."""

    outfit: Outfit
    accessories: Accessories
    hair_style: str


def random_dress(wardrobe: str, rng: np.random.Generator, gender: float) -> Dress:
    """Draw clothes, hair and accessories.

    Args:
        wardrobe: "everyday"; "bareheaded": the same without glasses and headwear; "tight": close-fitting
            clothes without skirt, hat or accessories; "drawn": everyday clothes without what must sit exactly
            on a head.
        rng: Source of every choice.
        gender: The rig's value of femininity.

    Returns:
        What the person wears.
    """
    outfit, style = random_outfit(rng), random_style(rng, gender)
    if wardrobe == "tight":
        return Dress(_tight(outfit, rng), Accessories(), "short" if style == "beanie" else style)
    accessories = _random_accessories(rng, outfit.skirt is not None)
    if wardrobe in ("bareheaded", "drawn"):
        accessories = replace(accessories, glasses=None, hat=None)
    if wardrobe == "bareheaded" and style == "beanie":
        style = "short"
    if accessories.hat is not None and style not in _STYLES_UNDER_HATS:
        style = str(rng.choice(_STYLES_UNDER_HATS))
    return Dress(outfit, accessories, style)


def _tight(outfit: Outfit, rng: np.random.Generator) -> Outfit:
    """The same cut close to the body, shorts or leggings instead of a skirt."""
    top = replace(outfit.top, thickness=float(rng.uniform(0.002, 0.005)))
    leg = float(rng.choice([rng.uniform(0.35, 0.6), rng.uniform(1.85, 1.95)]))
    trousers = replace(outfit.trousers, leg=leg, thickness=float(rng.uniform(0.002, 0.004)))
    return replace(outfit, top=top, trousers=trousers, skirt=None, skirt_paint=None)


def _random_accessories(rng: np.random.Generator, wears_skirt: bool) -> Accessories:
    kinds = (GLASSES, HATS, BAGS)
    odds = (0.3, 0.22, 0.3)
    drawn = [
        str(rng.choice(names)) if rng.random() < odd else None for names, odd in zip(kinds, odds, strict=True)
    ]
    jacket = _random_jacket(rng, wears_skirt) if rng.random() < 0.3 else None
    frames = srgb_to_linear(rng.uniform([0.05, 0.03, 0.02], [0.3, 0.15, 0.12]))
    colors = np.stack([frames, random_cloth_color(rng), random_cloth_color(rng) * 0.7 + 0.02])
    return Accessories(jacket, drawn[0], drawn[1], drawn[2], colors)


def _random_jacket(rng: np.random.Generator, wears_skirt: bool) -> Jacket:
    hem = float(rng.choice([rng.uniform(0.15, 0.4), rng.uniform(0.7, 1.1)], p=[0.6, 0.4]))
    gap = float(rng.uniform(0.02, 0.06))
    flare = float(rng.uniform(0.02, 0.08))
    skirt = None if wears_skirt else Skirt(waist=-0.32, hem=hem, flare=flare, slit=8.0 * gap)
    return Jacket(
        sleeve=float(rng.uniform(1.75, 1.92)),
        hem=-0.2,
        gap=gap,
        thickness=float(rng.uniform(0.008, 0.014)),
        skirt=skirt,
        paint=random_paint(rng, 0.75),
    )
