"""A whole avatar on CUDA against the CPU: encoding, frames, graphs, mixed precision."""

from __future__ import annotations

import copy

import pytest
import torch

from lca_lightning.avatar.create import create_avatar
from lca_lightning.avatar.graphed import GraphedAvatar
from lca_lightning.batch import Batch, Driving
from lca_lightning.losses.reconstruction import LossConfig, ReconstructionLoss
from lca_lightning.model.avatar_model import AvatarModel
from lca_lightning.rendering import Gaussians
from tests.unit.model.conftest import anchors, backbone, batch, model  # noqa: F401

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here"),
]


def one_subject(record: object) -> object:
    """The second subject of a batch record, who has three views."""
    return type(record)(*(value[1:] for value in vars(record).values() if value is not None))  # type: ignore[attr-defined]


def on_cuda(model: AvatarModel) -> AvatarModel:  # noqa: F811
    """A copy on the device; copies share their frozen encoder, and the tests need it to stay on the CPU."""
    ours = copy.deepcopy(model)
    ours.backbone._shared = type(ours.backbone._shared)(copy.deepcopy(model.backbone.network))
    return ours.cuda()


def first_frame(driving: Driving) -> Driving:
    return Driving(*(getattr(driving, name)[1:, :1] for name in driving.__dataclass_fields__))


def assert_same_cloud(ours: Gaussians, theirs: Gaussians, tolerance: float) -> None:
    for name in ("means_G3", "scales_G3", "opacities_G", "colors_GC"):
        difference = (getattr(ours, name).cpu() - getattr(theirs, name)).abs().max()
        assert difference < tolerance, f"{name} differ by {difference:.1e}"
    a, b = ours.quaternions_G4.cpu(), theirs.quaternions_G4
    assert torch.minimum((a - b).abs().amax(-1), (a + b).abs().amax(-1)).max() < tolerance


def test_avatar_equals_the_cpus(model: AvatarModel, batch: Batch) -> None:  # noqa: F811
    """fp32 on both; 1e-3 because CUDA sums in another order and the backbone alone runs in bfloat16."""
    model.backbone.network.float()
    here = create_avatar(model, one_subject(batch.references), batch.identity_BI[1])  # type: ignore[arg-type]
    frame = first_frame(batch.driving)
    there = here.to("cuda")
    assert_same_cloud(there.animate(frame.to("cuda")).gaussians, here.animate(frame).gaussians, 1e-4)


def test_graph_replays_what_the_avatar_computes(model: AvatarModel, batch: Batch) -> None:  # noqa: F811
    avatar = create_avatar(model, one_subject(batch.references), batch.identity_BI[1]).to("cuda")  # type: ignore[arg-type]
    frames = [
        Driving(
            *(getattr(batch.driving, name)[1:, t : t + 1] for name in batch.driving.__dataclass_fields__)
        ).to("cuda")
        for t in range(2)
    ]
    graphed = GraphedAvatar(avatar, frames[0])
    for frame in [*frames, frames[0]]:
        expected = avatar.animate(frame).gaussians
        assert torch.equal(graphed.animate(frame).gaussians.means_G3, expected.means_G3)
        assert torch.equal(graphed.animate(frame).gaussians.colors_GC, expected.colors_GC)


def test_a_frame_never_waits(model: AvatarModel, batch: Batch) -> None:  # noqa: F811
    avatar = create_avatar(model, one_subject(batch.references), batch.identity_BI[1]).to("cuda")  # type: ignore[arg-type]
    frame = first_frame(batch.driving).to("cuda")
    avatar.animate(frame)
    torch.cuda.set_sync_debug_mode("error")
    try:
        posed = avatar.animate(frame)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert bool(torch.isfinite(posed.gaussians.means_G3).all())


def test_bfloat16_stays_near_float32(model: AvatarModel, batch: Batch) -> None:  # noqa: F811
    """bf16 keeps 8 bits: 2% of the losses, and gradients that point the same way."""
    results = {}
    for precision in ("float32", "bfloat16"):
        ours = on_cuda(model).train()
        loss = ReconstructionLoss(LossConfig(perceptual_weight=0.0)).cuda()
        there = batch.to("cuda")
        with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bfloat16"):
            terms = loss(ours(there, torch.ones(2, 2, 3, device="cuda")), there.targets)
        terms["total"].backward()
        gradient = torch.cat([p.grad.flatten() for p in ours.parameters() if p.grad is not None])
        results[precision] = {name: float(value) for name, value in terms.items()}, gradient
    for name, value in results["float32"][0].items():
        assert results["bfloat16"][0][name] == pytest.approx(value, rel=2e-2, abs=1e-3), name
    cosine = torch.nn.functional.cosine_similarity(results["float32"][1], results["bfloat16"][1], dim=0)
    assert cosine > 0.95


def test_training_step_equals_the_cpus(model: AvatarModel, batch: Batch) -> None:  # noqa: F811
    """Losses of the whole step, gsplat against our CPU renderer."""
    model.backbone.network.float()
    loss = ReconstructionLoss(LossConfig(perceptual_weight=0.0))
    with torch.no_grad():
        here = loss(model(batch), batch.targets)
        ours = on_cuda(model)
        there = batch.to("cuda")
        found = loss.cuda()(ours(there), there.targets)
    for name, value in here.items():
        assert float(found[name]) == pytest.approx(float(value), rel=1e-2, abs=1e-3), name
