"""A very small model, an avatar made with it, and a short motion."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lca_lightning.avatar import Avatar
from lca_lightning.avatar.create import create_avatar
from lca_lightning.batch import References
from lca_lightning.model.avatar_model import AvatarModel
from lca_lightning.model.backbone import load_backbone
from lca_lightning.model.configuration import AvatarModelConfig
from lca_lightning.motion.clip import Motion
from lca_lightning.rig.anny import AnnyRig

SIZES = {
    "backbone": "random-tiny", "width": 64, "layers": 1, "heads": 4, "anchors": 128,
    "gaussians_per_anchor": 2, "decoder_hidden": 32, "scale_limit_start": 0.08, "scale_limit_end": 0.1,
    "adaln_gate_init": 0.5, "renderer": "cpu",
}  # fmt: skip


@pytest.fixture(scope="session")
def model(rig: AnnyRig) -> AvatarModel:
    """A model whose zero-initialised layers are filled, so that correctives are not zero."""
    torch.manual_seed(3)
    model = AvatarModel(AvatarModelConfig(**SIZES), rig, load_backbone("random-tiny"))  # type: ignore[arg-type]
    for name, parameter in model.named_parameters():
        if "modulation" in name or "layers.6" in name or "layers.5" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return model.eval()


@pytest.fixture(scope="session")
def references() -> References:
    """Two random photos, one with a face."""
    generator = torch.Generator().manual_seed(5)
    return References(
        torch.rand(1, 2, 3, 64, 48, generator=generator), torch.rand(1, 2, 3, 32, 32, generator=generator),
        torch.ones(1, 2, dtype=torch.bool), torch.tensor([[True, False]]),
    )  # fmt: skip


@pytest.fixture(scope="session")
def identity(rig: AnnyRig) -> torch.Tensor:
    """A body away from the template."""
    values = rig.neutral_identity()
    values[0], values[4] = 0.9, 0.8
    return values


@pytest.fixture(scope="session")
def avatar(model: AvatarModel, references: References, identity: torch.Tensor) -> Avatar:
    """An avatar of random photos."""
    return create_avatar(model, references, identity)


@pytest.fixture(scope="session")
def motion(rig: AnnyRig) -> Motion:
    """Four frames of small random rotations, expressions and gaze."""
    generator = np.random.default_rng(2)
    rotations = 0.2 * generator.normal(size=(4, len(rig.joint_names), 3))
    gaze = np.tile(np.array([0.0, 0, 1, 1, 0, 0, 1, 0]), (4, 1))
    return Motion(
        rotations.astype(np.float32),
        np.array([[0, 0.9, 0], [0.1, 0.9, 0], [0.3, 0.9, 0], [0.4, 0.9, 0.1]], np.float32),
        fps=10.0,
        expression_TE=generator.random((4, rig.expression_size)).astype(np.float32),
        gaze_T8=gaze.astype(np.float32),
    )
