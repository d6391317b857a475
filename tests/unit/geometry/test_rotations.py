"""Rotation conversions against SciPy, their own inverses, and closed forms."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from torch import Tensor

from lca_lightning.geometry import rotations

component = st.floats(-1.0, 1.0, allow_nan=False, width=32)
vectors = st.tuples(component, component, component).map(lambda v: torch.tensor(v, dtype=torch.float64))


def random_rotations(count: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(Rotation.random(count, random_state=seed).as_matrix())


@settings(deadline=None, max_examples=60)
@given(vectors)
def test_exponential_map_equals_scipy(direction: Tensor) -> None:
    vector = direction * 3.0
    expected = torch.from_numpy(Rotation.from_rotvec(vector.numpy()).as_matrix())
    torch.testing.assert_close(rotations.rotation_vector_to_matrix(vector), expected, atol=1e-8, rtol=0)


@settings(deadline=None, max_examples=60)
@given(vectors)
def test_logarithm_inverts_exponential(direction: Tensor) -> None:
    vector = direction * (math.pi - 1e-3) / max(1.0, float(direction.norm()))
    back = rotations.matrix_to_rotation_vector(rotations.rotation_vector_to_matrix(vector))
    torch.testing.assert_close(back, vector, atol=1e-6, rtol=0)


def test_exponential_map_has_a_finite_gradient_at_zero() -> None:
    vector = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rotations.rotation_vector_to_matrix, (vector,))


def test_logarithm_at_half_a_turn() -> None:
    half_turn = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
    vector = rotations.matrix_to_rotation_vector(half_turn)
    torch.testing.assert_close(vector.abs(), torch.tensor([math.pi, 0, 0], dtype=torch.float64))


def test_quaternions_round_trip_and_equal_scipy() -> None:
    matrices = random_rotations(200)
    quaternions = rotations.matrix_to_quaternion(matrices)
    scipy_xyzw = torch.from_numpy(Rotation.from_matrix(matrices.numpy()).as_quat())
    scipy_wxyz = torch.cat([scipy_xyzw[:, 3:], scipy_xyzw[:, :3]], 1)
    same = (quaternions * scipy_wxyz).sum(1).abs()
    torch.testing.assert_close(same, torch.ones_like(same), atol=1e-12, rtol=0)
    torch.testing.assert_close(rotations.quaternion_to_matrix(quaternions), matrices, atol=1e-12, rtol=0)


def test_quaternion_product_is_the_matrix_product() -> None:
    first, second = random_rotations(50, 1), random_rotations(50, 2)
    product = rotations.quaternion_multiply(
        rotations.matrix_to_quaternion(first), rotations.matrix_to_quaternion(second)
    )
    torch.testing.assert_close(rotations.quaternion_to_matrix(product), first @ second, atol=1e-12, rtol=0)


def test_six_numbers_round_trip() -> None:
    matrices = random_rotations(50)
    codes = rotations.matrix_to_6d(matrices)
    torch.testing.assert_close(codes[:, :3], matrices[:, :, 0])
    torch.testing.assert_close(rotations.rotation_from_6d(codes * 1.7), matrices, atol=1e-12, rtol=0)


def test_polar_rotation_equals_svd_and_turns_with_its_input() -> None:
    blends = 0.5 * random_rotations(100, 3) + 0.5 * random_rotations(100, 4)
    blends = blends[torch.linalg.det(blends) > 0.05]
    u, _, v = torch.linalg.svd(blends)
    torch.testing.assert_close(rotations.polar_rotation(blends), u @ v, atol=1e-9, rtol=0)
    turn = random_rotations(1, 5)[0]
    both_sides = rotations.polar_rotation(turn @ blends @ turn.T)
    torch.testing.assert_close(
        both_sides, turn @ rotations.polar_rotation(blends) @ turn.T, atol=1e-9, rtol=0
    )


def test_nearest_rotation_equals_procrustes_also_for_negative_determinants() -> None:
    matrices = torch.randn(100, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    u, _, v = torch.linalg.svd(matrices)
    signs = torch.ones(100, 3, dtype=torch.float64)
    signs[:, 2] = torch.linalg.det(u @ v)
    expected = u @ torch.diag_embed(signs) @ v
    assert (torch.linalg.det(matrices) < 0).any()
    torch.testing.assert_close(rotations.nearest_rotation(matrices), expected, atol=1e-8, rtol=0)
