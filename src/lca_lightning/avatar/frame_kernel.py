"""Frames of an avatar on the CPU in one compiled pass: decoder, corrections, skinning, activations.

The same maths as ``PoseDecoder``, ``apply_deltas`` and ``pose_gaussians``, which stay the reference and what
CUDA and training run. A pass of its own because torch's OpenMP threads and the renderer's threads take turns
badly: a worker waiting for its next operation keeps a core from the renderer for as long as a frame takes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lca_lightning.batch import Driving
from lca_lightning.geometry.kinematics import Skeleton
from lca_lightning.geometry.kinematics_cpu import pose_joints
from lca_lightning.geometry.skinning_cpu import WIDTH, blend_lanes, lane_quaternion, strongest_joints
from lca_lightning.kernels.compilation import compiled
from lca_lightning.kernels.dense import ROWS, dense_layer
from lca_lightning.kernels.threads import even_bounds, run_chunks
from lca_lightning.model.attributes import DELTA_CHANNELS, CanonicalGaussians, ScaleLimits
from lca_lightning.model.decoders import PoseDecoder
from lca_lightning.rendering.cpu.kernels import LOG2_E, exp2
from lca_lightning.rendering.renderer import Gaussians

Array = np.ndarray[Any, Any]
ANCHORS_AT_ONCE = 16  # their activations stay in the nearest cache
SMALLEST_CHUNK = 128  # anchors; fewer are not worth a thread
CHANNELS = sum(DELTA_CHANNELS)
ONE, TINY, LARGEST_LOGIT = np.float32(1.0), np.float32(1e-12), np.float32(60.0)
I1, TWO, THREE, FOUR, TEN = (np.uint64(number) for number in (1, 2, 3, 4, 10))


class CpuFrames:
    """Poses one avatar; everything that no frame changes is laid out once.

    Args:
        canonical: Static attributes with ``B = 1``.
        projected_1AD: Tokens as the decoder's first layer sees them.
        decoder: What turns driving signals into corrections.
        limits: Smallest and largest standard deviation, metres.
        weights_GJ: Skinning weights.
        skeleton: The person's bones, ``B = 1``.
        driving_joints: Joints whose rotations are driving signals.
    """

    def __init__(
        self,
        canonical: CanonicalGaussians,
        projected_1AD: Tensor,
        decoder: PoseDecoder,
        limits: ScaleLimits,
        weights_GJ: Tensor,
        skeleton: Skeleton,
        driving_joints: tuple[int, ...],
    ) -> None:
        self.anchors, self.points = projected_1AD.shape[1], len(weights_GJ)
        self.opacities_G = canonical.opacities_BG[0]
        attributes = (
            canonical.base_BG3 + canonical.offsets_BG3, canonical.quaternions_BG4, canonical.log_scales_BG3,
            canonical.color_logits_BG3,
        )  # fmt: skip
        bones = (skeleton.joints_BJ3, skeleton.offsets_BJ3, skeleton.alignment_BJ33)
        self._constant = (
            skeleton.parents_J().numpy(), *(_array(part[0]) for part in bones),
            np.array(driving_joints, np.int64), _array(_padded(projected_1AD[0])),
            _array(decoder.signal_projection.weight.T),
            *_decoder_arrays(decoder), *strongest_joints(weights_GJ),
            np.array([decoder.offset_scale, *limits.log_bounds()], np.float32),
            *(_array(part[0]).reshape(-1) for part in attributes),
        )  # fmt: skip

    def __call__(self, driving: Driving, corrected: bool) -> Gaussians:
        """Correct and pose the Gaussians.

        Args:
            driving: Driving signals of one frame, ``B = T = 1``.
            corrected: Whether pose, expression and gaze correct them; else skinning alone.

        Returns:
            The posed cloud, without gradients.
        """
        frame = (driving.rotations_BTJ3, driving.translation_BT3, driving.expression_BTE, driving.gaze_BT8)
        inputs = (_array(part[0, 0]) for part in frame)
        outputs = [torch.empty(self.points, size) for size in (3, 4, 3, 3)]
        arguments = (
            corrected, *inputs, *self._constant, *(tensor.view(-1).numpy() for tensor in outputs),
        )  # fmt: skip
        bounds = even_bounds(self.anchors, SMALLEST_CHUNK, chunks_per_thread=1)
        run_chunks(lambda chunk: _frame(*arguments, bounds[chunk], bounds[chunk + 1]), len(bounds) - 1)
        means, quaternions, scales, colors = outputs
        return Gaussians(means, quaternions, scales, self.opacities_G, colors)


def _array(tensor: Tensor) -> Array:
    return tensor.detach().float().contiguous().numpy()


def _padded(matrix: Tensor) -> Tensor:
    """Columns of zeros up to a width that the dense layer takes."""
    return functional.pad(matrix, (0, -matrix.shape[1] % ROWS))


def _decoder_arrays(decoder: PoseDecoder) -> tuple[Array, Array, Array, Array]:
    """Weights of the hidden layers stacked and of the last one, input by output, with their biases."""
    *hidden, last = [layer for layer in decoder.layers if isinstance(layer, nn.Linear)]
    inner = last.in_features
    size = inner + -inner % ROWS
    weights, biases = torch.zeros(len(hidden), size, size), torch.zeros(len(hidden), size)
    for index, layer in enumerate(hidden):
        weights[index, :inner, :inner], biases[index, :inner] = layer.weight.detach().T, layer.bias.detach()
    return _array(weights), _array(biases), _array(_padded(last.weight).T), _array(last.bias)


@compiled
def _shift(
    local: Array, driving_joints: Array, expression: Array, gaze: Array, weight: Array, shift: Array
) -> None:
    """What the signals add to the first layer; rotations enter as 6D codes, zero where nothing is turned."""
    signals = np.empty(6 * len(driving_joints) + len(expression) + len(gaze), np.float32)
    at = 0
    for joint in driving_joints:
        for column in range(2):
            for row in range(3):
                signals[at] = local[joint, row, column] - np.float32(row == column)
                at += 1
    for value in expression:
        signals[at] = value
        at += 1
    for value in gaze:
        signals[at] = value
        at += 1
    for row in range(np.uint64(weight.shape[0])):
        for column in range(np.uint64(weight.shape[1])):
            shift[column] += signals[row] * weight[row, column]


@compiled
def _decode(
    projected: Array, shift: Array, hidden_weights: Array, hidden_biases: Array, last_weight: Array,
    last_bias: Array, anchor: int, count: int, values: Array,
) -> None:  # fmt: skip
    """The decoder's network for a few anchors; rows beyond ``count`` are computed and not used."""
    width, rows = len(shift), (count + ROWS - 1) // ROWS * ROWS
    now, then = np.zeros(rows * width, np.float32), np.zeros(rows * width, np.float32)
    for row in range(count):
        for column in range(width):
            value = projected[anchor + row, column] + shift[column]
            now[row * width + column] = max(value, np.float32(0.01) * value)
    for layer in range(len(hidden_weights)):
        dense_layer(now, hidden_weights[layer].ravel(), hidden_biases[layer], then, rows, width, width, True)
        now, then = then, now
    dense_layer(now, last_weight.ravel(), last_bias, values, rows, width, len(last_bias), False)


