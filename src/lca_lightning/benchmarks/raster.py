"""Splatting forward and backward: on CPU against C++/OpenMP and plain PyTorch, on CUDA against gsplat."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lca_lightning.benchmarks.gsplat_rival import static_gsplat
from lca_lightning.benchmarks.raster_rival import RasterRival
from lca_lightning.benchmarks.report import Report, Requirement
from lca_lightning.benchmarks.sizes import PICTURES, BenchOptions, load_config
from lca_lightning.benchmarks.timing import Agreement, Measurement, compare
from lca_lightning.errors import LCAError
from lca_lightning.rendering import Gaussians, Renderer, choose_renderer

GAUSSIANS, HEIGHT, WIDTH = 40_000, 512, 384
IMAGE_TOLERANCE = 1e-4  # mean absolute difference of colour, alpha and metres
GRADIENT_TOLERANCE = 1e-2  # relative L2; splats at equal depth may swap
LARGEST_RATIO = 1.5  # of our time over the hand-vectorised kernel's
SLOW_ROUNDS = 2


@dataclass(frozen=True)
class Workload:
    """A cloud, one camera, and the gradients that flow back from its images."""

    tensors: tuple[Tensor, ...]  # means, quaternions, scales, opacities, colours, w2c, K, background
    cotangents: tuple[Tensor, ...]
    width: int
    height: int

    def to(self, device: torch.device) -> Workload:
        """The same work on another device."""
        tensors, cotangents = (
            tuple(part.to(device) for part in parts) for parts in (self.tensors, self.cotangents)
        )
        return Workload(tensors, cotangents, self.width, self.height)

    def run(self, renderer: Renderer) -> tuple[list[Tensor], list[Tensor]]:
        """Render and go back once; images, then gradients of the five fields and the camera."""
        leaves = [tensor.detach().requires_grad_(index < 6) for index, tensor in enumerate(self.tensors)]
        rendering = renderer(Gaussians(*leaves[:5]), leaves[5], leaves[6], self.width, self.height, leaves[7])
        images = [rendering.color_TCHW, rendering.alpha_T1HW, rendering.depth_T1HW]
        return images, list(torch.autograd.grad(images, leaves[:6], self.cotangents))


def person_cloud(gaussians: int, height: int, width: int, seed: int = 0) -> Workload:
    """Make a seeded cloud about the size of a person, 3 m from a camera that sees it from head to foot.

    Args:
        gaussians: Number of Gaussians; scales are about 1 cm, on the surface of a trunk, legs and arms.
        height: Image height in pixels.
        width: Image width in pixels.
        seed: Of the random generator.
    """
    random = torch.Generator().manual_seed(seed)
    # Tubes: x at the top, x at the bottom, y from, y to (downwards), radius, all in metres.
    tubes = torch.tensor(
        [
            [0, 0, -0.85, -0.6, 0.1],
            [0, 0, -0.6, 0.1, 0.17],
            [0.09, 0.14, 0.1, 0.85, 0.08],
            [-0.09, -0.14, 0.1, 0.85, 0.08],
            [0.2, 0.45, -0.55, 0.05, 0.05],
            [-0.2, -0.45, -0.55, 0.05, 0.05],
        ]
    )
    area = (tubes[:, 3] - tubes[:, 2]) * tubes[:, 4]
    top, bottom, start, end, radius = tubes[torch.multinomial(area, gaussians, True, generator=random)].T
    along, angle = (
        torch.rand(gaussians, generator=random),
        2 * math.pi * torch.rand(gaussians, generator=random),
    )
    x = top + along * (bottom - top) + radius * angle.cos()
    means = torch.stack([x, start + along * (end - start), radius * angle.sin()], dim=1)
    scales = 0.01 * torch.exp(0.3 * torch.randn(gaussians, 3, generator=random))
    quaternions = torch.randn(gaussians, 4, generator=random)
    opacities = torch.sigmoid(1.5 * torch.randn(gaussians, generator=random) + 1)
    colors = torch.rand(gaussians, 3, generator=random)
    w2c = torch.eye(4)[None].clone()
    w2c[0, 2, 3] = 3.0
    focal = 3.0 * height / 1.9
    K = torch.tensor([[[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]])
    shapes = [(1, 3, height, width), (1, 1, height, width), (1, 1, height, width)]
    cotangents = tuple(torch.randn(shape, generator=random) / (height * width) for shape in shapes)
    tensors = (means, quaternions, scales, opacities, colors, w2c, K, torch.rand(1, 3, generator=random))
    return Workload(tensors, cotangents, width, height)


def agreement(
    ours: tuple[list[Tensor], list[Tensor]], theirs: tuple[list[Tensor], list[Tensor]]
) -> tuple[float, float]:
    """Largest mean absolute difference of the images, largest relative L2 difference of the gradients."""
    image = max(
        float((a.detach() - b.detach()).abs().mean()) for a, b in zip(ours[0], theirs[0], strict=True)
    )
    gradient = max(
        float((a - b).norm() / b.norm().clamp(min=1e-12)) for a, b in zip(ours[1], theirs[1], strict=True)
    )
    return image, gradient


def refuse_difference(
    rival_name: str, ours: tuple[list[Tensor], list[Tensor]], theirs: tuple[list[Tensor], list[Tensor]]
) -> Agreement:
    """Compare images and gradients of two renderers.

    Raises:
        LCAError: They differ by more than splats of equal depth explain.
    """
    image, gradient = agreement(ours, theirs)
    if not (image <= IMAGE_TOLERANCE and gradient <= GRADIENT_TOLERANCE):
        raise LCAError(
            f"Our renderer and the {rival_name} differ (images {image:.1e}, gradients {gradient:.1e}): "
            "timing them would mean nothing; `pytest tests/parity/test_rendering.py` tells which is wrong."
        )
    return Agreement(image, IMAGE_TOLERANCE)


def measure_raster(options: BenchOptions) -> Report:
    """Compare the device's renderer with its rivals on one cloud; outputs must agree first.

    Args:
        options: Without ``size``, 40,000 Gaussians at 384x512 on the CPU and ``base`` on CUDA.

    Raises:
        LCAError: Outputs differ.
        MissingAssetError: No compiler for the rival of the CPU.
    """
    gaussians, height, width = GAUSSIANS, HEIGHT, WIDTH
    if options.size is not None or options.on_cuda:
        size = options.size_or("small")
        gaussians, (height, width) = load_config(size).gaussians, PICTURES[size].body
    work = person_cloud(gaussians, height, width)
    report = Report(
        "raster",
        f"{gaussians} Gaussians about a person, pictures {width} wide x {height} high, forward and backward",
        options.device,
    )
    name = f"raster fwd+bwd {gaussians} at {width}x{height}"
    if options.on_cuda:
        report.measurements = [against_gsplat(name, work.to(options.device), options.rounds)]
    else:
        report.measurements = against_cpu_rivals(name, work, options.rounds)
        against_cpp = report.measurements[0].ratio
        report.requirements = [Requirement("ours / C++ kernel:", against_cpp, "at most", LARGEST_RATIO)]
    return report


def against_cpu_rivals(name: str, work: Workload, rounds: int) -> list[Measurement]:
    """Time the CPU renderer against the C++ kernel and, in fewer turns, the slow PyTorch reference."""
    cpu, reference = choose_renderer("cpu"), choose_renderer("reference")
    rival = RasterRival(work.tensors, work.cotangents)
    rival()
    ours = work.run(cpu)
    theirs = ([torch.from_numpy(a) for a in rival.images], [torch.from_numpy(a) for a in rival.gradients])
    with_cpp = refuse_difference("C++ kernel", ours, theirs)
    with_reference = refuse_difference("PyTorch reference", ours, work.run(reference))
    return [
        compare(name, lambda: work.run(cpu), "C++/OpenMP tiles", rival, with_cpp, rounds),
        compare(
            name,
            lambda: work.run(cpu),
            "PyTorch reference",
            lambda: work.run(reference),
            with_reference,
            min(rounds, SLOW_ROUNDS),
        ),
    ]


def against_gsplat(name: str, work: Workload, rounds: int) -> Measurement:
    """Time our renderer's call against gsplat called directly."""
    ours = choose_renderer("gsplat")
    agreed = refuse_difference("direct gsplat", work.run(ours), work.run(static_gsplat))
    return compare(
        name,
        lambda: work.run(ours),
        "direct gsplat",
        lambda: work.run(static_gsplat),
        agreed,
        rounds,
        calls=10,
    )
