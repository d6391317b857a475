"""Conversions between rotation vectors, quaternions (wxyz), matrices and the 6D form."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lca_lightning.errors import check_shape
from lca_lightning.geometry.constants import device_constant


def rotation_vector_to_matrix(vectors_3: Tensor) -> Tensor:
    """Exponential map of rotation vectors (Rodrigues), differentiable everywhere including zero.

    Args:
        vectors_3: Axis times angle in radians, ``(..., 3)``.

    Returns:
        Rotation matrices, ``(..., 3, 3)``.
    """
    angle_squared = (vectors_3 * vectors_3).sum(-1)
    small = angle_squared < 1e-8
    # The square root has no gradient at zero, so the series replaces it there.
    angle = torch.where(small, torch.ones_like(angle_squared), angle_squared).sqrt()
    first = torch.where(small, 1 - angle_squared / 6, torch.sin(angle) / angle)
    second = torch.where(small, 0.5 - angle_squared / 24, (1 - torch.cos(angle)) / angle**2)
    skew = skew_matrix(vectors_3)
    eye = torch.eye(3, dtype=vectors_3.dtype, device=vectors_3.device)
    return eye + first[..., None, None] * skew + second[..., None, None] * (skew @ skew)


def skew_matrix(vectors_3: Tensor) -> Tensor:
    """Cross-product matrices ``(..., 3, 3)`` of vectors ``(..., 3)``."""
    x, y, z = vectors_3.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*vectors_3.shape[:-1], 3, 3)


def matrix_to_rotation_vector(matrices_33: Tensor) -> Tensor:
    """Logarithm of rotation matrices through their quaternions, stable up to and at half a turn.

    Args:
        matrices_33: Rotation matrices, ``(..., 3, 3)``.

    Returns:
        Rotation vectors in radians with angle at most pi, ``(..., 3)``.
    """
    quaternions = matrix_to_quaternion(matrices_33)
    real, imaginary = quaternions[..., :1], quaternions[..., 1:]
    sine_squared = (imaginary * imaginary).sum(-1, keepdim=True)
    small = sine_squared < 1e-12
    sine = torch.where(small, torch.ones_like(sine_squared), sine_squared).sqrt()
    factor = torch.where(small, 2.0 / real.clamp(min=0.5), 2.0 * torch.atan2(sine, real) / sine)
    return imaginary * factor


def quaternion_to_matrix(quaternions_4: Tensor) -> Tensor:
    """Rotation matrices of quaternions, which need not be normalised.

    Args:
        quaternions_4: Quaternions wxyz, ``(..., 4)``.

    Returns:
        Rotation matrices, ``(..., 3, 3)``.
    """
    w, x, y, z = functional.normalize(quaternions_4, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, -1).reshape(*quaternions_4.shape[:-1], 3, 3)


def matrix_to_quaternion(matrices_33: Tensor) -> Tensor:
    """Unit quaternions of rotation matrices, choosing the best conditioned of four formulas (Shepperd 1978).

    Args:
        matrices_33: Rotation matrices, ``(..., 3, 3)``.

    Returns:
        Quaternions wxyz with non-negative real part, ``(..., 4)``.
    """
    check_shape("matrices_33", matrices_33, (*matrices_33.shape[:-2], 3, 3))
    # Row i is four times component i times the quaternion.
    rows = _quaternion_form(matrices_33) + torch.eye(4, dtype=matrices_33.dtype, device=matrices_33.device)
    best = torch.diagonal(rows, dim1=-2, dim2=-1).argmax(-1)
    chosen = rows.gather(-2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    quaternions = functional.normalize(chosen, dim=-1)
    return torch.where(quaternions[..., :1] < 0, -quaternions, quaternions)


def _quaternion_form(matrices_33: Tensor) -> Tensor:
    """Symmetric ``(..., 4, 4)`` Q with ``q Q q = trace(R(q)^T M)`` for unit quaternions q (Horn 1987)."""
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = matrices_33.flatten(-2).unbind(-1)
    entries = [
        m00 + m11 + m22, m21 - m12, m02 - m20, m10 - m01,
        m21 - m12, m00 - m11 - m22, m01 + m10, m02 + m20,
        m02 - m20, m01 + m10, m11 - m00 - m22, m12 + m21,
        m10 - m01, m02 + m20, m12 + m21, m22 - m00 - m11,
    ]  # fmt: skip
    return torch.stack(entries, -1).unflatten(-1, (4, 4))


def nearest_rotation(matrices_33: Tensor) -> Tensor:
    """Rotation closest to any matrix in the Frobenius norm, also where its determinant is negative.

    The largest eigenvector of Horn's quaternion form; use `polar_rotation`, which is faster, where the
    determinant is known to be positive.

    Args:
        matrices_33: Any matrices whose best rotation is unique, ``(..., 3, 3)``.

    Returns:
        Rotation matrices, ``(..., 3, 3)``.
    """
    with torch.no_grad():
        _, vectors = torch.linalg.eigh(_quaternion_form(matrices_33))
        rotation = quaternion_to_matrix(vectors[..., -1])
    if not matrices_33.requires_grad:
        return rotation
    # The eigenvectors' own gradient is NaN where other eigenvalues coincide. One linearised step about the
    # solution has value zero and the exact derivative: (tr S - S) w = axial(R^T M), with M = R S.
    stretch = rotation.transpose(-1, -2) @ matrices_33
    axial = torch.stack(
        [
            stretch[..., 2, 1] - stretch[..., 1, 2],
            stretch[..., 0, 2] - stretch[..., 2, 0],
            stretch[..., 1, 0] - stretch[..., 0, 1],
        ],
        -1,
    )
    with torch.no_grad():
        symmetric = 0.5 * (stretch + stretch.transpose(-1, -2))
        trace = torch.diagonal(symmetric, dim1=-2, dim2=-1).sum(-1)[..., None, None]
        eye = torch.eye(3, dtype=matrices_33.dtype, device=matrices_33.device)
        inverse = torch.linalg.pinv(trace * eye - symmetric, hermitian=True)
    turn = (inverse @ (axial - axial.detach())[..., None]).squeeze(-1)
    return rotation @ (eye + skew_matrix(turn))


def quaternion_multiply(left_4: Tensor, right_4: Tensor) -> Tensor:
    """Hamilton product of quaternions wxyz: the rotation ``right`` followed by ``left``.

    Args:
        left_4: ``(..., 4)``.
        right_4: ``(..., 4)``, broadcast against ``left_4``.

    Returns:
        Products, ``(..., 4)``.
    """
    index = device_constant(_PRODUCT_INDEX, torch.long, left_4.device)
    signs = device_constant(_PRODUCT_SIGNS, left_4.dtype, left_4.device)
    return ((left_4[..., index] * signs) * right_4[..., None, :]).sum(-1)


# Entries of the matrix that multiplies with a quaternion from the left: which component, which sign.
_PRODUCT_INDEX = ((0, 1, 2, 3), (1, 0, 3, 2), (2, 3, 0, 1), (3, 2, 1, 0))
_PRODUCT_SIGNS = ((1, -1, -1, -1), (1, 1, -1, 1), (1, 1, 1, -1), (1, -1, 1, 1))


def matrix_to_6d(matrices_33: Tensor) -> Tensor:
    """The first two columns of rotation matrices, a continuous code (Zhou et al. 2019).

    Args:
        matrices_33: Rotation matrices, ``(..., 3, 3)``.

    Returns:
        First column then second, ``(..., 6)``.
    """
    return matrices_33[..., :2].transpose(-1, -2).flatten(-2)


def rotation_from_6d(codes_6: Tensor) -> Tensor:
    """Rotation matrices from two columns by Gram-Schmidt (Zhou et al. 2019).

    Args:
        codes_6: ``(..., 6)`` as `matrix_to_6d` returns, not necessarily orthonormal.

    Returns:
        Rotation matrices, ``(..., 3, 3)``.
    """
    first = functional.normalize(codes_6[..., :3], dim=-1)
    second = codes_6[..., 3:] - (first * codes_6[..., 3:]).sum(-1, keepdim=True) * first
    second = functional.normalize(second, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], -1)


def polar_rotation(matrices_33: Tensor, iterations: int = 8) -> Tensor:
    """Rotation factor of the polar decomposition by Newton's iteration (Higham 1986).

    A fixed count keeps the cost constant and the result differentiable; unlike Gram-Schmidt it turns with
    its input from both sides. Blends of joint rotations are well inside its quadratic basin.

    Args:
        matrices_33: Matrices with positive determinant, ``(..., 3, 3)``.
        iterations: Newton steps; eight reach float32 precision for blends of rotations up to 170 degrees.

    Returns:
        Nearest rotations in the Frobenius norm, ``(..., 3, 3)``.
    """
    current = matrices_33
    for _ in range(iterations):
        cofactors = _cofactor_matrix(current)
        determinant = (current[..., 0, :] * cofactors[..., 0, :]).sum(-1)[..., None, None]
        # Scaling by the determinant speeds up strongly shrunk blends, where plain Newton starts slowly.
        scale = determinant.detach().abs().clamp(min=1e-12) ** (-1 / 3)
        inverse_transpose = cofactors / torch.where(determinant.abs() < 1e-12, 1e-12, determinant)
        current = 0.5 * (scale * current + inverse_transpose / scale)
    return current


def _cofactor_matrix(matrices_33: Tensor) -> Tensor:
    """Cofactors of 3x3 matrices: rows are cross products of the other two rows."""
    a, b, c = matrices_33.unbind(-2)
    return torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], -2)
