"""Encoding of photos against the bare image encoder inside it, and against a plain ViT of the same FLOPs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lca_lightning.batch import References
from lca_lightning.benchmarks.flops import count_work
from lca_lightning.benchmarks.models import (
    ENCODERS,
    PATCH,
    announce_compiling,
    can_compile,
    random_model,
    random_vit,
)
from lca_lightning.benchmarks.report import Figure, Report, Requirement
from lca_lightning.benchmarks.scenes import random_references
from lca_lightning.benchmarks.sizes import PICTURES, BenchOptions, Size
from lca_lightning.benchmarks.timing import Agreement, check_agreement, compare
from lca_lightning.model.avatar_model import AvatarModel
from lca_lightning.model.backbone import Backbone

VIEWS: dict[Size, int] = {"tiny": 4, "small": 4, "base": 8}
# Relative L2 of the patch tokens; bfloat16 keeps 8 bits, over 40 layers.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2}
FLOPS_TOLERANCE = 0.05
LARGEST_RATIO = 2.1  # of an encode over its bare image encoder, on CUDA at base


class BareEncoder:
    """The image encoder's network on its own: normalised pixels in its precision, whole batches.

    Args:
        network: A ``transformers`` vision model.
        backbone: Whose pixels and precision it gets.
        references: The photos.
        compiled: Whether it goes through ``torch.compile``.
    """

    def __init__(
        self, network: nn.Module, backbone: Backbone, references: References, compiled: bool
    ) -> None:
        self.dtype = next(network.parameters()).dtype
        self.images = [
            ((images.flatten(0, 1) - backbone.mean) / backbone.std).to(self.dtype)
            for images in (references.body_BV3HW, references.face_BV3hw)
        ]

        def forward(images: Tensor) -> Tensor:
            return network(images, interpolate_pos_encoding=True).last_hidden_state[:, 1:]  # no class token

        self._forward: Callable[[Tensor], Tensor] = (
            torch.compile(forward, dynamic=False) if compiled else forward
        )

    def __call__(self) -> list[Tensor]:
        """Patch tokens of bodies and faces, ``(n, N, width)`` each."""
        return [self._forward(images) for images in self.images]


@dataclass(frozen=True)
class PlainShape:
    """Layers and MLP width of a ViT that costs a given number of operations."""

    layers: int
    intermediate: int


def shape_of_equal_work(flops: float, tokens: list[int], width: int) -> PlainShape:
    """Find a ViT of a given width whose layers cost as many operations as asked for.

    Args:
        flops: Operations in all.
        tokens: Number of tokens of each image, class token included.
        width: Token width ``D``; the usual MLP is four times as wide.

    Returns:
        As many usual layers as fit, with a wider MLP that takes the rest.
    """
    attention = sum(8 * n * width**2 + 4 * n * n * width for n in tokens)  # projections, scores and sums
    per_unit = sum(4 * n * width for n in tokens)  # of MLP width
    embedding = sum(2 * n * 3 * PATCH**2 * width for n in tokens)
    layers = max(1, int((flops - embedding) // (attention + 4 * width * per_unit)))
    intermediate = ((flops - embedding) / layers - attention) / per_unit
    return PlainShape(layers, max(16, 16 * round(intermediate / 16)))


@torch.no_grad()
def measure_encode(options: BenchOptions) -> Report:
    """Compare encoding with two bare ViTs; patch tokens and counted work must agree first.

    Args:
        options: ``size`` is ``tiny`` on the CPU and ``base`` on CUDA by default, ``views`` 4 and 8.

    Returns:
        Both comparisons and the FLOPs behind them.

    Raises:
        LCAError: The image encoder and its bare network differ.
    """
    size = options.size_or("tiny")
    views = options.views or VIEWS[size]
    compiled = options.compile and can_compile(options.device)
    if compiled:
        announce_compiling()
    model = random_model(size, options.device, compile=compiled).eval()
    references = random_references(PICTURES[size], 1, views).to(options.device)
    bare = BareEncoder(model.backbone.network, model.backbone, references, compiled)
    agreement = check_backbone(model, references, bare)

    def encode() -> Tensor:
        with torch.autocast(options.device.type, torch.bfloat16, enabled=options.on_cuda):
            return model.encode(references)

    ours, inside = count_work(encode).total, count_work(bare).total
    plain = plain_of_equal_work(size, model.backbone, references, ours, options.device, compiled)
    plain_flops = count_work(plain).total
    equal = Agreement(abs(plain_flops / ours - 1), FLOPS_TOLERANCE, "FLOPs")
    for side in (encode, bare, plain):  # whatever compiles does it now
        side()
    name = f"encode {views} views"
    rounds = options.rounds
    found = [compare(name, encode, "bare image encoder", bare, agreement, rounds)]
    if equal.difference <= equal.tolerance:
        found.append(compare(name, encode, "plain ViT, same FLOPs", plain, equal, rounds))
    report = Report(
        "encode",
        f"{size}: {views} bodies {PICTURES[size].body} and {views} faces {PICTURES[size].face} pixels, "
        f"{model.backbone.name}, {str(bare.dtype).removeprefix('torch.')}, "
        f"{'compiled' if compiled else 'not compiled'}, random weights",
        options.device,
        found,
        [
            Figure("encode", ours / 1e9, "GFLOP"),
            Figure("of it the image encoder", inside / 1e9, "GFLOP"),
            Figure("plain ViT", plain_flops / 1e9, "GFLOP"),
            Figure("encode / image encoder in FLOPs", ours / inside, "x"),
        ],
        notes=["The plain ViT computes something else: it is a measure of speed for the same work."],
    )
    if options.on_cuda and size == "base":
        report.requirements = [
            Requirement("encode / bare image encoder:", found[0].ratio, "at most", LARGEST_RATIO)
        ]
    if len(found) < 2:
        report.notes.append("No plain ViT of the same FLOPs within 5% could be made; it was not timed.")
    return report


def check_backbone(model: AvatarModel, references: References, bare: BareEncoder) -> Agreement:
    """Refuse to time unless our image encoder's patch tokens are those of its bare network."""
    ours = [
        model.backbone(images.flatten(0, 1))[0].float()
        for images in (references.body_BV3HW, references.face_BV3hw)
    ]
    theirs = [tokens.float() for tokens in bare()]
    return check_agreement(
        "Image encoder and its bare network", ours, theirs, TOLERANCE[bare.dtype], relative=True
    )


def plain_of_equal_work(
    size: Size,
    backbone: Backbone,
    references: References,
    flops: float,
    device: torch.device,
    compiled: bool,
) -> BareEncoder:
    """A plain ViT over the same photos with as many operations as an encode."""
    width, _, heads = ENCODERS[size]
    pictures = PICTURES[size]
    views = references.body_BV3HW.shape[1]
    tokens = [1 + (height // PATCH) * (width_ // PATCH) for height, width_ in (pictures.body, pictures.face)]
    shape = shape_of_equal_work(flops, tokens * views, width)
    network = random_vit(width, shape.layers, heads, shape.intermediate, device)
    network = network.to(next(backbone.network.parameters()).dtype)
    return BareEncoder(network, backbone, references, compiled)
