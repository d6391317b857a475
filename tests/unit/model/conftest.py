"""A very small avatar model and a batch for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from lca_lightning.batch import Batch, Driving, References, Targets
from lca_lightning.geometry.cameras import intrinsics_from_field_of_view, orbit_cameras
from lca_lightning.model.avatar_model import AvatarModel
from lca_lightning.model.backbone import Backbone, load_backbone
from lca_lightning.model.configuration import AvatarModelConfig
from lca_lightning.rig.anchors import Anchors, sample_anchors
from lca_lightning.rig.anny import AnnyRig

SIZES = {
    "backbone": "random-tiny",
    "width": 64,
    "layers": 2,
    "heads": 4,
    "anchors": 128,
    "gaussians_per_anchor": 2,
    "decoder_hidden": 32,
    "scale_limit_start": 0.08,
    "scale_limit_end": 0.1,
    "adaln_gate_init": 0.5,
}


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """At this size a second thread only waits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def backbone() -> Backbone:
    """The seeded random image encoder."""
    return load_backbone("random-tiny")


@pytest.fixture(scope="session")
def anchors(rig: AnnyRig) -> Anchors:
    """Few anchors, for speed."""
    return sample_anchors(rig, SIZES["anchors"], SIZES["gaussians_per_anchor"])  # type: ignore[arg-type]


@pytest.fixture
def model(rig: AnnyRig, backbone: Backbone, anchors: Anchors) -> AvatarModel:
    """A model whose zero-initialised layers are filled, so that nothing passes by being zero."""
    torch.manual_seed(3)
    model = AvatarModel(AvatarModelConfig(**SIZES), rig, backbone, anchors)  # type: ignore[arg-type]
    for name, parameter in model.named_parameters():
        if "modulation" in name or "layers.6" in name or "layers.5" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return model.eval()


@pytest.fixture
def batch(rig: AnnyRig) -> Batch:
    """Two subjects with 2 and 3 views; the first has one face, the second two."""
    return make_batch(rig)


def make_batch(rig: AnnyRig, frames: int = 2) -> Batch:
    """Random photos and a standing person seen by cameras around."""
    generator = torch.Generator().manual_seed(5)
    views = torch.tensor([[True, True, False], [True, True, True]])
    faces = torch.tensor([[True, False, False], [False, True, True]])
    references = References(
        torch.rand(2, 3, 3, 64, 48, generator=generator), torch.rand(2, 3, 3, 32, 32, generator=generator),
        views, faces,
    )  # fmt: skip
    pose = rig.rest_pose(frames)
    bend = 0.2 * torch.randn(2, frames, *pose.rotations_BJ3.shape[1:], generator=generator)
    bend[..., 0, :] = 0
    driving = Driving(
        pose.rotations_BJ3 + bend,
        pose.translation_B3.expand(2, -1, -1),
        torch.rand(2, frames, rig.expression_size, generator=generator),
        torch.tensor([0.0, 0, 1, 1, 0, 0, 1, 1]).expand(2, frames, 8),
    )
    cameras = orbit_cameras(frames, torch.tensor([0.0, 0.1, 0.0]), 3.2)
    intrinsics = intrinsics_from_field_of_view(0.7, 48, 64)
    targets = Targets(
        torch.rand(2, frames, 3, 64, 48, generator=generator),
        (torch.rand(2, frames, 1, 64, 48, generator=generator) > 0.5).float(),
        cameras.expand(2, -1, -1, -1),
        intrinsics.expand(2, frames, -1, -1),
    )
    names = tuple(tuple(f"{subject}/front/{frame}" for frame in range(frames)) for subject in "ab")
    return Batch(references, driving, targets, rig.neutral_identity().expand(2, -1), ("a", "b"), names)