@compiled
def _activate(scales: Array, colors: Array, first: int, end: int) -> None:
    """Exponentials and sigmoids of many values, in a loop that is vectorised."""
    for index in range(np.uint64(first), np.uint64(end)):
        scales[index] = exp2(scales[index])
    for index in range(np.uint64(first), np.uint64(end)):
        colors[index] = ONE / (ONE + exp2(colors[index]))


@compiled
def _pose_point(
    values: Array, at: Any, numbers: Array, rows: Array, row: Any, lanes: Array, lane: int, point: Any,
    points: Array, quaternions: Array, log_scales: Array, logits: Array,
    means_out: Array, quaternions_out: Array, scales_out: Array, colors_out: Array,
) -> None:  # fmt: skip
    """Correct one Gaussian and move it with its skin; `_activate` finishes its scales and colours.

    All arrays are flat and all indices unsigned: numba checks signed ones for negative values.
    """
    p3, p4 = THREE * point, FOUR * point
    x = points[p3] + values[at + THREE] * numbers[0]
    y = points[p3 + I1] + values[at + FOUR] * numbers[0]
    z = points[p3 + TWO] + values[at + FOUR + I1] * numbers[0]
    for axis in range(THREE):
        r = row + FOUR * axis
        means_out[p3 + axis] = rows[r] * x + rows[r + I1] * y + rows[r + TWO] * z + rows[r + THREE]
        size = min(max(log_scales[p3 + axis] + values[at + TEN + axis], numbers[1]), numbers[2])
        scales_out[p3 + axis] = size * LOG2_E
        logit = min(max(logits[p3 + axis] + values[at + axis], -LARGEST_LOGIT), LARGEST_LOGIT)
        colors_out[p3 + axis] = -logit * LOG2_E
    q = at + THREE + THREE
    e, f = quaternions[p4] + values[q], quaternions[p4 + I1] + values[q + I1]
    g, h = quaternions[p4 + TWO] + values[q + TWO], quaternions[p4 + THREE] + values[q + THREE]
    scale = ONE / max(np.float32(np.sqrt(e * e + f * f + g * g + h * h)), TINY)
    e, f, g, h = e * scale, f * scale, g * scale, h * scale
    a, b, c, d = lane_quaternion(lanes, lane)
    quaternions_out[p4] = a * e - b * f - c * g - d * h
    quaternions_out[p4 + I1] = a * f + b * e + c * h - d * g
    quaternions_out[p4 + TWO] = a * g - b * h + c * e + d * f
    quaternions_out[p4 + THREE] = a * h + b * g - c * f + d * e


