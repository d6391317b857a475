"""Skin motion on the CPU in one compiled pass: blend, polar factor and quaternion of every point.

The same maths as ``blend_transforms``, ``polar_rotation`` and ``matrix_to_quaternion``, for inputs without
gradients; those stay the reference, and what CUDA runs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from lca_lightning.errors import check_shape
from lca_lightning.kernels.compilation import compiled
from lca_lightning.kernels.threads import even_bounds, run_chunks

SMALLEST_CHUNK = 2048  # points; fewer are not worth a thread
WIDTH = 64  # matrices that one loop orthogonalises together
W1, W2, W3, W4, W5, W6, W7, W8 = (np.uint64(entry * WIDTH) for entry in range(1, 9))
HALF, ONE, TINY = np.float32(0.5), np.float32(1.0), np.float32(1e-12)
STILL = np.float32(1e-6)  # summed squared step: the iteration is quadratic, so the rest is below float32
_compressed = WeakTensorKeyDictionary()

Array = np.ndarray[Any, Any]


def skin_motion_cpu(weights_GJ: Tensor, transforms_TJ44: Tensor) -> tuple[Tensor, Tensor]:
    """Blended transforms of every point and the rotations in them.

    Args:
        weights_GJ: Skinning weights, rows sum to 1, float32.
        transforms_TJ44: Rest-to-posed joint transforms, metres, float32.

    Returns:
        The upper three rows of the blended maps, ``(T, G, 3, 4)``, and quaternions ``wxyz`` of their polar
        factors with non-negative real part, ``(T, G, 4)``.

    Raises:
        ShapeError: The joint counts disagree.
    """
    check_shape("transforms_TJ44", transforms_TJ44, ("T", weights_GJ.shape[1], 4, 4))
    joints_GN, values_GN = strongest_joints(weights_GJ)
    transforms = transforms_TJ44.detach()[:, :, :3].reshape(*transforms_TJ44.shape[:2], 12).contiguous()
    frames, points = len(transforms), len(weights_GJ)
    blended = torch.empty(frames, points, 12)
    rotations = torch.empty(frames, points, 4)
    arrays = joints_GN, values_GN, transforms.numpy(), blended.numpy(), rotations.numpy()
    bounds = even_bounds(points, SMALLEST_CHUNK, chunks_per_thread=1)
    run_chunks(lambda chunk: _blend_and_orient(*arrays, bounds[chunk], bounds[chunk + 1]), len(bounds) - 1)
    return blended.view(frames, points, 3, 4), rotations


def strongest_joints(weights_GJ: Tensor) -> tuple[Array, Array]:
    """The joints that move each point and their shares, strongest first; found once for each tensor."""
    current = 0 if weights_GJ.is_inference() else weights_GJ._version  # inference tensors count no changes
    version, arrays = _compressed.get(weights_GJ, (None, None))
    if version != current:
        most = max(1, int((weights_GJ != 0).sum(1).max()))
        values, joints = weights_GJ.detach().topk(most, dim=1)
        arrays = joints.to(torch.int32).numpy(), values.contiguous().numpy()
        _compressed[weights_GJ] = (current, arrays)
    return arrays


@compiled
def polar_lanes(lanes: Array) -> None:
    """Newton's iteration (Higham 1986) on as many matrices at once, until all stand still.

    One buffer, entry after entry at constant offsets, and unsigned indices: so the loop is vectorised.
    """
    for _ in range(24):
        moved = np.float32(0.0)
        for lane in range(WIDTH):
            k = np.uint64(lane)
            a, b, c = lanes[k], lanes[k + W1], lanes[k + W2]
            d, e, f = lanes[k + W3], lanes[k + W4], lanes[k + W5]
            g, h, i = lanes[k + W6], lanes[k + W7], lanes[k + W8]
            ca, cb, cc = e * i - f * h, f * g - d * i, d * h - e * g
            cd, ce, cf = h * c - i * b, i * a - g * c, g * b - h * a
            cg, ch, ci = b * f - c * e, c * d - a * f, a * e - b * d
            determinant = a * ca + b * cb + c * cc
            determinant = TINY if abs(determinant) < TINY else determinant
            inverse = HALF / determinant
            na, nb, nc = HALF * a + inverse * ca, HALF * b + inverse * cb, HALF * c + inverse * cc
            nd, ne, nf = HALF * d + inverse * cd, HALF * e + inverse * ce, HALF * f + inverse * cf
            ng, nh, ni = HALF * g + inverse * cg, HALF * h + inverse * ch, HALF * i + inverse * ci
            moved += (na - a) ** 2 + (nb - b) ** 2 + (nc - c) ** 2 + (nd - d) ** 2 + (ne - e) ** 2
            moved += (nf - f) ** 2 + (ng - g) ** 2 + (nh - h) ** 2 + (ni - i) ** 2
            lanes[k], lanes[k + W1], lanes[k + W2] = na, nb, nc
            lanes[k + W3], lanes[k + W4], lanes[k + W5] = nd, ne, nf
            lanes[k + W6], lanes[k + W7], lanes[k + W8] = ng, nh, ni
        if moved < STILL:
            return


@compiled
def lane_quaternion(lanes: Array, lane: int) -> tuple[float, float, float, float]:
    """Quaternion of an orthogonal matrix by Shepperd's formulas, real part not negative."""
    k = np.uint64(lane)
    a, b, c = lanes[k], lanes[k + W1], lanes[k + W2]
    d, e, f = lanes[k + W3], lanes[k + W4], lanes[k + W5]
    g, h, i = lanes[k + W6], lanes[k + W7], lanes[k + W8]
    if a + e + i >= max(a, e, i):
        w, x, y, z = ONE + a + e + i, h - f, c - g, d - b
    elif a >= max(e, i):
        w, x, y, z = h - f, ONE + a - e - i, b + d, c + g
    elif e >= i:
        w, x, y, z = c - g, b + d, ONE + e - a - i, f + h
    else:
        w, x, y, z = d - b, c + g, f + h, ONE + i - a - e
    scale = ONE / np.float32(np.sqrt(w * w + x * x + y * y + z * z))
    if w < np.float32(0.0):
        scale = -scale
    return w * scale, x * scale, y * scale, z * scale


