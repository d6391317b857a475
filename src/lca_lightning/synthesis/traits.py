"""What is decided about a person before anything is built: body, skin, hair, clothes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lca_lightning.rig.rig import Rig
from lca_lightning.synthesis.identity import PHENOTYPE_RANGES, random_identity
from lca_lightning.synthesis.proportions import Proportions
from lca_lightning.synthesis.textures import hair_color
from lca_lightning.synthesis.wardrobe import Dress, random_dress

THIRDS = (1 / 3, 2 / 3)


@dataclass(frozen=True)
class Traits:
    """The draws that describe a person.

    Attributes:
        identity_I: Identity values of the rig.
        gender: The rig's value of femininity.
        dress: Clothes, accessories and hair style.
        hair: Linear hair colour.
        melanin: Place of the skin on the ramp from light (0) to dark (1).
    """

    identity_I: Tensor
    gender: float
    dress: Dress
    hair: NDArray[np.float64]
    melanin: float


def draw_traits(
    rig: Rig, rng: np.random.Generator, wardrobe: str, proportions: Proportions | None = None
) -> Traits:
    """Draw a person's traits: the first draws of `person.create_person`.

    Args:
        rig: The rig.
        rng: Source of every choice.
        wardrobe: One of ``wardrobe.WARDROBES``.
        proportions: Exaggerated proportions, or None for a natural body.

    Returns:
        The traits.
    """
    identity = random_identity(rig, rng)
    if proportions is not None:
        identity = proportions.push(rig, identity)
    gender = float(identity[rig.identity_names.index("gender")]) if "gender" in rig.identity_names else 0.5
    dress = random_dress(wardrobe, rng, gender)
    return Traits(identity, gender, dress, hair_color(rng), float(rng.random()))


def slice_labels(traits: Traits, rig: Rig) -> dict[str, str]:
    """Plain words for a person, one label of each kind: what scores are sliced by.

    Args:
        traits: The person's traits.
        rig: Whose identity values they have.

    Returns:
        Label by kind. Body values are cut at the thirds of the range they are drawn from.
    """
    outfit, worn = traits.dress.outfit, traits.dress.accessories
    labels = {
        "skin tone": _third(traits.melanin, ("light", "medium", "dark")),
        **_body_labels(traits.identity_I, rig),
        "legs": "skirt" if outfit.skirt is not None else "short" if outfit.trousers.leg < 1.4 else "long",
        "sleeves": "none" if outfit.top.sleeve < 0.1 else "short" if outfit.top.sleeve < 1.4 else "long",
        "over the top": "nothing" if worn.jacket is None else "coat" if worn.jacket.skirt else "jacket",
        "hair": _HAIR.get(traits.dress.hair_style, traits.dress.hair_style),
    }
    for kind, thing in (("hat", worn.hat), ("glasses", worn.glasses), ("bag", worn.bag)):
        labels[kind] = "with" if thing is not None else "without"
    return labels


_BODY = {
    "build": ("weight", ("slight", "medium", "heavy")),
    "stature": ("height", ("short", "medium", "tall")),
    "muscle": ("muscle", ("little", "medium", "much")),
    "age": ("age", ("younger", "middle", "older")),
    "body": ("gender", ("masculine", "between", "feminine")),
}
_HAIR = {"bald": "none or stubble", "stubble": "none or stubble", "short": "short", "full": "short",
         "bob": "long", "long": "long", "bun": "tied", "tail": "tied", "beanie": "beanie"}  # fmt: skip


def _body_labels(identity_I: Tensor, rig: Rig) -> dict[str, str]:
    labels = {}
    for kind, (name, words) in _BODY.items():
        if name in rig.identity_names:
            low, high = PHENOTYPE_RANGES[name]
            value = float(identity_I[rig.identity_names.index(name)])
            labels[kind] = _third((value - low) / (high - low), words)
    return labels


def _third(share: float, words: tuple[str, str, str]) -> str:
    return words[int(np.searchsorted(THIRDS, share))]
