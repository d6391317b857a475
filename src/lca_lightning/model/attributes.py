"""Attributes of Gaussians before posing: what decoders give, how corrections apply, where they start."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from lca_lightning.model.configuration import AvatarModelConfig

CANONICAL_CHANNELS = (3, 3, 1, 4, 3)  # colour, offset, opacity, quaternion, scale
DELTA_CHANNELS = (3, 3, 4, 3)  # colour, offset, quaternion, scale


@dataclass(frozen=True)
class CanonicalGaussians:
    """Attributes of the unposed avatar; the corrected ones of a frame have the same fields.

    Leading dimensions are ``(B, G)``, or ``(B, T, G)`` after pose correctives.

    Args:
        base_BG3: Surface points the offsets start from, metres, canonical rig axes, ``(B, G, 3)``.
        offsets_BG3: Offsets from them, metres.
        log_scales_BG3: Logarithms of the standard deviations in metres, inside the limits.
        quaternions_BG4: Unit quaternions ``wxyz``.
        opacities_BG: In (0, 1).
        color_logits_BG3: sRGB before the sigmoid.
    """

    base_BG3: Tensor
    offsets_BG3: Tensor
    log_scales_BG3: Tensor
    quaternions_BG4: Tensor
    opacities_BG: Tensor
    color_logits_BG3: Tensor

    @property
    def scales_BG3(self) -> Tensor:
        """Standard deviations, metres."""
        return self.log_scales_BG3.exp()

    @property
    def colors_BG3(self) -> Tensor:
        """sRGB in (0, 1)."""
        return self.color_logits_BG3.sigmoid()


class PoseDeltas(NamedTuple):
    """What pose, expression and gaze add to the attributes of ``T`` frames, ``(B, T, G, C)`` each."""

    color_logits_BTG3: Tensor
    offsets_BTG3: Tensor
    quaternions_BTG4: Tensor
    log_scales_BTG3: Tensor


class ScaleLimits(NamedTuple):
    """Smallest and largest standard deviation, metres."""

    minimum: float
    maximum: float

    def log_bounds(self) -> tuple[float, float]:
        """Logarithms of both."""
        return math.log(self.minimum), math.log(self.maximum)

    def clamp(self, log_scales: Tensor) -> Tensor:
        """Clamp logarithms of standard deviations."""
        return log_scales.clamp(*self.log_bounds())


def attributes_of(
    values: Tensor, base_BG3: Tensor, initial_log_scales_G: Tensor, max_offset: float, limits: ScaleLimits
) -> CanonicalGaussians:
    """Turn decoded values into attributes: colour, offset, opacity, quaternion, scale.

    Args:
        values: Decoded values, ``(..., G, 14)``.
        base_BG3: Surface point of each Gaussian, ``(..., G, 3)``, metres.
        initial_log_scales_G: Added to the decoded logarithm of the size.
        max_offset: Largest offset per axis, metres.
        limits: Smallest and largest standard deviation.
    """
    color, offset, opacity, quaternion, scale = values.split(CANONICAL_CHANNELS, dim=-1)
    return CanonicalGaussians(
        base_BG3=base_BG3,
        offsets_BG3=(offset.sigmoid() - 0.5) * (2 * max_offset),
        log_scales_BG3=limits.clamp(scale + initial_log_scales_G[:, None]),
        quaternions_BG4=functional.normalize(quaternion, dim=-1),
        opacities_BG=opacity.squeeze(-1).sigmoid(),
        color_logits_BG3=color,
    )


def initial_values(config: AvatarModelConfig) -> Tensor:
    """Values that stand for a grey Gaussian at its surface point: a bias of the last layer, flattened."""
    values = torch.zeros(config.gaussians_per_anchor, sum(CANONICAL_CHANNELS))
    values[:, 6] = math.log(config.initial_opacity / (1 - config.initial_opacity))
    values[:, 7] = 1.0  # the identity quaternion
    return values.flatten()


def apply_deltas(
    canonical: CanonicalGaussians, deltas: PoseDeltas, limits: ScaleLimits
) -> CanonicalGaussians:
    """Correct the attributes for each frame: everything adds, quaternions are normalised again.

    Args:
        canonical: Attributes ``(B, G, ...)``.
        deltas: Deltas ``(B, T, G, ...)``.
        limits: Smallest and largest standard deviation.

    Returns:
        Attributes ``(B, T, G, ...)``; base points and opacities are the canonical ones, repeated.
    """
    frames = deltas.offsets_BTG3.shape[1]
    return replace(
        canonical,
        base_BG3=canonical.base_BG3[:, None].expand(-1, frames, -1, -1),
        offsets_BG3=canonical.offsets_BG3[:, None] + deltas.offsets_BTG3,
        log_scales_BG3=limits.clamp(canonical.log_scales_BG3[:, None] + deltas.log_scales_BTG3),
        quaternions_BG4=functional.normalize(
            canonical.quaternions_BG4[:, None] + deltas.quaternions_BTG4, dim=-1
        ),
        opacities_BG=canonical.opacities_BG[:, None].expand(-1, frames, -1),
        color_logits_BG3=canonical.color_logits_BG3[:, None] + deltas.color_logits_BTG3,
    )


def initial_log_scales(spacing_G: Tensor, regions_G: Tensor, config: AvatarModelConfig) -> Tensor:
    """Starting size of each Gaussian: the median spacing of the Gaussians of its region.

    Args:
        spacing_G: Distance of each Gaussian to its nearest neighbours, metres.
        regions_G: Region labels.
        config: Factor and largest size.

    Returns:
        Logarithms of standard deviations in metres, ``(G,)``.
    """
    sizes = spacing_G.clone()
    for region in regions_G.unique():
        members = regions_G == region
        sizes[members] = spacing_G[members].median()
    sizes = sizes * config.initial_scale_factor
    return sizes.clamp(config.minimum_scale, config.scale_limit_end).log()