@compiled
def blend_lanes(
    joints: Array,
    values: Array,
    transforms: Array,
    frame: int,
    start: int,
    count: int,
    rows: Array,
    lanes: Array,
) -> None:
    """Blend the transforms of ``count`` points into ``rows`` and orthogonalise them in ``lanes``."""
    row = np.zeros(12, np.float32)
    for lane in range(count):
        point = start + lane
        row[:] = np.float32(0.0)
        for slot in range(joints.shape[1]):
            share = values[point, slot]
            if share == np.float32(0.0):  # sorted: zeros come last
                break
            joint = joints[point, slot]
            for entry in range(12):
                row[entry] += share * transforms[frame, joint, entry]
        for entry in range(12):
            rows[lane, entry] = row[entry]
        for entry in range(9):
            lanes[np.uint64(entry * WIDTH + lane)] = row[entry + entry // 3]
    polar_lanes(lanes)  # lanes beyond ``count`` hold earlier points, already orthogonal


@compiled
def _blend_and_orient(
    joints: Array, values: Array, transforms: Array, blended: Array, rotations: Array, first: int, end: int
) -> None:
    lanes = np.zeros(9 * WIDTH, np.float32)
    rows = np.zeros((WIDTH, 12), np.float32)
    for frame in range(blended.shape[0]):
        for start in range(first, end, WIDTH):
            count = min(WIDTH, end - start)
            blend_lanes(joints, values, transforms, frame, start, count, rows, lanes)
            for lane in range(count):
                point = start + lane
                for entry in range(12):
                    blended[frame, point, entry] = rows[lane, entry]
                w, x, y, z = lane_quaternion(lanes, lane)
                rotations[frame, point, 0], rotations[frame, point, 1] = w, x
                rotations[frame, point, 2], rotations[frame, point, 3] = y, z
