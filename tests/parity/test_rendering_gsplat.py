"""The renderers' maths against gsplat's own pure-PyTorch implementation, which needs no CUDA."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lca_lightning.rendering import choose_renderer
from lca_lightning.rendering.cpu.autograd import Cloud, View, make_plan
from tests.parity.rendering_scenes import HEIGHT, NAMES, WIDTH, make_scene, render

gsplat_torch = pytest.importorskip("gsplat.cuda._torch_impl", reason="gsplat is not installed")


def gsplat_projection(scene: dict[str, Tensor], antialiased: bool) -> tuple[Tensor, ...]:
    """Radii, centres, depths, conics and compensations from gsplat."""
    covariances, _ = gsplat_torch._quat_scale_to_covar_preci(scene["quaternions"], scene["scales"])
    return gsplat_torch._fully_fused_projection(
        scene["means"], covariances, scene["w2c"], scene["K"], WIDTH, HEIGHT, calc_compensations=antialiased
    )  # type: ignore[no-any-return]


@pytest.mark.parametrize("antialiased", [False, True])
def test_projection_equals_gsplat(antialiased: bool) -> None:
    scene = make_scene(gaussians=500, dtype=torch.float64)
    radii, centers, depths, conics, compensations = gsplat_projection(scene, antialiased)
    plan = make_plan(Cloud.of(tuple(scene[name] for name in NAMES)), View(WIDTH, HEIGHT, antialiased))
    splats, kept = torch.from_numpy(plan.splats).double(), torch.from_numpy(plan.counts) > 0
    opacities = scene["opacities"] * (compensations if antialiased else 1)
    expected = (radii > 0).all(-1) & (opacities >= 1 / 255)
    assert 0.5 < expected.double().mean() < 0.98
    # gsplat's CUDA kernels shrink the radius with opacity, this one does not: ours may keep fewer, not more.
    assert not (kept & ~expected).any()
    assert (kept & expected).sum() > 0.9 * expected.sum()
    assert (splats[..., :2] - centers)[kept].abs().max() < 1e-4
    assert ((splats[..., 2:5] - conics) / conics.norm(dim=-1, keepdim=True))[kept].abs().max() < 1e-5
    assert (splats[..., 5] - opacities)[kept].abs().max() < 1e-6
    assert (splats[..., 6] - depths)[kept].abs().max() < 1e-6


def test_gradients_of_the_projection_equal_gsplat() -> None:
    """Through images: gsplat's projection and a plain loop of compositing, against the CPU renderer."""
    scene = make_scene(gaussians=120, cameras=1, dtype=torch.float64)
    leaves = {name: tensor.requires_grad_(name != "K") for name, tensor in scene.items()}
    color, alpha, depth = render(choose_renderer("cpu"), leaves)
    expected = composite(leaves)
    for ours, theirs in zip((color, alpha, depth), expected, strict=True):
        assert (ours - theirs).abs().max() < 1e-4
    names = [name for name in NAMES if name != "K"]
    weights = [torch.randn_like(image) for image in expected]
    ours_all = torch.autograd.grad((color, alpha, depth), [leaves[name] for name in names], weights)
    theirs_all = torch.autograd.grad(expected, [leaves[name] for name in names], weights)
    for name, ours, theirs in zip(names, ours_all, theirs_all, strict=True):
        assert (ours - theirs).norm() / theirs.norm() < 1e-3, name


def composite(scene: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Composite gsplat's projected splats one by one over whole images."""
    radii, centers, depths, conics, _ = gsplat_projection(scene, False)
    y, x = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    left = torch.ones(HEIGHT, WIDTH, dtype=torch.float64)
    running = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    total = torch.zeros(4, HEIGHT, WIDTH, dtype=torch.float64)
    for g in torch.argsort(depths[0]).tolist():
        if not bool((radii[0, g] > 0).all()):
            continue
        dx, dy = x - centers[0, g, 0], y - centers[0, g, 1]
        a, b, c = conics[0, g]
        alpha = (scene["opacities"][g] * torch.exp(-0.5 * (a * dx**2 + c * dy**2) - b * dx * dy)).clamp(
            max=0.999
        )
        alpha = torch.where(alpha >= 1 / 255, alpha, torch.zeros_like(alpha))
        running = running & (left * (1 - alpha) > 1e-4)
        alpha = torch.where(running, alpha, torch.zeros_like(alpha))
        feature = torch.cat([scene["colors"][g], depths[0, g, None]])
        total = total + (left * alpha) * feature[:, None, None]
        left = left * (1 - alpha)
    color = total[:3] + left * scene["background"][0, :, None, None]
    return color[None], (1 - left)[None, None], (total[3] / (1 - left).clamp(min=1e-10))[None, None]


def test_tile_lists_hold_gsplats_intersections() -> None:
    scene = make_scene(gaussians=200, cameras=2)
    scene["opacities"].fill_(0.999)  # so that gsplat's opacity-aware radius equals its plain one
    radii, centers, depths, _, _ = gsplat_projection(scene, False)
    tiles_x, tiles_y = math.ceil(WIDTH / 16), math.ceil(HEIGHT / 16)
    _, identifiers, flat = gsplat_torch._isect_tiles(centers, radii, depths, 16, tiles_x, tiles_y)
    offsets = gsplat_torch._isect_offset_encode(identifiers, 2, tiles_x, tiles_y).flatten().tolist()
    plan = make_plan(Cloud.of(tuple(scene[name] for name in NAMES)), View(WIDTH, HEIGHT, False))
    differing = 0
    for tile, (start, end) in enumerate(zip(offsets, [*offsets[1:], len(flat)], strict=True)):
        theirs = flat[start:end].tolist()
        ours = plan.splat_ids[plan.tile_starts[tile] : plan.tile_starts[tile + 1]].tolist()
        differing += len(set(theirs) ^ set(ours))
        common = set(theirs) & set(ours)
        assert [g for g in ours if g in common] == [g for g in theirs if g in common]  # same order
    # 0.999 gives 3.327 sigmas against 3.33: a radius rounded up to whole pixels may differ by one.
    assert differing < 0.01 * len(flat)
