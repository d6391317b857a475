"""A very small model whose every layer does something, and photos for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from lca_lightning.batch import References
from lca_lightning.model.avatar_model import AvatarModel
from lca_lightning.model.backbone import load_backbone
from lca_lightning.model.configuration import AvatarModelConfig
from lca_lightning.rig.anny import AnnyRig

SIZES = {
    "backbone": "random-tiny", "width": 32, "layers": 2, "heads": 2, "anchors": 256,
    "gaussians_per_anchor": 2, "decoder_hidden": 8, "scale_limit_start": 0.08, "scale_limit_end": 0.1,
    "adaln_gate_init": 0.5,
}  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """At this size a second thread only waits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def model(rig: AnnyRig) -> AvatarModel:
    """Modulations and attentions are far from neutral, so that a forgotten one is noticed."""
    torch.manual_seed(3)
    config = AvatarModelConfig(**SIZES)  # type: ignore[arg-type]
    model = AvatarModel(config, rig, load_backbone("random-tiny"))
    for name, parameter in model.named_parameters():
        if "modulation" in name or "qkv" in name or "norm" in name:
            torch.nn.init.normal_(parameter, mean=1.0 if "norm.weight" in name else 0.0, std=0.3)
    return model.eval()


@pytest.fixture
def photos() -> References:
    """Three photos, one of them only padding; the last shows a face."""
    generator = torch.Generator().manual_seed(0)
    body = torch.rand(1, 4, 3, 64, 48, generator=generator)
    face = torch.rand(1, 4, 3, 32, 32, generator=generator)
    views = torch.tensor([[True, False, True, True]])
    return References(body, face, views, torch.tensor([[False, True, False, True]]))
