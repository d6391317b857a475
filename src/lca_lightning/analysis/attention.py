"""Attention of chosen geometry tokens over the reference photos (LCA section 4.4, Figure 6).

The model runs as always; hooks keep the inputs of one multimodal block. The rows of the softmax that belong
to the chosen tokens are computed from them afterwards, never the whole matrix: at the paper's size that would
be 8192 + 8 x 3072 tokens squared for each of 16 heads. What the rows attend to is carried through the rest of
the block and compared with the block's real output, so a wrong row cannot pass unnoticed.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lca_lightning.batch import References
from lca_lightning.errors import ConfigError, UsageError
from lca_lightning.model.attention import JointAttention
from lca_lightning.model.avatar_model import AvatarModel
from lca_lightning.model.tokens import ImagePack


@dataclass(frozen=True)
class AttentionRows:
    """Rows of one block's softmax for chosen tokens of one subject.

    Args:
        queries: Numbers of the tokens.
        geometry_QhA: Attention to geometry tokens, ``(Q, h, A')``; on face close-ups only those of the face.
        images_QhVRC: Attention to the patches of each image, ``(Q, h, V', rows, columns)``. With
            ``geometry_QhA`` a row sums to 1 in each head.
        views: Which of the subject's photos each image is.
        error: Largest difference between the block's output and what the rows give, over the output's size.
    """

    queries: tuple[int, ...]
    geometry_QhA: Tensor
    images_QhVRC: Tensor
    views: tuple[int, ...]
    error: float

    def maps(self, head: int | None = None) -> Tensor:
        """Attention to patches, the mean over heads or of one head, ``(Q, V', rows, columns)``."""
        return self.images_QhVRC.mean(1) if head is None else self.images_QhVRC[:, head]


@dataclass(frozen=True)
class QueryAttention:
    """What chosen tokens of one subject look at.

    Args:
        body: In the body pictures, for every query.
        face: In the face close-ups, for the queries that lie on the face; None where there are none.
    """

    body: AttentionRows
    face: AttentionRows | None


@dataclass
class BlockCapture:
    """Inputs and output of one joint attention block, kept while the model runs."""

    inputs: tuple[Tensor, Tensor | None, Tensor | None, ImagePack] | None = None
    output_BAD: Tensor | None = None
    handles: list[Any] = field(default_factory=list)

    def attach(self, block: JointAttention) -> None:
        """Listen to a block."""

        def keep_inputs(module: nn.Module, arguments: Any) -> None:
            self.inputs = arguments

        def keep_output(module: nn.Module, arguments: Any, output: Any) -> None:
            self.output_BAD = output[0]

        self.handles = [
            block.register_forward_pre_hook(keep_inputs),
            block.register_forward_hook(keep_output),
        ]

    def detach(self) -> None:
        """Stop listening."""
        for handle in self.handles:
            handle.remove()
        self.handles = []


def layer_number(model: AvatarModel, layer: int | None) -> int:
    """Check a layer's number, counted from 1; the last one for None.

    Raises:
        UsageError: There is no such layer.
    """
    count = model.config.layers
    if layer is not None and not 1 <= layer <= count:
        raise UsageError(f"The model has encoder layers 1 to {count}, got {layer}.")
    return layer or count


def check_head(model: AvatarModel, head: int | None) -> None:
    """Refuse a head, counted from 0, that the model does not have.

    Raises:
        UsageError: There is no such head.
    """
    if head is not None and not 0 <= head < model.config.heads:
        raise UsageError(f"The model has attention heads 0 to {model.config.heads - 1}, got {head}.")


@torch.no_grad()
def query_attention(
    model: AvatarModel, references: References, anchors: Sequence[int], layer: int | None = None
) -> QueryAttention:
    """Attention of chosen geometry tokens over the photos of one subject.

    Args:
        model: In evaluation mode.
        references: Photos of one subject, ``B = 1``.
        anchors: Numbers of the tokens.
        layer: Encoder layer from 1; the last one when None.

    Returns:
        Rows over body pictures, and over face close-ups for tokens of the face.

    Raises:
        ConfigError: Photos of several subjects.
        UsageError: There is no such layer.
    """
    if len(references.view_mask_BV) != 1:
        raise ConfigError(f"Attention is shown of one subject at a time, got {len(references.view_mask_BV)}.")
    number = layer_number(model, layer)
    with _listening(model, number) as (body, face, grids):
        model.encode(references.to(model.anchor_fingerprint_A3.device))
    block = model.encoder.layers[number - 1]
    views_body = _views(references.view_mask_BV[0])
    views_face = _views(references.view_mask_BV[0] & references.face_mask_BV[0])
    on_face = [anchor for anchor in anchors if anchor < model.encoder.face_anchors]
    return QueryAttention(
        attention_rows(block.body_attention, body, anchors, grids[0], views_body),  # type: ignore[arg-type]
        attention_rows(block.face_attention, face, on_face, grids[1], views_face)  # type: ignore[arg-type]
        if on_face and views_face
        else None,
    )


def attention_rows(
    block: JointAttention,
    capture: BlockCapture,
    queries: Sequence[int],
    grid: tuple[int, int],
    views: Sequence[int],
) -> AttentionRows:
    """Softmax rows of chosen geometry tokens, from the recorded inputs of their block.

    Args:
        block: The block.
        capture: What it got and gave for one subject.
        queries: Numbers of the tokens among the block's geometry tokens.
        grid: Patch rows and columns of its images.
        views: Number of each of its images.

    Returns:
        The rows with their proof.
    """
    assert capture.inputs is not None and capture.output_BAD is not None
    geometry_BAD, images_nND, global_BD, pack = capture.inputs
    assert images_nND is not None
    index_Q = torch.tensor(list(queries), device=geometry_BAD.device)
    (query, key, value), factors = block.geometry.project(geometry_BAD, global_BD)
    assert query is not None
    global_nD = None if global_BD is None else global_BD[pack.subjects_n]
    (_, image_key, image_value), _ = block.image.project(images_nND, global_nD)
    key_Khd = torch.cat([key[0], image_key.flatten(0, 1)])
    value_Khd = torch.cat([value[0], image_value.flatten(0, 1)])
    logits_QhK = torch.einsum("qhd,khd->qhk", query[0, index_Q].float(), key_Khd.float())
    rows_QhK = (logits_QhK / math.sqrt(query.shape[-1])).softmax(-1)
    attended_QD = torch.einsum("qhk,khd->qhd", rows_QhK, value_Khd.float()).flatten(1)
    expected_QD = block.geometry.update(
        geometry_BAD[:, index_Q], attended_QD[None].to(geometry_BAD.dtype), factors
    )[0]
    real_QD = capture.output_BAD[0, index_Q]
    error = (expected_QD - real_QD).abs().amax() / real_QD.abs().amax().clamp(min=1e-12)
    anchors = key.shape[1]
    return AttentionRows(
        tuple(queries),
        rows_QhK[..., :anchors].cpu(),
        rows_QhK[..., anchors:].unflatten(-1, (len(images_nND), *grid)).cpu(),
        tuple(views),
        float(error),
    )


@contextlib.contextmanager
def _listening(
    model: AvatarModel, layer: int
) -> Iterator[tuple[BlockCapture, BlockCapture, list[tuple[int, int]]]]:
    """Record both blocks of a layer, and the grids of body and face images, while the model runs once."""
    body, face = BlockCapture(), BlockCapture()
    grids: list[tuple[int, int]] = []

    def keep_grids(module: nn.Module, arguments: Any) -> None:
        grids[:] = [arguments[1].grid, arguments[2].grid]

    block = model.encoder.layers[layer - 1]
    encoder_handle = model.encoder.register_forward_pre_hook(keep_grids)
    with contextlib.ExitStack() as stack:
        if model.config.compile:  # a compiled layer does not call the hooks of its parts
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        body.attach(block.body_attention)  # type: ignore[arg-type]
        face.attach(block.face_attention)  # type: ignore[arg-type]
        try:
            yield body, face, grids
        finally:
            encoder_handle.remove()
            body.detach()
            face.detach()


def _views(mask_V: Tensor) -> list[int]:
    return [int(view) for view in mask_V.nonzero()[:, 0]]
