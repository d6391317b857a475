"""Attention blocks of the encoder: inside one image, among geometry tokens, and across both (LCA B.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lca_lightning.model.tokens import ImagePack

Rotary = tuple[Tensor, Tensor]


def rotary_tables(grid: tuple[int, int], head_width: int, base: float, device: torch.device | str) -> Rotary:
    """Cosines and sines of the two-dimensional rotary code: half a head turns with rows, half with columns.

    Args:
        grid: Patch rows and columns; any size.
        head_width: Width of one attention head, a multiple of 4.
        base: Base of the frequencies, in patches.
        device: Where the tables go.

    Returns:
        Two tables ``(rows * columns, head_width / 2)``.
    """
    frequencies = base ** (
        -torch.arange(head_width // 4, device=device, dtype=torch.float32) / (head_width // 4)
    )
    rows = torch.arange(grid[0], device=device, dtype=torch.float32)[:, None, None] * frequencies
    columns = torch.arange(grid[1], device=device, dtype=torch.float32)[None, :, None] * frequencies
    angles = torch.cat([rows.expand(*grid, -1), columns.expand(*grid, -1)], dim=-1).flatten(0, 1)
    return angles.cos(), angles.sin()


def apply_rotary(heads_nNhd: Tensor, tables: Rotary) -> Tensor:
    """Turn pairs of channels by the angle of their token's position; later tokens (registers) stay.

    Args:
        heads_nNhd: Queries or keys, ``(n, N', h, d)``, patch tokens first.
        tables: Output of ``rotary_tables`` for the ``N <= N'`` patch tokens.

    Returns:
        Tensor of the same shape.
    """
    cosines, sines = (table[:, None].to(heads_nNhd.dtype) for table in tables)
    patches, rest = heads_nNhd.split([len(cosines), heads_nNhd.shape[1] - len(cosines)], dim=1)
    even, odd = patches.unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack([even * cosines - odd * sines, even * sines + odd * cosines], dim=-1).flatten(-2)
    return torch.cat([turned, rest], dim=1)


def attend(query_nQhd: Tensor, key_nKhd: Tensor, value_nKhd: Tensor) -> Tensor:
    """Softmax attention with heads in the third place; returns ``(n, Q, h * d)``."""
    query, key, value = (part.transpose(1, 2) for part in (query_nQhd, key_nKhd, value_nKhd))
    return functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(-2)


class QueryKeyValue(nn.Module):
    """Projection to heads with RMS-normalised queries and keys.

    Args:
        width: Token width.
        heads: Attention heads.
        keys_only: Leave the queries out (for tokens that are only looked at).
    """

    def __init__(self, width: int, heads: int, keys_only: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.projection = nn.Linear(width, (2 if keys_only else 3) * width)
        self.query_norm = None if keys_only else nn.RMSNorm(width // heads, eps=1e-6)
        self.key_norm = nn.RMSNorm(width // heads, eps=1e-6)

    def forward(self, tokens_nND: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        """Return queries (None for keys only), keys and values, each ``(n, N, h, d)``."""
        parts = self.projection(tokens_nND).unflatten(
            -1, (-1, self.heads, tokens_nND.shape[-1] // self.heads)
        )
        *queries, keys, values = parts.unbind(-3)
        query = self.query_norm(queries[0]).to(values.dtype) if self.query_norm is not None else None
        return query, self.key_norm(keys).to(values.dtype), values

    def scale_logits(self, factor: float) -> None:
        """Make the attention sharper or blunter than its initialisation does."""
        with torch.no_grad():
            for norm in (self.query_norm, self.key_norm):
                if norm is not None:
                    norm.weight.mul_(factor**0.5)


class FeedForward(nn.Sequential):
    """Two linear layers with a GELU between them."""

    def __init__(self, width: int, ratio: float) -> None:
        hidden = round(width * ratio)
        super().__init__(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def scale_output(self, gain: float) -> None:
        """Make what the MLP adds smaller or larger than its initialisation does."""
        last = self[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            last.weight.mul_(gain)


class SelfAttentionBlock(nn.Module):
    """Pre-norm self-attention and MLP; optional rotary positions and registers that are dropped after it.

    Registers only serve as keys and values: what they would become feeds nothing, so it is not computed.

    Args:
        width: Token width.
        heads: Attention heads.
        mlp_ratio: Hidden width of the MLP over ``width``.
        registers: Learned tokens appended to each row.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float, registers: int = 0) -> None:
        super().__init__()
        self.registers = nn.Parameter(torch.randn(registers, width) * 0.02) if registers else None
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = QueryKeyValue(width, heads)
        self.output = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = FeedForward(width, mlp_ratio)

    def forward(self, tokens_nND: Tensor, rotary: Rotary | None = None) -> Tensor:
        """Update tokens ``(n, N, D)`` from the tokens of their own row."""
        rows, count, _ = tokens_nND.shape
        context = tokens_nND
        if self.registers is not None:
            registers = self.registers.to(tokens_nND.dtype).expand(rows, -1, -1)
            context = torch.cat([tokens_nND, registers], dim=1)
        query, key, value = self.qkv(self.attention_norm(context))
        query = query[:, :count]
        if rotary is not None:
            query, key = apply_rotary(query, rotary), apply_rotary(key, rotary)
        tokens_nND = tokens_nND + self.output(attend(query, key, value))
        return tokens_nND + self.mlp(self.mlp_norm(tokens_nND))


