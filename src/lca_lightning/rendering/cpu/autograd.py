"""The CPU renderer: plans the work, runs the kernels on threads, and is one node of torch's graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lca_lightning.errors import DeviceError, LCAError
from lca_lightning.kernels.threads import balanced_bounds, even_bounds, run_chunks
from lca_lightning.rendering.cpu import backward, kernels, projection, projection_backward, tiles
from lca_lightning.rendering.renderer import TILE_SIZE, Gaussians, Rendering, check_inputs

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class View:
    """Everything about the images that is not a tensor of the graph."""

    width: int
    height: int
    antialiased: bool

    @property
    def tiles(self) -> tuple[int, int]:
        """Tiles across and down."""
        return -(-self.width // TILE_SIZE), -(-self.height // TILE_SIZE)


@dataclass(frozen=True)
class Cloud:
    """Contiguous single-precision inputs and double-precision cameras, as the kernels want them."""

    means: Array
    quaternions: Array
    scales: Array
    opacities: Array
    features: Array
    channels: int
    w2c: Array
    K: Array
    background: Array

    @classmethod
    def of(cls, tensors: tuple[Tensor, ...]) -> Cloud:
        """Build from means, quaternions, scales, opacities, colours, w2c, K and background."""
        *plain, colors, w2c, K, background = (tensor.detach() for tensor in tensors)
        means, quaternions, scales, opacities = (tensor.float().contiguous().numpy() for tensor in plain)
        channels = colors.shape[1]
        columns = -(-(channels + 1) // kernels.CHANNELS_AT_ONCE) * kernels.CHANNELS_AT_ONCE
        features = np.zeros((len(colors), columns), np.float32)  # by numpy: no need to wake torch's threads
        features[:, :channels] = colors.float().numpy()
        cameras = (w2c.double().contiguous().numpy(), K.double().contiguous().numpy())
        return cls(
            means, quaternions, scales, opacities, features, channels, *cameras, background.float().numpy()
        )


@dataclass(frozen=True)
class Plan:
    """Projected splats and tile lists; sizes grow with Gaussians x cameras plus intersections.

    Args:
        splats: ``(T, G, SPLAT_COLUMNS)``.
        counts: Tiles that each splat touches, ``(T, G)``.
        slot_starts: First gradient slot of each splat, ``(T, G)``.
        tile_starts: First intersection of each tile, ``(T * tiles + 1,)``.
        splat_ids: Splats in tile order, ``(intersections,)``.
        slots: Gradient slots in tile order, ``(intersections,)``.
    """

    splats: Array
    counts: Array
    slot_starts: Array
    tile_starts: Array
    splat_ids: Array
    slots: Array

    @property
    def bytes(self) -> int:
        """Memory held by the plan."""
        return sum(value.nbytes for value in vars(self).values())


def make_plan(cloud: Cloud, view: View) -> Plan:
    """Project the cloud into every camera and list each tile's splats, nearest first."""
    cameras, gaussians = cloud.w2c.shape[0], cloud.means.shape[0]
    splats = np.empty((cameras, gaussians, kernels.SPLAT_COLUMNS), np.float32)
    rectangles = np.empty((cameras, gaussians, 4), np.int32)
    counts = np.empty((cameras, gaussians), np.int32)
    bounds = even_bounds(gaussians, 2048)

    def project(chunk: int) -> None:
        camera, part = divmod(chunk, len(bounds) - 1)
        projection.project(
            bounds[part],
            bounds[part + 1],
            view.width,
            view.height,
            view.antialiased,
            cloud.means,
            cloud.quaternions,
            cloud.scales,
            cloud.opacities,
            cloud.w2c[camera],
            cloud.K[camera],
            splats[camera],
            rectangles[camera],
            counts[camera],
        )

    run_chunks(project, cameras * (len(bounds) - 1))
    ends = np.cumsum(counts.reshape(-1), dtype=np.int64)
    total = int(ends[-1]) if ends.size else 0
    if total > np.iinfo(np.int32).max:
        raise LCAError(
            f"The Gaussians cover {total} tiles, too many for one call; render fewer cameras at once."
        )
    slot_starts = (ends - counts.reshape(-1)).reshape(cameras, gaussians)
    tiles_x, tiles_y = view.tiles
    count = tiles_x * tiles_y
    tile_starts = np.zeros(cameras * count + 1, np.int64)
    splat_ids, slots = np.empty(total, np.int32), np.empty(total, np.int32)
    per_camera = np.concatenate([[0], np.cumsum(counts.sum(axis=1, dtype=np.int64))])

    def fill(camera: int) -> None:
        starts = np.empty(count + 1, np.int64)
        starts[0] = per_camera[camera]
        depth_bits = np.ascontiguousarray(splats[camera, :, 6]).view(np.int32)
        tiles.fill_tiles(
            tiles_x,
            depth_bits,
            rectangles[camera],
            counts[camera],
            slot_starts[camera],
            starts,
            splat_ids,
            slots,
            camera,
        )
        tile_starts[camera * count + 1 : (camera + 1) * count + 1] = starts[1:]

    run_chunks(fill, cameras)
    return Plan(splats, counts, slot_starts, tile_starts, splat_ids, slots)


