"""Frame benchmark: poses change, the person fills the picture, and a wrong picture or cloud stops it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lca_lightning.avatar.avatar import Avatar, PosedAvatar
from lca_lightning.benchmarks import frame
from lca_lightning.benchmarks.avatars import random_avatar
from lca_lightning.benchmarks.sizes import BenchOptions
from lca_lightning.errors import LCAError

OPTIONS = BenchOptions(torch.device("cpu"), "tiny", rounds=1)


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    return random_avatar("tiny", torch.device("cpu"))


@pytest.fixture(autouse=True)
def _one_avatar(avatar: Avatar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame, "random_avatar", lambda size, device: avatar)


def test_tiny_frame_is_timed_with_its_parts() -> None:
    report = frame.measure_frame(OPTIONS)
    assert report.measurements[0].difference <= 1e-5
    assert [figure.name for figure in report.figures][:4] == ["decode", "deltas", "skin", "raster"]
    assert all(figure.value > 0 for figure in report.figures)
    assert [requirement.limit for requirement in report.requirements] == [1.5]


def test_shots_differ_and_show_the_whole_person(avatar: Avatar) -> None:
    shots = frame.make_shots(avatar, "tiny")
    first, second = (shot.posed.gaussians.means_G3 for shot in shots[:2])
    assert (first - second).abs().max() > 1e-3
    for shot in shots[:3]:
        alpha_HW = shot.posed.render(shot.camera).alpha_T1HW[0, 0]
        rows, columns = (alpha_HW > 0.5).nonzero(as_tuple=True)
        assert rows.max() - rows.min() > 0.6 * alpha_HW.shape[0]
        assert rows.min() > 0 and rows.max() < alpha_HW.shape[0] - 1
        assert columns.min() > 0 and columns.max() < alpha_HW.shape[1] - 1


def test_a_wrong_picture_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    animate = Avatar.animate
    calls = {"count": 0}

    def perturbed(self: Avatar, driving: object) -> PosedAvatar:
        calls["count"] += 1
        posed = animate(self, driving)  # type: ignore[arg-type]
        if calls["count"] <= frame.FRAMES:  # the rival's clouds
            return posed
        brighter = replace(posed.gaussians, colors_GC=posed.gaussians.colors_GC + 1e-3)
        return PosedAvatar(brighter, posed.renderer)

    monkeypatch.setattr(Avatar, "animate", perturbed)
    with pytest.raises(LCAError, match="Animated frame and static render"):
        frame.measure_frame(OPTIONS)


def test_a_wrong_cloud_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def shifted(avatar: Avatar, driving: object) -> Tensor:
        return expected(avatar, driving) + 1e-3  # type: ignore[arg-type]

    expected = frame.expected_means
    monkeypatch.setattr(frame, "expected_means", shifted)
    with pytest.raises(LCAError, match="plain skinning"):
        frame.measure_frame(OPTIONS)