class JointStream(nn.Module):
    """The weights of one modality in a joint attention block (MMDiT), modulated by AdaLN when configured.

    Args:
        width: Token width.
        heads: Attention heads.
        mlp_ratio: Hidden width of the MLP over ``width``.
        adaln: Whether a global vector gives shifts, scales and gates.
        gate_init: Initial gate; 0 is AdaLN-Zero.
        keys_only: The tokens are looked at but not updated (image branch of the last layer).
    """

    def __init__(
        self, width: int, heads: int, mlp_ratio: float, adaln: bool, gate_init: float, keys_only: bool = False
    ) -> None:
        super().__init__()
        self.keys_only = keys_only
        self.attention_norm = nn.LayerNorm(width, elementwise_affine=not adaln)
        self.qkv = QueryKeyValue(width, heads, keys_only)
        self.modulation = nn.Linear(width, (2 if keys_only else 6) * width) if adaln else None
        if not keys_only:
            self.output = nn.Linear(width, width)
            self.mlp_norm = nn.LayerNorm(width, elementwise_affine=not adaln)
            self.mlp = FeedForward(width, mlp_ratio)
        self._gate_init = gate_init

    def reset_modulation(self) -> None:
        """Start from the unmodulated block: zero shifts and scales, gates at their initial values."""
        if self.modulation is None:
            return
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        if not self.keys_only:
            with torch.no_grad():
                gates = self.modulation.bias.view(6, -1)
                gates[2], gates[5] = self._gate_init, min(self._gate_init, 1.0)

    def project(
        self, tokens_nND: Tensor, global_nD: Tensor | None
    ) -> tuple[tuple[Tensor | None, Tensor, Tensor], list[Tensor]]:
        """Heads of the normalised tokens, and the modulation that ``update`` needs."""
        hidden = self.attention_norm(tokens_nND)
        factors: list[Tensor] = []
        if self.modulation is not None and global_nD is not None:
            values = self.modulation(functional.silu(global_nD))[:, None]
            factors = list(values.chunk(2 if self.keys_only else 6, dim=-1))
            hidden = hidden * (1 + factors[1]) + factors[0]
        return self.qkv(hidden), factors

    def update(self, tokens_nND: Tensor, attended_nND: Tensor, factors: list[Tensor]) -> Tensor:
        """Residual update by the attended values, then by the MLP."""
        attended = self.output(attended_nND)
        if not factors:
            tokens_nND = tokens_nND + attended
            return tokens_nND + self.mlp(self.mlp_norm(tokens_nND))
        _, _, attention_gate, shift, scale, mlp_gate = factors
        tokens_nND = tokens_nND + attention_gate * attended
        return tokens_nND + mlp_gate * self.mlp(self.mlp_norm(tokens_nND) * (1 + scale) + shift)


