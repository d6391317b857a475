"""Canonical and pose-dependent Gaussian decoders (LCA eq. 8-9, section B.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lca_lightning.model.attributes import (
    CANONICAL_CHANNELS,
    DELTA_CHANNELS,
    CanonicalGaussians,
    PoseDeltas,
    ScaleLimits,
    apply_deltas,
    attributes_of,
    initial_values,
)
from lca_lightning.model.configuration import AvatarModelConfig


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
        with torch.no_grad():
            last = self.layers[-1]
            assert isinstance(last, nn.Linear)
            last.bias.copy_(initial_values(config))
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
        return attributes_of(values, base_BG3, self.initial_log_scales_G, self.config.max_offset, limits)


class DrivenDecoder(nn.Module):
    """A decoder over ``[token, driving signals]`` whose token half is computed once per avatar.

    Args:
        config: Sizes.
        signal_width: Length of driving vector, expression and gaze together.
        channels: Values of each Gaussian.
    """

    def __init__(self, config: AvatarModelConfig, signal_width: int, channels: int) -> None:
        super().__init__()
        self.channels = channels
        joint = _hidden(nn.Linear(config.width + signal_width, config.decoder_hidden))
        self.token_projection = nn.Linear(config.width, config.decoder_hidden)
        self.signal_projection = nn.Linear(signal_width, config.decoder_hidden, bias=False)
        with torch.no_grad():  # initialised as the one linear layer over the concatenation that they are
            self.token_projection.weight.copy_(joint.weight[:, : config.width])
            self.token_projection.bias.copy_(joint.bias)
            self.signal_projection.weight.copy_(joint.weight[:, config.width :])
        outputs = config.gaussians_per_anchor * channels
        self.layers = nn.Sequential(
            *_hidden_layers(config), _zero_last(nn.Linear(config.decoder_hidden, outputs))
        )

    def project_tokens(self, tokens_BAD: Tensor) -> Tensor:
        """The part of the first layer that no frame changes, ``(B, A, hidden)``: once per avatar."""
        return self.token_projection(tokens_BAD)

    def values(self, projected_BAD: Tensor, signals_BTS: Tensor) -> Tensor:
        """Values of every Gaussian in ``T`` frames, float32, ``(B, T, G, channels)``."""
        hidden = projected_BAD[:, None] + self.signal_projection(signals_BTS)[:, :, None]
        return self.layers(hidden).float().unflatten(-1, (-1, self.channels)).flatten(2, 3)


class PoseDecoder(DrivenDecoder):
    """Geometry token, driving pose, expression and gaze to attribute deltas; opacity never changes.

    Args:
        config: Sizes.
        signal_width: Length of driving vector, expression and gaze together.
    """

    def __init__(self, config: AvatarModelConfig, signal_width: int) -> None:
        super().__init__(config, signal_width, sum(DELTA_CHANNELS))
        self.offset_scale = config.pose_offset_scale

    def forward(self, projected_BAD: Tensor, signals_BTS: Tensor) -> PoseDeltas:
        """Decode the deltas of ``T`` frames.

        Args:
            projected_BAD: Output of ``project_tokens``.
            signals_BTS: Driving vector, expression and gaze of each frame.

        Returns:
            Deltas in float32.
        """
        color, offset, quaternion, scale = self.values(projected_BAD, signals_BTS).split(
            DELTA_CHANNELS, dim=-1
        )
        return PoseDeltas(color, offset * self.offset_scale, quaternion, scale)

    def animate(
        self,
        canonical: CanonicalGaussians,
        projected_BAD: Tensor,
        signals_BTS: Tensor,
        limits: ScaleLimits,
    ) -> CanonicalGaussians:
        """The canonical attributes with the corrections of each frame, ``(B, T, G, ...)``."""
        return apply_deltas(canonical, self(projected_BAD, signals_BTS), limits)


class SingleBranchDecoder(DrivenDecoder):
    """One head that sees token and driving signals and gives the attributes themselves (LCA Table S1).

    Args:
        config: Sizes and initial values.
        signal_width: Length of driving vector, expression and gaze together.
        initial_log_scales_G: As in `CanonicalDecoder`; saved with the weights, for avatars.
    """

    initial_log_scales_G: Tensor

    def __init__(self, config: AvatarModelConfig, signal_width: int, initial_log_scales_G: Tensor) -> None:
        super().__init__(config, signal_width, sum(CANONICAL_CHANNELS))
        self.max_offset = config.max_offset
        with torch.no_grad():
            last = self.layers[-1]
            assert isinstance(last, nn.Linear)
            last.bias.copy_(initial_values(config))
        self.register_buffer("initial_log_scales_G", initial_log_scales_G)

    def forward(
        self, projected_BAD: Tensor, signals_BTS: Tensor, base_BG3: Tensor, limits: ScaleLimits
    ) -> CanonicalGaussians:
        """Decode the attributes of ``T`` frames.

        Args:
            projected_BAD: Output of ``project_tokens``.
            signals_BTS: Driving vector, expression and gaze of each frame.
            base_BG3: Surface point of each Gaussian, metres, canonical rig axes.
            limits: Smallest and largest standard deviation.

        Returns:
            Attributes ``(B, T, G, ...)`` in float32.
        """
        values = self.values(projected_BAD, signals_BTS)
        base = base_BG3[:, None].expand(-1, values.shape[1], -1, -1)
        return attributes_of(values, base, self.initial_log_scales_G, self.max_offset, limits)

    def at_rest(self, projected_BAD: Tensor, base_BG3: Tensor, limits: ScaleLimits) -> CanonicalGaussians:
        """Attributes ``(B, G, ...)`` under zero signals: the reference pose, neutral face, unknown gaze."""
        zero = projected_BAD.new_zeros(len(projected_BAD), 1, self.signal_projection.in_features)
        frame = self(projected_BAD, zero, base_BG3, limits)
        return CanonicalGaussians(*(getattr(frame, name)[:, 0] for name in frame.__dataclass_fields__))

    def animate(
        self,
        canonical: CanonicalGaussians,
        projected_BAD: Tensor,
        signals_BTS: Tensor,
        limits: ScaleLimits,
    ) -> CanonicalGaussians:
        """The attributes of each frame, ``(B, T, G, ...)``; only base points of ``canonical`` are used."""
        return self(projected_BAD, signals_BTS, canonical.base_BG3, limits)


class NoPoseDecoder(nn.Module):
    """Stands where a model without pose-dependent corrections has no decoder: attributes never change.

    This is LHM's way to animate, skinning alone, and so that of the fair baseline MV-LHM (LCA Table 2).
    """

    def project_tokens(self, tokens_BAD: Tensor) -> Tensor:
        """Nothing is kept of the tokens, ``(B, A, 0)``."""
        return tokens_BAD[..., :0]

    def animate(
        self,
        canonical: CanonicalGaussians,
        projected_BAD: Tensor,
        signals_BTS: Tensor,
        limits: ScaleLimits,
    ) -> CanonicalGaussians:
        """The canonical attributes, repeated for each frame, ``(B, T, G, ...)``."""
        frames = signals_BTS.shape[1]
        repeated = [
            value[:, None].expand(-1, frames, *value.shape[1:])
            for value in (getattr(canonical, name) for name in canonical.__dataclass_fields__)
        ]
        return CanonicalGaussians(*repeated)


AnyPoseDecoder = PoseDecoder | SingleBranchDecoder | NoPoseDecoder


def build_pose_decoder(
    config: AvatarModelConfig, signal_width: int, initial_log_scales_G: Tensor
) -> AnyPoseDecoder:
    """The decoder that driving signals reach, as ``config.branches`` says."""
    if config.branches == "static":
        return NoPoseDecoder()
    if config.branches == "single":
        return SingleBranchDecoder(config, signal_width, initial_log_scales_G)
    return PoseDecoder(config, signal_width)