@compiled
def _frame(
    corrected: bool, rotations: Array, root: Array, expression: Array, gaze: Array,
    parents: Array, rest: Array, bones: Array, alignment: Array, driving_joints: Array,
    projected: Array, signal_weight: Array, hidden_weights: Array, hidden_biases: Array, last_weight: Array,
    last_bias: Array, joints: Array, weights: Array, numbers: Array,
    points: Array, quaternions: Array, log_scales: Array, logits: Array,
    means_out: Array, quaternions_out: Array, scales_out: Array, colors_out: Array, first: int, end: int,
) -> None:  # fmt: skip
    """Pose the Gaussians of anchors ``first`` to ``end``; every thread poses the few bones for itself."""
    local = np.empty((len(rotations), 3, 3), np.float32)
    posed = np.empty((len(rotations), 3, 4), np.float32)
    pose_joints(parents, rotations, root, rest, bones, alignment, local, posed)
    transforms, shift = posed.reshape(1, -1, 12), np.zeros(projected.shape[1], np.float32)
    if corrected:
        _shift(local, driving_joints, expression, gaze, signal_weight, shift)
    per_anchor = len(points) // 3 // len(projected)
    values = np.zeros(ANCHORS_AT_ONCE * per_anchor * CHANNELS, np.float32)
    lanes, rows = np.zeros(9 * WIDTH, np.float32), np.zeros((WIDTH, 12), np.float32)
    flat_rows = rows.reshape(-1)
    for anchor in range(first, end, ANCHORS_AT_ONCE):
        count = min(ANCHORS_AT_ONCE, end - anchor)
        if corrected:
            _decode(
                projected, shift, hidden_weights, hidden_biases, last_weight, last_bias, anchor, count, values
            )
        start, stop = anchor * per_anchor, (anchor + count) * per_anchor
        for block in range(start, stop, WIDTH):
            size = min(WIDTH, stop - block)
            blend_lanes(joints, weights, transforms, 0, block, size, rows, lanes)
            for lane in range(size):
                at = np.uint64((block + lane - start) * CHANNELS)
                row, point = np.uint64(12 * lane), np.uint64(block + lane)
                _pose_point(
                    values, at, numbers, flat_rows, row, lanes, lane, point, points, quaternions, log_scales,
                    logits, means_out, quaternions_out, scales_out, colors_out,
                )  # fmt: skip
            _activate(scales_out, colors_out, 3 * block, 3 * (block + size))
