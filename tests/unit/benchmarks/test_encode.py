"""Encode benchmark at the tiny size without compiling; a wrong image encoder stops it."""

from __future__ import annotations

import pytest
import torch

from lca_lightning.benchmarks import encode
from lca_lightning.benchmarks.flops import count_work
from lca_lightning.benchmarks.models import random_vit
from lca_lightning.benchmarks.sizes import BenchOptions
from lca_lightning.errors import LCAError

OPTIONS = BenchOptions(torch.device("cpu"), "tiny", rounds=1, views=1, compile=False)


def test_both_rivals_are_timed() -> None:
    report = encode.measure_encode(OPTIONS)
    assert [row.rival for row in report.measurements] == ["bare image encoder", "plain ViT, same FLOPs"]
    assert report.measurements[0].difference < 1e-4
    assert report.measurements[1].compared == "FLOPs" and report.measurements[1].difference < 0.05
    figures = {figure.name: figure.value for figure in report.figures}
    assert figures["plain ViT"] == pytest.approx(figures["encode"], rel=0.05)
    assert figures["encode"] > figures["of it the image encoder"]


def test_a_wrong_image_encoder_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = encode.BareEncoder.__call__
    monkeypatch.setattr(encode.BareEncoder, "__call__", lambda self: [tokens * 1.01 for tokens in bare(self)])
    with pytest.raises(LCAError, match="Image encoder and its bare network"):
        encode.measure_encode(OPTIONS)


@pytest.mark.parametrize("flops", [3e8, 2.2e9])
def test_a_vit_of_equal_work_is_found(flops: float) -> None:
    tokens = [1 + 8 * 6, 1 + 8 * 6, 1 + 4 * 4]
    shape = encode.shape_of_equal_work(flops, tokens, width=192)
    network = random_vit(192, shape.layers, 3, shape.intermediate, torch.device("cpu"))

    def run() -> None:
        network(torch.zeros(2, 3, 128, 96), interpolate_pos_encoding=True)
        network(torch.zeros(1, 3, 64, 64), interpolate_pos_encoding=True)

    assert count_work(run).total == pytest.approx(flops, rel=0.02)