@dataclass(frozen=True)
class Images:
    """Outputs of the forward kernel and what the backward kernel needs of them."""

    color: Array
    alpha: Array
    depth: Array
    transmittance: Array
    last_index: Array


def rasterize(cloud: Cloud, plan: Plan, view: View) -> Images:
    """Composite every tile of every camera."""
    shape = (cloud.w2c.shape[0], view.height, view.width)
    color = np.empty((shape[0], cloud.channels, *shape[1:]), np.float32)
    alpha, depth, transmittance = (np.empty(shape, np.float32) for _ in range(3))
    last_index = np.empty(shape, np.int32)
    bounds = balanced_bounds(plan.tile_starts)
    splats = plan.splats.reshape(-1, kernels.SPLAT_COLUMNS)

    def run(chunk: int) -> None:
        kernels.rasterize(
            bounds[chunk],
            bounds[chunk + 1],
            cloud.means.shape[0],
            view.width,
            view.height,
            plan.tile_starts,
            plan.splat_ids,
            splats,
            cloud.features,
            cloud.channels,
            cloud.background,
            color,
            alpha,
            depth,
            transmittance,
            last_index,
        )

    run_chunks(run, len(bounds) - 1)
    return Images(color, alpha, depth, transmittance, last_index)


def rasterize_backward(
    cloud: Cloud, plan: Plan, view: View, images: Images, to_color: Array, to_alpha: Array, to_depth: Array
) -> Array:
    """Give each intersection its gradients, ``(intersections, GRADIENT_COLUMNS + F)``."""
    columns = kernels.GRADIENT_COLUMNS + cloud.features.shape[1]
    gradients = np.zeros((len(plan.slots), columns), np.float32)
    bounds = balanced_bounds(plan.tile_starts)
    splats = plan.splats.reshape(-1, kernels.SPLAT_COLUMNS)

    def run(chunk: int) -> None:
        backward.rasterize_backward(
            bounds[chunk],
            bounds[chunk + 1],
            cloud.means.shape[0],
            view.width,
            view.height,
            plan.tile_starts,
            plan.splat_ids,
            plan.slots,
            splats,
            cloud.features,
            cloud.channels,
            cloud.background,
            images.alpha,
            images.depth,
            images.transmittance,
            images.last_index,
            to_color,
            to_alpha,
            to_depth,
            gradients,
        )

    run_chunks(run, len(bounds) - 1)
    return gradients


