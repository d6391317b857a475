"""The compiled dense layer against torch's."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from lca_lightning.kernels.dense import dense_layer


@pytest.mark.parametrize(("rows", "inner", "outer"), [(4, 4, 1), (8, 12, 13), (16, 128, 104), (64, 128, 208)])
@pytest.mark.parametrize("leaky", [True, False])
def test_equals_linear_and_leaky_relu(rows: int, inner: int, outer: int, leaky: bool) -> None:
    """1e-4 of sums of up to 128 products of unit size: float32 in another order."""
    torch.manual_seed(0)
    x, weight, bias = torch.randn(rows, inner), torch.randn(inner, outer), torch.randn(outer)
    result = torch.full((rows, outer), torch.nan)
    arrays = [tensor.view(-1).numpy() for tensor in (x, weight, bias, result)]
    dense_layer(*arrays, rows, inner, outer, leaky)
    expected = functional.linear(x, weight.T, bias)
    expected = functional.leaky_relu(expected) if leaky else expected
    torch.testing.assert_close(result, expected, atol=1e-4, rtol=0)
