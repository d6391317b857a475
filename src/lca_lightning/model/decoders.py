"""Canonical and pose-dependent Gaussian decoders (LCA eq. 8-9, section B.3)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
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

    def clamp(self, log_scales: Tensor) -> Tensor:
        """Clamp logarithms of standard deviations."""
        return log_scales.clamp(math.log(self.minimum), math.log(self.maximum))


def _hidden_layers(config: AvatarModelConfig) -> list[nn.Module]:
    """Everything between the first linear layer and the last one."""
    layers: list[nn.Module] = [nn.LeakyReLU()]
    for _ in range(config.decoder_layers - 2):
        layers += [_hidden(nn.Linear(config.decoder_hidden, config.decoder_hidden)), nn.LeakyReLU()]
    return layers


def _hidden(linear: nn.Linear) -> nn.Linear:
    """He initialisation: signals of the photos reach the last layer without fading."""
    nn.init.kaiming_normal_(linear.weight, a=0.01, nonlinearity="leaky_relu")
    nn.init.zeros_(linear.bias)
    return linear


def _zero_last(linear: nn.Linear) -> nn.Linear:
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


class CanonicalDecoder(nn.Module):
    """Geometry token to ``K`` static Gaussians.

    Args:
        config: Sizes and initial values.
        initial_log_scales_G: Logarithm of the starting size of each Gaussian, metres; added to the decoded
            value, so that dense regions start with small Gaussians and sparse ones with large ones.
    """

    initial_log_scales_G: Tensor

    def __init__(self, config: AvatarModelConfig, initial_log_scales_G: Tensor) -> None:
        super().__init__()
        self.config = config
        outputs = config.gaussians_per_anchor * sum(CANONICAL_CHANNELS)
        self.layers = nn.Sequential(
            _hidden(nn.Linear(config.width, config.decoder_hidden)),
            *_hidden_layers(config),
            _zero_last(nn.Linear(config.decoder_hidden, outputs)),
        )
        bias = torch.zeros(config.gaussians_per_anchor, sum(CANONICAL_CHANNELS))
        bias[:, 6] = math.log(config.initial_opacity / (1 - config.initial_opacity))
        bias[:, 7] = 1.0  # the identity quaternion
        with torch.no_grad():
            last = self.layers[-1]
            assert isinstance(last, nn.Linear)
            last.bias.copy_(bias.flatten())
        self.register_buffer("initial_log_scales_G", initial_log_scales_G, persistent=False)

    def forward(self, tokens_BAD: Tensor, base_BG3: Tensor, limits: ScaleLimits) -> CanonicalGaussians:
        """Decode static attributes.

        Args:
            tokens_BAD: Encoded geometry tokens.
            base_BG3: Surface point of each Gaussian, metres, canonical rig axes.
            limits: Smallest and largest standard deviation.

        Returns:
            Attributes in float32.
        """
        values = self.layers(tokens_BAD).float().unflatten(-1, (-1, sum(CANONICAL_CHANNELS))).flatten(1, 2)
        color, offset, opacity, quaternion, scale = values.split(CANONICAL_CHANNELS, dim=-1)
        return CanonicalGaussians(
            base_BG3=base_BG3,
            offsets_BG3=(offset.sigmoid() - 0.5) * (2 * self.config.max_offset),
            log_scales_BG3=limits.clamp(scale + self.initial_log_scales_G[:, None]),
            quaternions_BG4=functional.normalize(quaternion, dim=-1),
            opacities_BG=opacity.squeeze(-1).sigmoid(),
            color_logits_BG3=color,
        )


class PoseDecoder(nn.Module):
    """Geometry token, driving pose, expression and gaze to attribute deltas; opacity never changes.

    Args:
        config: Sizes.
        signal_width: Length of driving vector, expression and gaze together.
    """

    def __init__(self, config: AvatarModelConfig, signal_width: int) -> None:
        super().__init__()
        self.offset_scale = config.pose_offset_scale
        joint = _hidden(nn.Linear(config.width + signal_width, config.decoder_hidden))
        self.token_projection = nn.Linear(config.width, config.decoder_hidden)
        self.signal_projection = nn.Linear(signal_width, config.decoder_hidden, bias=False)
        with torch.no_grad():  # initialised as the one linear layer over the concatenation that they are
            self.token_projection.weight.copy_(joint.weight[:, : config.width])
            self.token_projection.bias.copy_(joint.bias)
            self.signal_projection.weight.copy_(joint.weight[:, config.width :])
        outputs = config.gaussians_per_anchor * sum(DELTA_CHANNELS)
        self.layers = nn.Sequential(
            *_hidden_layers(config), _zero_last(nn.Linear(config.decoder_hidden, outputs))
        )

    def project_tokens(self, tokens_BAD: Tensor) -> Tensor:
        """The part of the first layer that no frame changes, ``(B, A, hidden)``: once per avatar."""
        return self.token_projection(tokens_BAD)

    def forward(self, projected_BAD: Tensor, signals_BTS: Tensor) -> PoseDeltas:
        """Decode the deltas of ``T`` frames.

        Args:
            projected_BAD: Output of ``project_tokens``.
            signals_BTS: Driving vector, expression and gaze of each frame.

        Returns:
            Deltas in float32.
        """
        hidden = projected_BAD[:, None] + self.signal_projection(signals_BTS)[:, :, None]
        values = self.layers(hidden).float().unflatten(-1, (-1, sum(DELTA_CHANNELS))).flatten(2, 3)
        color, offset, quaternion, scale = values.split(DELTA_CHANNELS, dim=-1)
        return PoseDeltas(color, offset * self.offset_scale, quaternion, scale)


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