def project_backward(cloud: Cloud, plan: Plan, view: View, gradients: Array) -> tuple[Array, ...]:
    """Carry the intersections' gradients to means, quaternions, scales, opacities, features and cameras."""
    inputs = (cloud.means, cloud.quaternions, cloud.scales, cloud.opacities, cloud.features)
    outputs = tuple(np.zeros_like(value) for value in inputs)
    bounds = even_bounds(len(cloud.means), 2048)
    to_w2c = np.zeros((len(bounds) - 1, *cloud.w2c.shape))

    def run(chunk: int) -> None:
        projection_backward.project_backward(
            bounds[chunk],
            bounds[chunk + 1],
            view.width,
            view.height,
            view.antialiased,
            cloud.channels,
            *inputs[:4],
            cloud.w2c,
            cloud.K,
            plan.splats,
            plan.counts,
            plan.slot_starts,
            gradients,
            *outputs,
            to_w2c[chunk],
        )

    run_chunks(run, len(bounds) - 1)
    return *outputs, to_w2c.sum(axis=0)


class _Rasterization(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, view: View, *tensors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Render; ``tensors`` are means, quaternions, scales, opacities, colours, w2c, K, background."""
        cloud = Cloud.of(tensors)
        plan = make_plan(cloud, view)
        images = rasterize(cloud, plan, view)
        ctx.save_for_backward(*tensors)
        ctx.state = (view, plan, images)
        dtype = tensors[0].dtype
        color, alpha, depth = (
            torch.from_numpy(array).to(dtype) for array in (images.color, images.alpha, images.depth)
        )
        return color, alpha.unsqueeze(1), depth.unsqueeze(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_color: Tensor, to_alpha: Tensor, to_depth: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients in the order of the inputs; none for the intrinsics."""
        view, plan, images = ctx.state
        tensors = ctx.saved_tensors
        cloud = Cloud.of(tensors)
        incoming = [to_color, to_alpha.squeeze(1), to_depth.squeeze(1)]
        arrays = [gradient.float().contiguous().numpy() for gradient in incoming]
        gradients = rasterize_backward(cloud, plan, view, images, *arrays)
        *outputs, features, w2c = project_backward(cloud, plan, view, gradients)
        results: list[Tensor | None] = [torch.from_numpy(output) for output in outputs]
        results += [torch.from_numpy(features[:, : cloud.channels]), torch.from_numpy(w2c), None]
        transmittance = torch.from_numpy(images.transmittance).unsqueeze(1)
        results.append((to_color * transmittance).sum(dim=(2, 3)) if ctx.needs_input_grad[8] else None)
        pairs = zip(results, tensors, strict=True)
        return None, *(None if result is None else result.to(tensor.dtype) for result, tensor in pairs)


class CPURenderer:
    """Gaussian splatting by compiled tile kernels, forward and backward, on as many threads as torch may use.

    Computes in single precision whatever the dtype of its inputs; gradients of first order only.

    Args:
        antialiased: Scale opacities by what the screen-space blur adds (gsplat's ``antialiased`` mode).
    """

    def __init__(self, antialiased: bool = False) -> None:
        self.antialiased = antialiased

    def __call__(
        self,
        gaussians: Gaussians,
        w2c_T44: Tensor,
        K_T33: Tensor,
        width: int,
        height: int,
        background_TC: Tensor | None = None,
    ) -> Rendering:
        """Render T views of one cloud; see ``Renderer``."""
        check_inputs(gaussians, w2c_T44, K_T33, width, height, background_TC)
        if gaussians.means_G3.device.type != "cpu":
            raise DeviceError(
                f"The cpu renderer got tensors on {gaussians.means_G3.device}; choose 'auto' instead."
            )
        if background_TC is None:
            background_TC = gaussians.colors_GC.new_zeros(w2c_T44.shape[0], gaussians.colors_GC.shape[1])
        color, alpha, depth = _Rasterization.apply(
            View(width, height, self.antialiased),
            gaussians.means_G3,
            gaussians.quaternions_G4,
            gaussians.scales_G3,
            gaussians.opacities_G,
            gaussians.colors_GC,
            w2c_T44,
            K_T33.detach(),
            background_TC.contiguous(),
        )
        return Rendering(color, alpha, depth)
