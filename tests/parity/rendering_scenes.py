"""Seeded clouds and cameras for the rendering tests."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lca_lightning.rendering import Gaussians, Renderer

WIDTH, HEIGHT = 72, 56  # neither a multiple of the tile size
NAMES = ("means", "quaternions", "scales", "opacities", "colors", "w2c", "K", "background")
DIFFERENTIABLE = tuple(name for name in NAMES if name != "K")


def make_scene(
    gaussians: int = 300,
    cameras: int = 2,
    channels: int = 3,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """A blob of Gaussians about 2 m away, some off screen, some behind, some opaque, some faint."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    w2c = torch.eye(4, dtype=torch.float64).repeat(cameras, 1, 1)
    for camera in range(cameras):
        angle = 0.5 * camera - 0.2
        w2c[camera, :3, :3] = torch.tensor(
            [[math.cos(angle), 0, math.sin(angle)], [0.0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]]
        )
        w2c[camera, :3, 3] = torch.tensor([0.02, -0.03, 2.0 + 0.1 * camera])
    focal = 1.1 * HEIGHT
    K = torch.tensor([[focal, 0, WIDTH / 2 + 1.3], [0, 1.05 * focal, HEIGHT / 2 - 0.7], [0, 0, 1]]).double()
    means = 0.45 * normal(gaussians, 3)
    means[::17] *= 6  # off screen and behind the camera
    scene = {
        "means": means,
        "quaternions": normal(gaussians, 4),
        "scales": 0.04 * torch.exp(0.5 * normal(gaussians, 3)),
        "opacities": torch.sigmoid(2 * normal(gaussians) + 0.5),
        "colors": normal(gaussians, channels),
        "w2c": w2c,
        "K": K.repeat(cameras, 1, 1),
        "background": normal(cameras, channels),
    }
    return {name: tensor.to(dtype) for name, tensor in scene.items()}


def render(
    renderer: Renderer, scene: dict[str, Tensor], width: int = WIDTH, height: int = HEIGHT
) -> tuple[Tensor, Tensor, Tensor]:
    """Colour, alpha and depth."""
    cloud = Gaussians(*(scene[name] for name in NAMES[:5]))
    out = renderer(cloud, scene["w2c"], scene["K"], width, height, scene["background"])
    return out.color_TCHW, out.alpha_T1HW, out.depth_T1HW


def gradients(
    renderer: Renderer, scene: dict[str, Tensor], seed: int = 1
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Images, and the gradients of a fixed random weighting of all of them."""
    leaves = {name: tensor.detach().clone().requires_grad_(name != "K") for name, tensor in scene.items()}
    images = render(renderer, leaves)
    random = torch.Generator().manual_seed(seed)
    weights = [torch.randn(image.shape, generator=random, dtype=torch.float64).to(image) for image in images]
    wanted = [leaves[name] for name in DIFFERENTIABLE]
    # The reference leaves images that nothing touched outside the graph.
    live = [(image, weight) for image, weight in zip(images, weights, strict=True) if image.requires_grad]
    outputs, cotangents = zip(*live, strict=True) if live else ((torch.zeros((), requires_grad=True),), None)
    found = torch.autograd.grad(outputs, wanted, cotangents, allow_unused=True, materialize_grads=True)
    return [image.detach() for image in images], dict(zip(DIFFERENTIABLE, found, strict=True))
