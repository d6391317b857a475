"""Values that come out the same on every machine: computed in float64, rounded, and only then stored.

Vector units and linear algebra libraries differ in the last bits of a result. In float64 those bits lie ten
orders of magnitude below the places kept here, so that what is written does not depend on them.
"""

from __future__ import annotations

import copy
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from lca_lightning.rig.rig import Rig, RigPose

Doubles = NDArray[np.float64]

SIGNAL_DECIMALS = 5  # radians, metres, coefficients
CAMERA_DECIMALS = 8  # entries of world-to-camera matrices
PIXEL_DECIMALS = 4  # intrinsics
BOX_DECIMALS = 2  # corners of boxes, pixels


def rounded(values: NDArray, decimals: int = SIGNAL_DECIMALS) -> Doubles:
    """Round to decimals; minus zero becomes zero."""
    return np.round(np.asarray(values, np.float64), decimals) + 0.0


def stored(values: NDArray, decimals: int = SIGNAL_DECIMALS) -> NDArray[np.float32]:
    """Round and give the type that is written."""
    return rounded(values, decimals).astype(np.float32)


@lru_cache(maxsize=4)
def double_rig(rig: Rig) -> Rig:
    """A copy of a rig that computes in float64; rigs already there come back as they are."""
    if rig.weights_VJ.dtype == torch.float64:
        return rig
    return copy.deepcopy(rig).double()


def double_pose(pose: RigPose) -> RigPose:
    """A pose in float64."""
    return RigPose(pose.rotations_BJ3.double(), pose.translation_B3.double())
