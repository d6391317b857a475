"""Compiled parts stay compiled whatever photos and faces a step brings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch._dynamo import config
from torch._dynamo.utils import counters

from lca_lightning.batch import References
from lca_lightning.model.avatar_model import AvatarModel, build_avatar_model
from lca_lightning.model.configuration import AvatarModelConfig

SIZES: dict[str, Any] = {
    "width": 16, "heads": 2, "layers": 2, "anchors": 64, "gaussians_per_anchor": 2, "decoder_hidden": 8,
}  # fmt: skip


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[AvatarModel]:
    """A model that is traced as for compiling, without minutes of code generation."""
    compiling = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda part: compiling(part, backend="eager"))
    limit = config.recompile_limit
    torch._dynamo.reset()
    counters.clear()
    yield build_avatar_model(AvatarModelConfig(backbone="random-tiny", compile=True, **SIZES)).train()
    config.recompile_limit = limit
    torch._dynamo.reset()


def references(views: int, faces: int) -> References:
    """Photos of one subject, some with a face."""
    photos, close_ups = torch.rand(1, views, 3, 32, 48), torch.rand(1, views, 3, 32, 32)
    return References(photos, close_ups, torch.ones(1, views) > 0, torch.arange(views)[None] < faces)


def test_no_number_of_photos_and_faces_runs_uncompiled(model: AvatarModel) -> None:
    counts = (1, 2, 4, 8)  # as in configs/data
    everything = [(views, faces) for views in counts for faces in range(views + 1)]
    for views, faces in [*((views, views) for views in counts), *everything]:
        model.encode(references(views, faces)).sum().backward()
    assert counters["frames"]["total"] == counters["frames"]["ok"] > 8
