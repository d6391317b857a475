"""The LCA encoder: image attention, geometry attention and two-step multimodal attention per layer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lca_lightning.model.attention import (
    FeedForward,
    JointAttention,
    JointStream,
    QueryKeyValue,
    Rotary,
    SelfAttentionBlock,
    rotary_tables,
)
from lca_lightning.model.configuration import AvatarModelConfig
from lca_lightning.model.tokens import ImagePack


@dataclass(frozen=True)
class ImageTokens:
    """Tokens of the real images of one kind (bodies or faces).

    Args:
        tokens_nND: Tokens ``(n, N, D)``; None when the batch has no such image.
        grid: Patch rows and columns.
        pack: Which image belongs to which subject.
    """

    tokens_nND: Tensor | None
    grid: tuple[int, int]
    pack: ImagePack


class EncoderLayer(nn.Module):
    """Three stages (LCA section 3.1): single images, geometry, then faces and bodies with geometry.

    Args:
        config: Sizes.
        last: Image tokens feed nothing after this layer.
    """

    def __init__(self, config: AvatarModelConfig, last: bool) -> None:
        super().__init__()
        sizes = (config.width, config.heads, config.mlp_ratio)
        self.image_attention = SelfAttentionBlock(*sizes, registers=config.registers)
        self.geometry_attention = SelfAttentionBlock(*sizes)
        modulation = (config.adaln, config.adaln_gate_init, last)
        self.face_attention = JointAttention(*sizes, *modulation)
        self.body_attention = JointAttention(*sizes, *modulation)

    def forward(
        self,
        geometry_BAD: Tensor,
        body_nND: Tensor,
        face_nND: Tensor | None,
        global_BD: Tensor | None,
        packs: tuple[ImagePack, ImagePack],
        rotary: tuple[Rotary, Rotary],
        face_anchors: int,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Update geometry tokens (face anchors first), body image tokens and face image tokens."""
        body_nND = self.image_attention(body_nND, rotary[0])
        if face_nND is not None:
            face_nND = self.image_attention(face_nND, rotary[1])
        geometry_BAD = self.geometry_attention(geometry_BAD)
        face_part, body_part = geometry_BAD.split([face_anchors, geometry_BAD.shape[1] - face_anchors], dim=1)
        face_part, face_nND = self.face_attention(face_part, face_nND, global_BD, packs[1])
        geometry_BAD, updated = self.body_attention(
            torch.cat([face_part, body_part], dim=1), body_nND, global_BD, packs[0]
        )
        return geometry_BAD, body_nND if updated is None else updated, face_nND


class Encoder(nn.Module):
    """``L`` layers that fuse photos into geometry tokens.

    Args:
        config: Sizes.
        face_anchors: How many of the geometry tokens, which come first, lie on the face.
    """

    def __init__(self, config: AvatarModelConfig, face_anchors: int) -> None:
        super().__init__()
        self.config = config
        self.face_anchors = face_anchors
        self.layers = nn.ModuleList(
            EncoderLayer(config, last=index == config.layers - 1) for index in range(config.layers)
        )
        self.global_vector = (
            nn.Sequential(
                nn.LayerNorm(config.width),  # means over many patches are small; a photo must move the vector
                nn.Linear(config.width, config.width),
                nn.SiLU(),
                nn.Linear(config.width, config.width),
            )
            if config.adaln
            else None
        )
        self.final_norm = nn.LayerNorm(config.width)
        self.apply(_initialise)
        for module in self.modules():
            if isinstance(module, FeedForward):
                module.scale_output(config.mlp_init_gain)
            elif isinstance(module, QueryKeyValue):
                module.scale_logits(config.attention_sharpness)

    def forward(self, geometry_BAD: Tensor, body: ImageTokens, face: ImageTokens) -> Tensor:
        """Fuse image tokens into geometry tokens; independent of padding and of the order of the views.

        Args:
            geometry_BAD: Geometry tokens, face anchors first.
            body: Tokens of all real body images.
            face: Tokens of all face images, possibly none.

        Returns:
            Encoded geometry tokens ``(B, A, D)``, normalised.
        """
        assert body.tokens_nND is not None
        head_width, base = self.config.width // self.config.heads, self.config.rope_base
        rotary = tuple(
            rotary_tables(images.grid, head_width, base, geometry_BAD.device) for images in (body, face)
        )
        body_nND, face_nND = body.tokens_nND, face.tokens_nND
        global_BD = None
        if self.global_vector is not None:
            global_BD = self.global_vector(body.pack.mean_per_subject(body_nND))
        for layer in self.layers:
            arguments = (geometry_BAD, body_nND, face_nND, global_BD, (body.pack, face.pack), rotary)
            if self.config.gradient_checkpointing and self.training:
                geometry_BAD, body_nND, face_nND = checkpoint(
                    layer, *arguments, self.face_anchors, use_reentrant=False
                )
            else:
                geometry_BAD, body_nND, face_nND = layer(*arguments, self.face_anchors)
        if face_nND is None:
            unused = [layer.face_attention.image for layer in self._layers()]
            geometry_BAD = touch_parameters(geometry_BAD, unused)
        return self.final_norm(geometry_BAD)

    def _layers(self) -> list[EncoderLayer]:
        return [layer for layer in self.layers if isinstance(layer, EncoderLayer)]


def touch_parameters(tensor: Tensor, modules: Iterable[nn.Module]) -> Tensor:
    """Add nothing, but give the parameters of unused modules a zero gradient, which DDP needs."""
    total = sum(parameter.sum() for module in modules for parameter in module.parameters())
    return tensor + 0.0 * total


def _initialise(module: nn.Module) -> None:
    """Xavier weights and zero biases; modulations start neutral."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, QueryKeyValue):
        for block in module.projection.weight.split(module.projection.in_features):
            nn.init.xavier_uniform_(block)  # as the separate square maps they are
    elif isinstance(module, JointStream):
        module.reset_modulation()  # apply() visits children first, so this comes after their Xavier weights
