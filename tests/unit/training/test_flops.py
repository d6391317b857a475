"""Counted operations equal what arithmetic says of matrix products and attention, forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from lca_lightning.batch import Batch
from lca_lightning.errors import NonFiniteError
from lca_lightning.training.flops import StepFlopCounter, StepFlops, step_shape
from tests.unit.training.tiny_module import SIZES, module


def count(step: Callable[[], Tensor], model: nn.Module, **options: Any) -> StepFlops:
    counter = StepFlopCounter(**options)
    counter.look_up("shape", step, model)
    assert counter.current is not None
    return counter.current


def test_linear_layers_by_arithmetic() -> None:
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    images = torch.rand(5, 8)
    first, second = 2 * 5 * 8 * 16, 2 * 5 * 16 * 4
    flops = count(lambda: model(images).sum(), model)
    assert flops == StepFlops(first + second, first + 2 * second, 0)  # the images need no gradient
    assert flops.model == flops.hardware == 2 * first + 3 * second


def test_convolution_by_arithmetic() -> None:
    model = nn.Conv2d(3, 6, 4, stride=4)
    images = torch.rand(2, 3, 16, 12)
    forward = 2 * 2 * (4 * 3) * 6 * (3 * 4 * 4)
    assert count(lambda: model(images).sum(), model) == StepFlops(forward, forward, 0)


def test_attention_by_arithmetic() -> None:
    model = nn.Linear(16, 48, bias=False)
    tokens = torch.rand(3, 10, 16)

    def step() -> Tensor:
        heads = model(tokens).unflatten(-1, (3, 2, 8)).transpose(1, 3)
        return scaled_dot_product_attention(*heads.unbind(2)).sum()

    linear, product = 2 * 30 * 16 * 48, 2 * 3 * 2 * 10 * 10 * 8
    assert count(step, model) == StepFlops(linear + 2 * product, linear + 4 * product, product)


def test_checkpointing_changes_the_hardware_count_only() -> None:
    block = nn.Sequential(nn.Linear(8, 32), nn.Sigmoid(), nn.Linear(32, 8), nn.Sigmoid())
    images = torch.rand(4, 8, requires_grad=True)
    plain = count(lambda: block(images).sum(), block)
    saved = count(lambda: checkpoint(block, images, use_reentrant=False).sum(), block)
    assert (saved.forward, saved.backward) == (plain.forward, plain.backward) and plain.recomputed == 0
    assert saved.recomputed == 2 * plain.forward / 2 and saved.hardware == plain.model + plain.forward


def linear(tokens: int, inputs: int, outputs: int) -> int:
    return 2 * tokens * inputs * outputs


def attention(queries: int, keys: int, width: int) -> int:
    return 4 * queries * keys * width


def backbone_by_hand(images: int, patches: int) -> int:
    """`random-tiny`: patches of 16, width 192, two layers, MLP of 768, one class token."""
    tokens, width = patches + 1, 192
    layer = linear(tokens, width, 4 * width) + attention(tokens, tokens, width)
    layer += 2 * linear(tokens, width, 4 * width)
    return images * (linear(patches, 3 * 16 * 16, width) + 2 * layer)


def encoder_by_hand(body: tuple[int, int], face: tuple[int, int]) -> int:
    """One subject; numbers of images and of patches in each."""
    width, anchors, registers = SIZES["width"], SIZES["anchors"], 4
    mlp = 8 * width  # outputs of both layers together, were all inputs ``width`` wide
    total = 2 * linear(1, width, width)  # global vector
    for last in (False, True):
        for images, patches in (body, face):
            context = patches + registers
            each = linear(context, width, 3 * width) + linear(patches, width, width + mlp)
            total += images * (each + attention(patches, context, width))
        total += linear(anchors, width, 4 * width + mlp) + attention(anchors, anchors, width)
        for (images, patches), geometry in ((face, anchors // 2), (body, anchors)):
            seen = images * patches
            total += linear(geometry, width, 4 * width + mlp) + linear(1, width, 6 * width)
            total += linear(seen, width, 2 * width if last else 4 * width + mlp)
            total += linear(images, width, (2 if last else 6) * width)
            total += attention(geometry if last else geometry + seen, geometry + seen, width)
    return total


def decoders_by_hand(frames: int) -> int:
    width, anchors, hidden = SIZES["width"], SIZES["anchors"], SIZES["decoder_hidden"]
    gaussians, signals = SIZES["gaussians_per_anchor"], module().model.pose_decoder.signal_projection
    middle = 2 * hidden
    canonical = linear(anchors, width, hidden) + linear(anchors, hidden, middle + 14 * gaussians)
    pose = linear(anchors, width, hidden) + linear(frames, signals.in_features, hidden)
    return canonical + pose + linear(frames * anchors, hidden, middle + 13 * gaussians)


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_encoder_by_hand(batch: Batch, views: int, checkpointing: bool) -> None:
    model = module(avatar={"gradient_checkpointing": checkpointing}).model.train()
    images = replace(
        batch.references,
        body_BV3HW=batch.references.body_BV3HW.repeat(1, views, 1, 1, 1),
        body_mattes_BV1HW=None,
        face_mattes_BV1hw=None,
        face_BV3hw=batch.references.face_BV3hw.repeat(1, views, 1, 1, 1),
        view_mask_BV=torch.ones(1, views, dtype=torch.bool),
        face_mask_BV=torch.ones(1, views, dtype=torch.bool),
    )
    body, face = (views, 4 * 3), (views, 2 * 2)
    frozen = backbone_by_hand(*body) + backbone_by_hand(*face)
    width, pixels = SIZES["width"], views * (12 + 4)
    tokens = linear(pixels, 192, width) + linear(SIZES["anchors"], 51, width)
    encoder = encoder_by_hand(body, face)
    flops = count(lambda: model.encode(images).sum(), model)
    assert flops.forward == frozen + tokens + encoder
    assert flops.backward == tokens + 2 * encoder  # neither pictures nor positions need a gradient
    assert flops.recomputed > (0.7 * encoder if checkpointing else 0)


def test_decoders_by_hand(batch: Batch) -> None:
    model = module().model
    tokens = torch.rand(1, SIZES["anchors"], SIZES["width"])
    frames = batch.targets.w2c_BT44.shape[1]
    signals = torch.rand(1, frames, model.pose_decoder.signal_projection.in_features)
    base = torch.zeros(1, SIZES["anchors"] * SIZES["gaussians_per_anchor"], 3)

    def step() -> Tensor:
        canonical = model.canonical_decoder(tokens, base, model.limits)
        deltas = model.pose_decoder(model.project_tokens(tokens), signals)
        return canonical.offsets_BG3.sum() + deltas.offsets_BTG3.sum()

    assert count(step, model).forward == decoders_by_hand(frames)


def test_counting_leaves_no_trace(batch: Batch) -> None:
    subject = module()
    subject.model.train()
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    counter = StepFlopCounter()
    runs = []

    def step() -> Tensor:
        runs.append(torch.rand(1))
        return subject.losses(subject.model(batch), batch.targets)["total"]

    for _ in range(3):
        counter.look_up(step_shape(batch), step, subject.model)
    assert len(runs) == 1 and counter.current == counter.known[step_shape(batch)]
    assert torch.equal(torch.rand(4), expected) and int(subject.model.step) == 0
    assert all(parameter.grad is None for parameter in subject.model.parameters())


def test_a_step_that_cannot_be_counted_is_unknown_not_fatal() -> None:
    counter = StepFlopCounter()

    def fails() -> Tensor:
        raise NonFiniteError("means_G3 holds NaN")

    counter.look_up("bad", fails, nn.Linear(2, 2))
    assert counter.current is None
    linear_layer = nn.Linear(2, 2)
    counter.look_up("good", lambda: linear_layer(torch.rand(1, 2)).sum(), linear_layer)
    assert counter.current == StepFlops(8, 8, 0)


def test_compiled_parts_are_counted_as_they_are_written() -> None:
    compiled: list[int] = []

    def backend(graph: Any, inputs: Any) -> Any:
        compiled.append(1)
        return graph.forward

    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 4)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.second(torch.relu(self.first(tokens)))

    model, images = Part(), torch.rand(5, 8)
    plain = count(lambda: model(images).sum(), model)
    model.compile(backend=backend)
    assert count(lambda: model(images).sum(), model, eager=True) == plain and not compiled
    model(images)
    assert compiled


def test_shape_of_a_step_knows_what_decides_its_cost(batch: Batch) -> None:
    twice = Batch.collate([batch, batch])
    assert step_shape(batch) != step_shape(twice)
    face_mask_BV = torch.ones_like(batch.references.face_mask_BV)
    face = replace(batch.references, face_mask_BV=face_mask_BV)
    no_face = replace(batch.references, face_mask_BV=~face_mask_BV)
    assert step_shape(replace(batch, references=no_face)) != step_shape(replace(batch, references=face))
    padded = replace(batch, references=batch.references.pad_views(3))
    assert step_shape(padded) == step_shape(batch)
    frames = batch.targets.images_BT3HW.shape[1]
    assert step_shape(batch)[1:] == (((64, 48), (32, 32), (64, 48)), frames)
