"""Pose decoder benchmark: the rival is the plain MLP, its work is counted right, and errors stop it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lca_lightning.benchmarks import decode
from lca_lightning.benchmarks.sizes import BenchOptions, load_config
from lca_lightning.errors import LCAError

OPTIONS = BenchOptions(torch.device("cpu"), "tiny", rounds=1)


def test_tiny_decoder_agrees_and_is_timed() -> None:
    report = decode.measure_decode(OPTIONS)
    assert 0 < report.measurements[0].difference < 1e-5
    assert report.requirements == []  # they are meant for the paper's size
    share = next(figure for figure in report.figures if figure.name.startswith("share"))
    assert share.value > 0


def test_multiply_adds_are_those_that_torch_counts() -> None:
    config = load_config("tiny")
    decoder, tokens_1AD, signals = decode.make_workload(config, torch.device("cpu"))
    plain = decode.PlainPoseDecoder(decoder)
    with FlopCounterMode(display=False) as counter:
        plain(tokens_1AD, signals[0])
    cached, whole = decode.multiply_adds(plain, config.anchors, config.width)
    assert 2 * whole == counter.get_total_flops()
    hidden = config.decoder_hidden
    outputs = 13 * config.gaussians_per_anchor
    layers = config.anchors * (2 * hidden * hidden + hidden * outputs)
    assert cached == signals[0].shape[-1] * hidden + layers


def test_a_wrong_decoder_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = decode.PlainPoseDecoder.forward

    def perturbed(self: decode.PlainPoseDecoder, tokens: Tensor, signals: Tensor) -> decode.PoseDeltas:
        deltas = forward(self, tokens, signals)
        return deltas._replace(offsets_BTG3=deltas.offsets_BTG3 + 1e-4)

    monkeypatch.setattr(decode.PlainPoseDecoder, "forward", perturbed)
    with pytest.raises(LCAError, match="plain MLP: the two sides differ by 1.0e-04"):
        decode.measure_decode(OPTIONS)


def test_signals_change_the_deltas_so_nothing_can_be_cached() -> None:
    decoder, tokens_1AD, signals = decode.make_workload(load_config("tiny"), torch.device("cpu"))
    projected = decoder.project_tokens(tokens_1AD)
    first, second = (decoder(projected, signal).offsets_BTG3 for signal in signals[:2])
    assert (first - second).abs().max() > 1e-4
