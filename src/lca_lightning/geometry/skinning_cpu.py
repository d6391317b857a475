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
    joints_GN, values_GN = _strongest(weights_GJ)
    transforms = transforms_TJ44.detach()[:, :, :3].reshape(*transforms_TJ44.shape[:2], 12).contiguous()
    frames, points = len(transforms), len(weights_GJ)
    blended = torch.empty(frames, points, 12)
    rotations = torch.empty(frames, points, 4)
    arrays = joints_GN, values_GN, transforms.numpy(), blended.numpy(), rotations.numpy()
    bounds = even_bounds(points, SMALLEST_CHUNK)
    run_chunks(lambda chunk: _blend_and_orient(*arrays, bounds[chunk], bounds[chunk + 1]), len(bounds) - 1)
    return blended.view(frames, points, 3, 4), rotations


def _strongest(weights_GJ: Tensor) -> tuple[Array, Array]:
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
def _polar_quaternion(row: Array, quaternion: Array) -> None:
    """Newton's iteration (Higham 1986) until it stands still, then Shepperd's formulas."""
    half, tiny = np.float32(0.5), np.float32(1e-12)
    a, b, c = row[0], row[1], row[2]
    d, e, f = row[4], row[5], row[6]
    g, h, i = row[8], row[9], row[10]
    for _ in range(24):
        ca, cb, cc = e * i - f * h, f * g - d * i, d * h - e * g
        cd, ce, cf = h * c - i * b, i * a - g * c, g * b - h * a
        cg, ch, ci = b * f - c * e, c * d - a * f, a * e - b * d
        determinant = a * ca + b * cb + c * cc
        if abs(determinant) < tiny:
            determinant = tiny
        inverse = half / determinant
        na, nb, nc = half * a + inverse * ca, half * b + inverse * cb, half * c + inverse * cc
        nd, ne, nf = half * d + inverse * cd, half * e + inverse * ce, half * f + inverse * cf
        ng, nh, ni = half * g + inverse * cg, half * h + inverse * ch, half * i + inverse * ci
        change = abs(na - a) + abs(nb - b) + abs(nc - c) + abs(nd - d) + abs(ne - e)
        change += abs(nf - f) + abs(ng - g) + abs(nh - h) + abs(ni - i)
        a, b, c, d, e, f, g, h, i = na, nb, nc, nd, ne, nf, ng, nh, ni
        if change < np.float32(1e-3):  # quadratic: the next error is below float32's resolution
            break
    one = np.float32(1.0)
    trace = a + e + i
    if trace >= max(a, e, i):
        w, x, y, z = one + trace, h - f, c - g, d - b
    elif a >= max(e, i):
        w, x, y, z = h - f, one + a - e - i, b + d, c + g
    elif e >= i:
        w, x, y, z = c - g, b + d, one + e - a - i, f + h
    else:
        w, x, y, z = d - b, c + g, f + h, one + i - a - e
    length = np.float32(np.sqrt(w * w + x * x + y * y + z * z))
    if w < 0.0:
        length = -length
    quaternion[0], quaternion[1] = w / length, x / length
    quaternion[2], quaternion[3] = y / length, z / length


@compiled
def _blend_and_orient(
    joints: Array, values: Array, transforms: Array, blended: Array, rotations: Array, first: int, end: int
) -> None:
    for frame in range(blended.shape[0]):
        for point in range(first, end):
            row = blended[frame, point]
            row[:] = np.float32(0.0)
            for slot in range(joints.shape[1]):
                share = values[point, slot]
                if share == np.float32(0.0):
                    break
                source = transforms[frame, joints[point, slot]]
                for entry in range(12):
                    row[entry] += share * source[entry]
            _polar_quaternion(row, rotations[frame, point])
