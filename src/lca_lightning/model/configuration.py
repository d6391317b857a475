"""Sizes and switches of the avatar model: one dataclass of plain values from ``tiny`` to ``base``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lca_lightning.errors import ConfigError
from lca_lightning.rig.anchors import face_anchor_count

_POSITIVE = (
    "width", "heads", "mlp_ratio", "mlp_init_gain", "attention_sharpness", "rope_base", "decoder_hidden",
    "max_offset", "pose_offset_scale", "initial_scale_factor",
)  # fmt: skip


@dataclass
class AvatarModelConfig:
    """Configuration of ``AvatarModel``; the defaults are the paper's size (``configs/model/base.yaml``).

    Args:
        backbone: Frozen image encoder: ``sapiens-0.3b`` to ``sapiens-2b``, a Sapiens checkpoint file, the id
            or local folder of a ``transformers`` vision model, or one of the package: ``synthetic-tiny``,
            ``random-tiny`` or ``random-small``.
        backbone_precision: ``float32``, ``bfloat16``, or ``auto``: bfloat16 on CUDA, float32 elsewhere.
        backbone_chunk: Images encoded at a time, so that many views fit beside the encoder.
        max_views: Most photos of one avatar; memory grows with them (ours).
        rig: Name of the body rig.
        rig_asset: File of a rig whose data is not part of the package (``mhr``).
        renderer: ``auto``, ``gsplat``, ``cpu`` or ``reference``.
        antialiased: Whether splats are compensated for the blur that antialiases them.
        width: Token width ``D``.
        layers: Encoder layers ``L``.
        heads: Attention heads; ``width / heads`` must be a multiple of 4 for the two-dimensional rotary code.
        mlp_ratio: Hidden width of transformer MLPs over ``width``.
        anchors: Geometry tokens ``A``.
        face_anchor_share: Share of them on the face (paper: one half).
        gaussians_per_anchor: Gaussians ``K`` decoded from each geometry token.
        anchor_seed: Seed of the anchor sampling; part of what a checkpoint means.
        fourier_bands: Frequencies ``2^k pi`` of the anchor position code.
        registers: Learned tokens appended to each image in the image attention, one set per layer.
        rope_base: Base of the rotary frequencies, in patches (ours: 100).
        adaln: Whether a global image vector modulates the multimodal blocks (AdaLN-Zero).
        adaln_gate_init: Initial gate of their attentions, and of their MLPs up to 1; 0 is AdaLN-Zero (ours:
            short runs learn from photos from the first steps when what was attended to is a large part of a
            geometry token).
        mlp_init_gain: Factor on the last layer of each transformer MLP at initialisation; below 1 for the
            same reason (ours).
        attention_sharpness: Factor on the attention logits at initialisation (ours). Queries and keys are
            normalised, so that the logits of heads of width ``d`` start between ``-sqrt(d)`` and ``sqrt(d)``:
            too close together for narrow heads to pick one patch out of hundreds, and the learned gains that
            could spread them move slowly.
        branches: ``dual``: a canonical decoder and pose-dependent corrections; ``single``: one head that sees
            token and driving signals and gives the attributes directly (the ablation of Table S1);
            ``static``: the canonical decoder alone, moved by skinning only (MV-LHM, the fair baseline of
            Table 2).
        decoder_hidden: Hidden width of both decoders.
        decoder_layers: Linear layers of both decoders.
        max_offset: Largest canonical offset per axis, metres (ours).
        pose_offset_scale: Metres that one unit of the pose decoder's offset output stands for (ours).
        initial_opacity: Opacity of an untrained Gaussian.
        initial_scale_factor: Untrained standard deviation over the Gaussian spacing of its region (ours).
        minimum_scale: Smallest standard deviation, metres (ours).
        scale_limit_start: Largest standard deviation at step 0, metres (ours).
        scale_limit_end: Largest standard deviation after the schedule, metres (ours).
        scale_limit_steps: Training steps over which the limit grows linearly (ours).
        identity_dropout: Probability in training that base points sit on the template (ours).
        gradient_checkpointing: Recompute encoder layers in the backward pass to save memory.
        compile: Compile encoder layers and decoders with ``torch.compile``; the first steps take minutes.

    Raises:
        ConfigError: Two sizes contradict each other.
    """

    backbone: str = "sapiens-1b"
    backbone_precision: Literal["auto", "float32", "bfloat16"] = "auto"
    backbone_chunk: int = 4
    max_views: int = 16
    rig: str = "anny"
    rig_asset: str | None = None
    renderer: str = "auto"
    antialiased: bool = False
    width: int = 1024
    layers: int = 8
    heads: int = 16
    mlp_ratio: float = 4.0
    anchors: int = 8192
    face_anchor_share: float = 0.5
    gaussians_per_anchor: int = 8
    anchor_seed: int = 0
    fourier_bands: int = 8
    registers: int = 4
    rope_base: float = 100.0
    adaln: bool = True
    adaln_gate_init: float = 0.0
    mlp_init_gain: float = 1.0
    attention_sharpness: float = 1.0
    branches: Literal["dual", "single", "static"] = "dual"
    decoder_hidden: int = 128
    decoder_layers: int = 4
    max_offset: float = 0.5
    pose_offset_scale: float = 0.05
    initial_opacity: float = 0.1
    initial_scale_factor: float = 1.0
    minimum_scale: float = 1e-4
    scale_limit_start: float = 0.01
    scale_limit_end: float = 0.05
    scale_limit_steps: int = 3000
    identity_dropout: float = 0.1
    gradient_checkpointing: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        self._check_ranges()
        if self.width % (4 * self.heads):
            multiple = 4 * self.heads
            raise ConfigError(
                f"model.avatar.width ({self.width}) must be a multiple of 4 * model.avatar.heads "
                f"({multiple}); try width {multiple * max(1, round(self.width / multiple))}."
            )
        face_anchor_count(self.anchors, self.face_anchor_share)
        if min(self.layers, self.gaussians_per_anchor, self.decoder_layers - 1) < 1:
            raise ConfigError(
                "model.avatar.layers and gaussians_per_anchor must be at least 1 and decoder_layers at least "
                f"2, got {self.layers}, {self.gaussians_per_anchor} and {self.decoder_layers}."
            )
        if not 0 < self.minimum_scale < self.scale_limit_start <= self.scale_limit_end:
            raise ConfigError(
                "model.avatar must satisfy 0 < minimum_scale < scale_limit_start <= scale_limit_end, got "
                f"{self.minimum_scale}, {self.scale_limit_start}, {self.scale_limit_end}."
            )
        if min(self.backbone_chunk, self.max_views) < 1:
            raise ConfigError(
                "model.avatar.backbone_chunk and max_views must be at least 1, got "
                f"{self.backbone_chunk} and {self.max_views}."
            )
        if not 0 < self.initial_opacity < 1:
            raise ConfigError(
                f"model.avatar.initial_opacity must lie between 0 and 1, got {self.initial_opacity}."
            )

    def _check_ranges(self) -> None:
        for name in _POSITIVE:
            if getattr(self, name) <= 0:
                raise ConfigError(f"model.avatar.{name} must be positive, got {getattr(self, name)}.")
        for name in ("registers", "fourier_bands", "anchor_seed", "scale_limit_steps"):
            if getattr(self, name) < 0:
                raise ConfigError(f"model.avatar.{name} must not be negative, got {getattr(self, name)}.")
        if not 0 <= self.identity_dropout <= 1:
            raise ConfigError(
                f"model.avatar.identity_dropout must lie between 0 and 1, got {self.identity_dropout}."
            )

    @property
    def gaussians(self) -> int:
        """Gaussians ``G`` of one avatar."""
        return self.anchors * self.gaussians_per_anchor

    def scale_limit(self, step: int) -> float:
        """Largest standard deviation of a Gaussian after ``step`` training steps, metres."""
        progress = min(1.0, step / max(1, self.scale_limit_steps))
        return self.scale_limit_start + progress * (self.scale_limit_end - self.scale_limit_start)
