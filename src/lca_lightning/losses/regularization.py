"""Regularisers of Gaussian positions and shapes (after LHM's "as close / as spherical as possible")."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lca_lightning.errors import ConfigError, check_shape
from lca_lightning.rig.rig import REGIONS


def region_factors(factors: Mapping[str, float]) -> Tensor:
    """Weight of each region label, 1 where a region is not named.

    Args:
        factors: Weight by region name.

    Returns:
        Weights in the order of ``REGIONS``.

    Raises:
        ConfigError: A region is unknown.
    """
    unknown = sorted(set(factors) - set(REGIONS))
    if unknown:
        raise ConfigError(
            f"Unknown body region {unknown[0]!r} in model.losses.region_factors; "
            f"choose from {', '.join(REGIONS)}."
        )
    return torch.tensor([float(factors.get(region, 1.0)) for region in REGIONS])


def position_penalty(offsets_G3: Tensor, weights_G: Tensor, free_distance: float = 0.05625) -> Tensor:
    """How far Gaussians stray from the surface: weighted mean of ``max(|offset|, d) - d``.

    Args:
        offsets_G3: Offsets from the surface points, metres, ``(..., G, 3)``.
        weights_G: Weight of each Gaussian.
        free_distance: Distance ``d`` that costs nothing, metres.

    Returns:
        A scalar, metres.
    """
    check_shape("weights_G", weights_G, (offsets_G3.shape[-2],))
    # The square root of zero has no gradient, so lengths are compared from a tiny positive one on.
    lengths = offsets_G3.square().sum(-1).clamp_min(1e-12).sqrt()
    return (weights_G * (lengths.clamp_min(free_distance) - free_distance)).mean()


def scale_penalty(log_scales_G3: Tensor, weights_G: Tensor, free_ratio: float = 5.0) -> Tensor:
    """How elongated Gaussians are: weighted mean of ``max(s_max / s_min, r) - r``.

    Args:
        log_scales_G3: Logarithms of the standard deviations, ``(..., G, 3)``.
        weights_G: Weight of each Gaussian.
        free_ratio: Ratio ``r`` that costs nothing.

    Returns:
        A scalar.
    """
    check_shape("weights_G", weights_G, (log_scales_G3.shape[-2],))
    ratio = (log_scales_G3.amax(-1) - log_scales_G3.amin(-1)).exp()
    return (weights_G * (ratio.clamp_min(free_ratio) - free_ratio)).mean()
