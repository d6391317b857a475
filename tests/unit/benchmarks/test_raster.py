"""Renderer benchmark at a small size; a difference between the sides stops it."""

from __future__ import annotations

import shutil

import pytest
import torch

from lca_lightning.benchmarks import raster
from lca_lightning.errors import LCAError
from lca_lightning.rendering import choose_renderer


@pytest.mark.skipif(shutil.which("g++") is None, reason="the rival needs g++, which is not installed here")
def test_small_cloud_against_both_rivals() -> None:
    work = raster.person_cloud(400, 64, 48)
    found = raster.against_cpu_rivals("small", work, rounds=3)
    assert [row.rival for row in found] == ["C++/OpenMP tiles", "PyTorch reference"]
    assert all(row.ours_ms > 0 and row.rival_ms > 0 and row.difference < 1e-4 for row in found)
    assert found[1].ratio < 1


@pytest.mark.skipif(shutil.which("g++") is None, reason="the rival needs g++, which is not installed here")
def test_a_wrong_rival_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    call = raster.RasterRival.__call__

    def perturbed(self: raster.RasterRival) -> None:
        call(self)
        self.gradients[0] *= 1.1

    monkeypatch.setattr(raster.RasterRival, "__call__", perturbed)
    with pytest.raises(LCAError, match="C\\+\\+ kernel differ"):
        raster.against_cpu_rivals("small", raster.person_cloud(100, 32, 24), rounds=1)


def test_agreement_notices_a_difference() -> None:
    work = raster.person_cloud(100, 32, 24)
    images, gradients = work.run(choose_renderer("cpu"))
    assert raster.agreement((images, gradients), (images, gradients)) == (0.0, 0.0)
    image, gradient = raster.agreement(
        (images, gradients), ([images[0] + 1e-3, *images[1:]], [g * 1.1 for g in gradients])
    )
    assert image > 9e-4 and gradient > 0.05


def test_nan_is_a_difference() -> None:
    images, gradients = raster.person_cloud(50, 16, 16).run(choose_renderer("cpu"))
    broken = [torch.full_like(images[0], float("nan")), *images[1:]]
    with pytest.raises(LCAError, match="differ"):
        raster.refuse_difference("rival", (images, gradients), (broken, gradients))
