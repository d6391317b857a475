"""Per-frame pose decoding with the token half computed once, against the plain MLP over the concatenation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lca_lightning.benchmarks.report import Figure, Report, Requirement
from lca_lightning.benchmarks.sizes import BenchOptions, load_config
from lca_lightning.benchmarks.timing import check_agreement, compare, in_turn
from lca_lightning.model.attributes import DELTA_CHANNELS, PoseDeltas
from lca_lightning.model.configuration import AvatarModelConfig
from lca_lightning.model.decoders import PoseDecoder
from lca_lightning.rig.loading import load_rig

TOLERANCE = 1e-5
FRAMES = 16  # different driving signals, taken in turn
LEAST_SPEEDUP, LEAST_SHARE = 3.0, 0.7


class PlainPoseDecoder(nn.Module):
    """The same function as anybody would write it: one MLP over token, pose, expression and gaze together.

    Args:
        decoder: Whose weights it takes.
    """

    def __init__(self, decoder: PoseDecoder) -> None:
        super().__init__()
        weights = decoder.state_dict()
        first = torch.cat([weights["token_projection.weight"], weights["signal_projection.weight"]], dim=1)
        pairs = [(first, weights["token_projection.bias"])]
        names = [name for name in weights if name.startswith("layers.") and name.endswith(".weight")]
        pairs += [(weights[name], weights[name.replace(".weight", ".bias")]) for name in names]
        layers: list[nn.Module] = []
        for weight, bias in pairs:
            linear = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device)
            linear.load_state_dict({"weight": weight, "bias": bias})
            layers += [linear, nn.LeakyReLU()]
        self.layers = nn.Sequential(*layers[:-1])
        self.offset_scale = decoder.offset_scale

    def forward(self, tokens_BAD: Tensor, signals_BTS: Tensor) -> PoseDeltas:
        """Deltas ``(B, T, G, C)``; the signals are repeated by a view and concatenated once."""
        anchors, frames = tokens_BAD.shape[1], signals_BTS.shape[1]
        tokens = tokens_BAD[:, None].expand(-1, frames, -1, -1)
        joint = torch.cat([tokens, signals_BTS[:, :, None].expand(-1, -1, anchors, -1)], dim=-1)
        values = self.layers(joint).unflatten(-1, (-1, sum(DELTA_CHANNELS))).flatten(2, 3)
        color, offset, quaternion, scale = values.split(DELTA_CHANNELS, dim=-1)
        return PoseDeltas(color, offset * self.offset_scale, quaternion, scale)


def randomise_last_layer(decoder: PoseDecoder, deviation: float = 0.1) -> PoseDecoder:
    """Fill the zero-initialised last layer: a decoder that answers zero would agree with anything."""
    last = [module for module in decoder.modules() if isinstance(module, nn.Linear)][-1]
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in (last.weight, last.bias):
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * deviation)
    return decoder


def multiply_adds(plain: PlainPoseDecoder, anchors: int, token_width: int) -> tuple[int, int]:
    """Multiply-adds of one frame, with the token half cached and plain, from the shapes of the weights.

    Args:
        plain: The plain decoder.
        anchors: Anchors ``A``.
        token_width: Token width ``D``.

    Returns:
        Cached and plain.
    """
    sizes = [layer.weight.numel() for layer in plain.layers if isinstance(layer, nn.Linear)]
    first = next(layer for layer in plain.layers if isinstance(layer, nn.Linear))
    signal_half = sizes[0] - token_width * first.out_features  # once a frame, not once an anchor
    return signal_half + anchors * sum(sizes[1:]), anchors * sum(sizes)


def make_workload(
    config: AvatarModelConfig, device: torch.device
) -> tuple[PoseDecoder, Tensor, list[Tensor]]:
    """A decoder of the configured size with a random last layer, tokens, and signals of several frames."""
    torch.manual_seed(0)
    signal_size = load_rig(config.rig).signal_size
    decoder = randomise_last_layer(PoseDecoder(config, signal_size)).to(device).eval().requires_grad_(False)
    tokens_1AD = torch.randn(1, config.anchors, config.width).to(device)
    signals = [0.3 * torch.randn(1, 1, signal_size).to(device) for _ in range(FRAMES)]
    return decoder, tokens_1AD, signals


@torch.no_grad()
def measure_decode(options: BenchOptions) -> Report:
    """Compare one frame of pose decoding with the plain form; the deltas must agree to 1e-5 first.

    Args:
        options: ``size`` is ``base`` by default (width 1024, 8192 anchors, 8 Gaussians each).

    Returns:
        The comparison, the ratio of multiply-adds and the share of it that is reached.

    Raises:
        LCAError: The deltas differ.
    """
    size = options.size_or("base")
    config = load_config(size)
    decoder, tokens_1AD, signals = make_workload(config, options.device)
    plain, projected_1AD = PlainPoseDecoder(decoder), decoder.project_tokens(tokens_1AD)
    agreement = check_agreement(
        "Pose decoder and plain MLP",
        [torch.cat([part.flatten() for part in decoder(projected_1AD, signal)]) for signal in signals],
        [torch.cat([part.flatten() for part in plain(tokens_1AD, signal)]) for signal in signals],
        TOLERANCE,
    )
    ours, theirs = in_turn(signals), in_turn(signals)
    found = compare(
        f"decode {config.anchors} x {config.gaussians_per_anchor}",
        lambda: decoder(projected_1AD, ours()),
        "plain concatenated MLP",
        lambda: plain(tokens_1AD, theirs()),
        agreement,
        options.rounds,
        calls=20 if options.on_cuda else 1,
    )
    cached, whole = multiply_adds(plain, config.anchors, config.width)
    speedup = 1 / found.ratio
    report = Report(
        "decode",
        f"{size}: token width {config.width}, {signals[0].shape[-1]} signals, "
        f"hidden {config.decoder_hidden}, {config.decoder_layers} layers, "
        f"{config.anchors} anchors x {config.gaussians_per_anchor} Gaussians, "
        "float32, random weights, new signals every frame",
        options.device,
        [found],
        [
            Figure("plain / ours in time", speedup, "x"),
            Figure("plain / ours in multiply-adds", whole / cached, "x"),
            Figure("share of it reached", speedup * cached / whole),
            Figure("multiply-adds of ours", cached / 1e6, "million a frame"),
        ],
    )
    if not options.on_cuda and size == "base":
        report.requirements = [
            Requirement("times as fast as the plain MLP:", speedup, "at least", LEAST_SPEEDUP),
            Requirement(
                "share of the multiply-add ratio:", speedup * cached / whole, "at least", LEAST_SHARE
            ),
        ]
    return report
