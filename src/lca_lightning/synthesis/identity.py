"""Body shapes of random adults."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lca_lightning.rig.rig import Rig
from lca_lightning.synthesis.precision import stored

PHENOTYPE_RANGES = {
    "gender": (0.0, 1.0),
    "age": (0.6, 0.95),
    "muscle": (0.2, 0.85),
    "weight": (0.2, 0.85),
    "height": (0.3, 0.75),
    "proportions": (0.3, 0.9),
    "cupsize": (0.2, 0.7),
    "firmness": (0.3, 0.8),
    "african": (0.0, 1.0),
    "asian": (0.0, 1.0),
    "caucasian": (0.0, 1.0),
}
"""From where to where each value of a random adult is drawn, uniformly."""
_LOCAL_CHANGE_DEVIATION = 0.25


def random_identity(rig: Rig, rng: np.random.Generator) -> Tensor:
    """Identity values of a random adult, inside the rig's bounds, ``(I,)``."""
    bounds = rig.identity_bounds().double().numpy()
    neutral = rig.neutral_identity().double().numpy()
    values = np.empty(len(neutral))
    for index, name in enumerate(rig.identity_names):
        if name in PHENOTYPE_RANGES:
            values[index] = rng.uniform(*PHENOTYPE_RANGES[name])
        else:
            spread = _LOCAL_CHANGE_DEVIATION * (bounds[index, 1] - bounds[index, 0]) / 2
            values[index] = neutral[index] + rng.normal(0, spread)
    _keep_sides_equal(rig.identity_names, values)
    return torch.from_numpy(stored(np.clip(values, bounds[:, 0], bounds[:, 1])))


def _keep_sides_equal(names: tuple[str, ...], values: NDArray) -> None:
    for index, name in enumerate(names):
        other = "l-" + name[2:]
        if name.startswith("r-") and other in names:
            values[index] = values[names.index(other)]