class JointAttention(nn.Module):
    """One softmax over the geometry tokens of a subject and all tokens of all its images (LCA eq. 16-20).

    Args:
        width: Token width.
        heads: Attention heads.
        mlp_ratio: Hidden width of the MLPs over ``width``.
        adaln: Whether a global vector modulates both modalities.
        gate_init: Initial gate of that modulation.
        last: The image tokens feed nothing afterwards and are not updated.
    """

    def __init__(
        self, width: int, heads: int, mlp_ratio: float, adaln: bool, gate_init: float, last: bool
    ) -> None:
        super().__init__()
        self.geometry = JointStream(width, heads, mlp_ratio, adaln, gate_init)
        self.image = JointStream(width, heads, mlp_ratio, adaln, gate_init, keys_only=last)

    def forward(
        self, geometry_BAD: Tensor, images_nND: Tensor | None, global_BD: Tensor | None, pack: ImagePack
    ) -> tuple[Tensor, Tensor | None]:
        """Update both modalities.

        Args:
            geometry_BAD: Geometry tokens, ``(B, A, D)``.
            images_nND: Tokens of the real images, ``(n, N, D)``; None when the batch has none.
            global_BD: Global vector of each subject, or None without AdaLN.
            pack: Which image belongs to which subject.

        Returns:
            Updated geometry tokens and image tokens (those unchanged in the last layer).
        """
        geometry_heads, geometry_factors = self.geometry.project(geometry_BAD, global_BD)
        if images_nND is None:
            geometry_attended = attend(*geometry_heads)  # type: ignore[arg-type]
            return self.geometry.update(geometry_BAD, geometry_attended, geometry_factors), None
        global_nD = None if global_BD is None else global_BD[pack.subjects_n]
        image_heads, image_factors = self.image.project(images_nND, global_nD)
        geometry_attended, image_attended = attend_jointly(geometry_heads, image_heads, pack)
        geometry_BAD = self.geometry.update(geometry_BAD, geometry_attended, geometry_factors)
        if image_attended is not None:
            images_nND = self.image.update(images_nND, image_attended, image_factors)
        return geometry_BAD, images_nND


def attend_jointly(
    geometry_heads: tuple[Tensor | None, Tensor, Tensor],
    image_heads: tuple[Tensor | None, Tensor, Tensor],
    pack: ImagePack,
) -> tuple[Tensor, Tensor | None]:
    """Attention over the concatenation of both modalities, subject by subject without dense masks.

    Args:
        geometry_heads: Queries, keys and values ``(B, A, h, d)``.
        image_heads: The same of the packed images, ``(n, N, h, d)``; queries None when they are not updated.
        pack: Which image belongs to which subject.

    Returns:
        Attended geometry ``(B, A, h * d)`` and images ``(n, N, h * d)`` or None.
    """
    geometry_query, geometry_key, geometry_value = geometry_heads
    image_query, image_key, image_value = image_heads
    assert geometry_query is not None
    anchors, patches = geometry_key.shape[1], image_key.shape[1]
    geometry_parts, image_parts, image_order = [], [], []
    for subjects_m, images_mc in pack.groups:
        query = geometry_query[subjects_m]
        key = torch.cat([geometry_key[subjects_m], image_key[images_mc].flatten(1, 2)], dim=1)
        value = torch.cat([geometry_value[subjects_m], image_value[images_mc].flatten(1, 2)], dim=1)
        if image_query is not None:
            query = torch.cat([query, image_query[images_mc].flatten(1, 2)], dim=1)
        attended = attend(query, key, value)
        geometry_parts.append(attended[:, :anchors])
        image_parts.append(attended[:, anchors:].reshape(-1, patches, attended.shape[-1]))
        image_order.append(images_mc.flatten())
    geometry = torch.cat(geometry_parts)[pack.group_order()]
    if image_query is None:
        return geometry, None
    return geometry, torch.cat(image_parts)[torch.argsort(torch.cat(image_order))]
