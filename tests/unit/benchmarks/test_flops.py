"""Counted work: totals by hand, kinds and shapes apart, recomputation apart."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from lca_lightning.benchmarks.flops import count_work
from lca_lightning.benchmarks.speeds import predict, speed_of


def test_products_and_convolutions_are_counted_by_shape() -> None:
    linear, image = nn.Linear(16, 32), torch.randn(2, 3, 8, 8)
    kernel = torch.randn(4, 3, 3, 3)

    def run() -> None:
        linear(torch.randn(8, 16))
        linear(torch.randn(8, 16))
        functional.conv2d(image, kernel)

    work = count_work(run)
    assert work.of_kind("matrix product") == 2 * 2 * 8 * 16 * 32
    assert work.of_kind("convolution") == 2 * 2 * 36 * 4 * 27
    assert sorted(work.calls.values()) == [1, 2]
    assert work.total == work.needed


def test_attention_forward_and_backward_are_apart() -> None:
    query, key, value = (torch.randn(1, 2, length, 16, requires_grad=True) for length in (8, 12, 12))
    work = count_work(lambda: functional.scaled_dot_product_attention(query, key, value).sum().backward())
    product = 2 * 2 * 8 * 12 * 16  # two heads
    assert work.of_kind("attention") == 2 * product
    assert work.of_kind("attention backward") == 5 * product
    shapes = {operation.kind: operation.shapes for operation in work.flops}
    assert shapes["attention"] == shapes["attention backward"]
    assert shapes["attention"] == ((1, 2, 8, 16), (1, 2, 12, 16), (1, 2, 12, 16))


def test_what_checkpointing_repeats_is_not_needed_work() -> None:
    network = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))
    points = torch.randn(8, 16, requires_grad=True)
    plain = count_work(lambda: network(points).sum().backward())
    again = count_work(lambda: checkpoint(network, points, use_reentrant=False).sum().backward())
    assert plain.recomputed == 0
    assert again.recomputed >= 2 * 8 * 16 * 16
    assert again.needed == plain.total


def test_prediction_adds_the_kinds_up_at_measured_speeds() -> None:
    query = torch.randn(1, 2, 64, 16, requires_grad=True)
    linear = nn.Linear(16, 16)

    def run() -> None:
        functional.scaled_dot_product_attention(linear(query), query, query).sum().backward()

    work = count_work(run)
    found = predict(work, torch.device("cpu"), rounds=1)
    assert {entry.kind for entry in found} == {"matrix product", "attention", "attention backward"}
    assert sum(entry.flops for entry in found) == work.total
    assert all(entry.seconds == pytest.approx(entry.flops / entry.speed) for entry in found)
    assert speed_of(next(iter(work.flops)), torch.device("cpu"), 1) > 0
