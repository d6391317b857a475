"""A dense layer for compiled kernels: a few rows at a time, inside one thread."""

from __future__ import annotations

from typing import Any

import numpy as np

from lca_lightning.kernels.compilation import compiled

Array = np.ndarray[Any, Any]
INDEX = np.uint64
ROWS = 4  # rows and inner columns that one pass handles; sizes must be multiples
TWO, THREE, STEP, ZERO, ONE = INDEX(2), INDEX(3), INDEX(ROWS), INDEX(0), INDEX(1)
SLOPE = np.float32(0.01)  # of torch's LeakyReLU


@compiled
def dense_layer(
    x: Array, weight: Array, bias: Array, y: Array, rows: int, inner: int, outer: int, leaky: bool
) -> None:
    """``y = x @ weight + bias``, then a leaky ReLU where asked for.

    Four rows and four inner columns share each pass over the outputs, so that every loaded weight is used
    four times; buffers are flat and indices unsigned, so that the inner loop is vectorised.

    Args:
        x: ``rows * inner`` values; both counts are multiples of `ROWS`.
        weight: ``inner * outer`` values.
        bias: ``outer`` values.
        y: ``rows * outer`` values, overwritten.
        rows: Number of rows.
        inner: Width of the input.
        outer: Width of the output.
        leaky: Whether the activation follows.
    """
    columns = INDEX(outer)
    for m in range(ZERO, INDEX(rows), STEP):
        y0 = m * columns
        y1, y2, y3 = y0 + columns, y0 + TWO * columns, y0 + THREE * columns
        for n in range(columns):
            y[y0 + n] = y[y1 + n] = y[y2 + n] = y[y3 + n] = bias[n]
        x0 = m * INDEX(inner)
        x1, x2, x3 = x0 + INDEX(inner), x0 + TWO * INDEX(inner), x0 + THREE * INDEX(inner)
        for k in range(ZERO, INDEX(inner), STEP):
            a0, a1, a2, a3 = x[x0 + k], x[x0 + k + ONE], x[x0 + k + TWO], x[x0 + k + THREE]
            b0, b1, b2, b3 = x[x1 + k], x[x1 + k + ONE], x[x1 + k + TWO], x[x1 + k + THREE]
            c0, c1, c2, c3 = x[x2 + k], x[x2 + k + ONE], x[x2 + k + TWO], x[x2 + k + THREE]
            d0, d1, d2, d3 = x[x3 + k], x[x3 + k + ONE], x[x3 + k + TWO], x[x3 + k + THREE]
            w0 = k * columns
            w1, w2, w3 = w0 + columns, w0 + TWO * columns, w0 + THREE * columns
            for n in range(columns):
                p, q, r, s = weight[w0 + n], weight[w1 + n], weight[w2 + n], weight[w3 + n]
                y[y0 + n] += a0 * p + a1 * q + a2 * r + a3 * s
                y[y1 + n] += b0 * p + b1 * q + b2 * r + b3 * s
                y[y2 + n] += c0 * p + c1 * q + c2 * r + c3 * s
                y[y3 + n] += d0 * p + d1 * q + d2 * r + d3 * s
        if leaky:
            for n in range(STEP * columns):
                value = y[y0 + n]
                y[y0 + n] = max(value, SLOPE * value)
