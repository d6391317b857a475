"""A frame of an avatar on the CPU in one compiled pass: corrections, skinning, activations.

The same maths as ``apply_deltas`` and ``pose_gaussians``, which stay the reference and what CUDA and training
run. Some forty small operations become one, which matters where a picture takes only milliseconds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lca_lightning.geometry.skinning_cpu import (
    SMALLEST_CHUNK,
    WIDTH,
    blend_lanes,
    lane_quaternion,
    strongest_joints,
)
from lca_lightning.kernels.compilation import compiled
from lca_lightning.kernels.threads import even_bounds, run_chunks
from lca_lightning.model.attributes import CanonicalGaussians, ScaleLimits
from lca_lightning.rendering.cpu.kernels import LOG2_E, exp2
from lca_lightning.rendering.renderer import Gaussians

Array = np.ndarray[Any, Any]
ONE, TINY, LARGE = np.float32(1.0), np.float32(1e-12), np.float32(120.0)


def frame_cpu(
    canonical: CanonicalGaussians,
    values_G13: Tensor | None,
    offset_scale: float,
    limits: ScaleLimits,
    weights_GJ: Tensor,
    transforms_J44: Tensor,
) -> Gaussians:
    """Correct and pose the Gaussians of one avatar.

    Args:
        canonical: Static attributes with ``B = 1``.
        values_G13: Colour, offset, quaternion and scale from the pose decoder; None for no corrections.
        offset_scale: Metres that one unit of a decoded offset stands for.
        limits: Smallest and largest standard deviation, metres.
        weights_GJ: Skinning weights.
        transforms_J44: Rest-to-posed joint transforms, metres.

    Returns:
        The posed cloud, without gradients.
    """
    points = len(weights_GJ)
    corrected = values_G13 is not None
    values = values_G13.contiguous() if values_G13 is not None else torch.zeros(1, 13)
    inputs = [
        canonical.base_BG3, canonical.offsets_BG3, canonical.quaternions_BG4, canonical.log_scales_BG3,
        canonical.color_logits_BG3,
    ]  # fmt: skip
    arrays = [tensor[0].contiguous().numpy() for tensor in inputs]
    transforms = transforms_J44[None, :, :3].reshape(1, -1, 12).contiguous().numpy()
    means, quaternions = torch.empty(points, 3), torch.empty(points, 4)
    scales, colors = torch.empty(points, 3), torch.empty(points, 3)
    outputs = [tensor.numpy() for tensor in (means, quaternions, scales, colors)]
    low, high = limits.log_bounds()
    numbers = np.array([offset_scale, low, high], np.float32)
    everything = (
        *strongest_joints(weights_GJ), transforms, values.numpy(), corrected, numbers, *arrays, *outputs,
    )  # fmt: skip
    bounds = even_bounds(points, SMALLEST_CHUNK)
    run_chunks(lambda chunk: _frame(*everything, bounds[chunk], bounds[chunk + 1]), len(bounds) - 1)
    return Gaussians(means, quaternions, scales, canonical.opacities_BG[0], colors)


@compiled
def _frame(
    joints: Array, weights: Array, transforms: Array, values: Array, corrected: bool, numbers: Array,
    base: Array, offsets: Array, quaternions: Array, log_scales: Array, logits: Array,
    means_out: Array, quaternions_out: Array, scales_out: Array, colors_out: Array, first: int, end: int,
) -> None:  # fmt: skip
    lanes = np.zeros(9 * WIDTH, np.float32)
    rows = np.zeros((WIDTH, 12), np.float32)
    change = np.zeros(13, np.float32)
    point_3 = np.zeros(3, np.float32)
    offset_scale, low, high = numbers[0], numbers[1], numbers[2]
    for start in range(first, end, WIDTH):
        count = min(WIDTH, end - start)
        blend_lanes(joints, weights, transforms, 0, start, count, rows, lanes)
        for lane in range(count):
            point = start + lane
            if corrected:
                for entry in range(13):
                    change[entry] = values[point, entry]
            for axis in range(3):
                point_3[axis] = base[point, axis] + offsets[point, axis] + change[3 + axis] * offset_scale
                size = min(max(log_scales[point, axis] + change[10 + axis], low), high)
                scales_out[point, axis] = exp2(size * LOG2_E)
                logit = min(max(logits[point, axis] + change[axis], -LARGE / 2), LARGE / 2)
                colors_out[point, axis] = ONE / (ONE + exp2(-logit * LOG2_E))
            for axis in range(3):
                means_out[point, axis] = (
                    rows[lane, 4 * axis] * point_3[0] + rows[lane, 4 * axis + 1] * point_3[1]
                    + rows[lane, 4 * axis + 2] * point_3[2] + rows[lane, 4 * axis + 3]
                )  # fmt: skip
            e, f = quaternions[point, 0] + change[6], quaternions[point, 1] + change[7]
            g, h = quaternions[point, 2] + change[8], quaternions[point, 3] + change[9]
            scale = ONE / max(np.float32(np.sqrt(e * e + f * f + g * g + h * h)), TINY)
            e, f, g, h = e * scale, f * scale, g * scale, h * scale
            a, b, c, d = lane_quaternion(lanes, lane)
            quaternions_out[point, 0] = a * e - b * f - c * g - d * h
            quaternions_out[point, 1] = a * f + b * e + c * h - d * g
            quaternions_out[point, 2] = a * g - b * h + c * e + d * f
            quaternions_out[point, 3] = a * h + b * g - c * f + d * e
