"""The compiled CPU renderer against the plain PyTorch reference, which is itself put to the test."""

from __future__ import annotations

import pytest
import torch

from lca_lightning.rendering import choose_renderer
from lca_lightning.rendering.reference import ReferenceRenderer
from tests.parity.rendering_scenes import DIFFERENTIABLE, NAMES, gradients, make_scene, render


@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 4, 9])
def test_cpu_equals_the_double_precision_reference(antialiased: bool, channels: int) -> None:
    scene = make_scene(channels=channels)
    ours, our_gradients = gradients(choose_renderer("cpu", antialiased=antialiased), scene)
    double = {name: tensor.double() for name, tensor in scene.items()}
    theirs, their_gradients = gradients(choose_renderer("reference", antialiased=antialiased), double)
    for name, ours_one, theirs_one, tolerance in zip(
        ("color", "alpha", "depth"), ours, theirs, (2e-5, 5e-6, 1e-4), strict=True
    ):
        assert (ours_one - theirs_one).abs().max() < tolerance, name
    assert 0.2 < theirs[1].mean() < 0.99  # something is seen, and something is seen through
    for name in DIFFERENTIABLE:
        ours_one, theirs_one = our_gradients[name].double().flatten(), their_gradients[name].flatten()
        assert theirs_one.norm() > 0, name
        cosine = torch.nn.functional.cosine_similarity(ours_one, theirs_one, dim=0)
        relative = (ours_one - theirs_one).norm() / theirs_one.norm()
        bias = (ours_one - theirs_one).mean().abs() / theirs_one.abs().mean()
        assert cosine > 1 - 1e-6 and relative < 5e-4 and bias < 5e-4, (name, cosine, relative, bias)


def test_many_layers_stop_early_alike() -> None:
    scene = make_scene(gaussians=1500, cameras=1, seed=3)
    scene["opacities"].fill_(0.95)
    scene["opacities"][::5] = 1.0  # clamped at 0.999
    ours, our_gradients = gradients(choose_renderer("cpu"), scene)
    double = {name: tensor.double() for name, tensor in scene.items()}
    theirs, their_gradients = gradients(choose_renderer("reference"), double)
    assert (1 - theirs[1]).min() < 2e-3  # pixels really end
    for ours_one, theirs_one in zip(ours, theirs, strict=True):
        # A pixel whose transmittance lands on the stopping threshold may take one splat more or less.
        assert (ours_one - theirs_one).abs().quantile(0.999) < 1e-4
    for name in ("means", "colors", "opacities", "scales"):
        ours_one, theirs_one = our_gradients[name].double(), their_gradients[name]
        assert (ours_one - theirs_one).norm() / theirs_one.norm() < 2e-2, name


@pytest.mark.parametrize("antialiased", [False, True])
def test_reference_gradients_equal_finite_differences(antialiased: bool) -> None:
    scene = make_scene(gaussians=5, cameras=1, channels=2, seed=5, dtype=torch.float64)
    scene["means"] *= 0.3
    scene["scales"] *= 4
    scene["opacities"] = scene["opacities"].clamp(0.3, 0.9)
    width, height = 20, 18
    scene["K"] *= 0.3
    scene["K"][:, 2, 2] = 1
    renderer = ReferenceRenderer(antialiased=antialiased)
    random = torch.Generator().manual_seed(0)
    weights = [torch.randn(1, c, height, width, generator=random, dtype=torch.float64) for c in (2, 1, 1)]

    def weighted(*tensors: torch.Tensor) -> torch.Tensor:
        images = render(
            renderer, dict(zip(NAMES, (*tensors[:6], scene["K"], tensors[6]), strict=True)), width, height
        )
        # Depth is divided by alpha and jumps where alpha starts: look at it only where alpha is solid.
        depth = torch.where(images[1] > 0.2, images[2] * images[1], torch.zeros_like(images[1]))
        parts = [
            (images[0] * weights[0]).mean(),
            (images[1] * weights[1]).mean(),
            (depth * weights[2]).mean(),
        ]
        return torch.stack(parts)

    inputs = tuple(scene[name].requires_grad_() for name in DIFFERENTIABLE)
    # The alpha cutoff (1/255) makes every splat's rim a step, which differences of 1e-8 do not cross.
    assert torch.autograd.gradcheck(weighted, inputs, eps=1e-8, atol=2e-5, rtol=2e-3)


def test_one_splat_equals_the_closed_form() -> None:
    scene = make_scene(gaussians=1, cameras=1)
    depth, sigma, opacity, focal = 2.0, 0.1, 0.7, 60.0
    scene["means"] = torch.tensor([[0.1, -0.05, 0.0]])
    scene["scales"] = torch.full((1, 3), sigma)
    scene["opacities"] = torch.tensor([opacity])
    scene["w2c"] = torch.eye(4)[None].clone()
    scene["w2c"][0, 2, 3] = depth
    scene["K"] = torch.tensor([[[focal, 0, 36.0], [0, focal, 28.0], [0, 0, 1]]])
    jacobian = torch.tensor([[1.0, 0, -0.05], [0, 1.0, 0.025]]) * focal / depth
    covariance = sigma**2 * jacobian @ jacobian.T + 0.3 * torch.eye(2)
    y, x = torch.meshgrid(torch.arange(56) + 0.5, torch.arange(72) + 0.5, indexing="ij")
    offset = torch.stack([x - (36 + 3.0), y - (28 - 1.5)], -1)
    expected = opacity * torch.exp(
        -0.5 * torch.einsum("hwi,ij,hwj->hw", offset, covariance.inverse(), offset)
    )
    expected = torch.where(expected >= 1 / 255, expected, torch.zeros(()))
    for name in ("cpu", "reference"):
        color, alpha, found_depth = render(choose_renderer(name), scene)
        assert (alpha[0, 0] - expected).abs().max() < 2e-5
        assert (found_depth[0, 0][expected > 0.01] - depth).abs().max() < 1e-4
        blend = (
            expected * scene["colors"][0, :, None, None]
            + (1 - expected) * scene["background"][0, :, None, None]
        )
        assert (color[0] - blend).abs().max() < 1e-4
