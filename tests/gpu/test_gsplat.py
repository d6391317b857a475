"""gsplat on CUDA against the plain reference on CPU."""

from __future__ import annotations

import pytest
import torch

from lca_lightning.rendering import choose_renderer
from tests.parity.rendering_scenes import DIFFERENTIABLE, gradients, make_scene

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here"),
]


@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 9])
def test_gsplat_equals_the_reference(antialiased: bool, channels: int) -> None:
    scene = make_scene(channels=channels)
    on_device = {name: tensor.cuda() for name, tensor in scene.items()}
    renderer = choose_renderer("auto", "cuda", antialiased=antialiased)
    assert type(renderer).__name__ == "GsplatRenderer"
    ours, our_gradients = gradients(renderer, on_device)
    double = {name: tensor.double() for name, tensor in scene.items()}
    theirs, their_gradients = gradients(choose_renderer("reference", antialiased=antialiased), double)
    for ours_one, theirs_one in zip(ours, theirs, strict=True):
        assert (ours_one.cpu() - theirs_one).abs().quantile(0.999) < 1e-3
    for name in DIFFERENTIABLE:
        ours_one, theirs_one = our_gradients[name].cpu().double().flatten(), their_gradients[name].flatten()
        assert torch.nn.functional.cosine_similarity(ours_one, theirs_one, dim=0) > 0.999, name
        assert (ours_one - theirs_one).norm() / theirs_one.norm() < 2e-2, name


def test_empty_and_directionless_clouds_on_the_device() -> None:
    scene = {name: tensor.cuda() for name, tensor in make_scene(gaussians=30).items()}
    scene["quaternions"][:10] = 0
    images, found = gradients(choose_renderer("gsplat"), scene)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in [*images, *found.values()])
