"""The large-scale codec avatar: photos in, posed and rendered Gaussians out (LCA section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lca_lightning.batch import Batch, Driving, References, Targets
from lca_lightning.errors import CheckpointError, DataError
from lca_lightning.model.attributes import CanonicalGaussians, ScaleLimits, initial_log_scales
from lca_lightning.model.backbone import Backbone, load_backbone
from lca_lightning.model.configuration import AvatarModelConfig
from lca_lightning.model.decoders import (
    CanonicalDecoder,
    DrivenDecoder,
    SingleBranchDecoder,
    build_pose_decoder,
)
from lca_lightning.model.encoder import Encoder, ImageTokens
from lca_lightning.model.posing import SkinMotion, pose_gaussians, skin_motion
from lca_lightning.model.tokens import ImagePack, Tokenizer, pack_images
from lca_lightning.rendering.renderer import Gaussians, Renderer
from lca_lightning.rendering.selection import choose_renderer
from lca_lightning.rig.anchors import Anchors, sample_anchors
from lca_lightning.rig.loading import load_rig
from lca_lightning.rig.rig import Rig

GRAPHS = 64  # compiled variants of a layer; the paper's recipe needs 10


@dataclass(frozen=True)
class Frames:
    """Rendered target frames.

    Args:
        images_BT3HW: sRGB over the background.
        alphas_BT1HW: Opacity in [0, 1].
    """

    images_BT3HW: Tensor
    alphas_BT1HW: Tensor


@dataclass(frozen=True)
class AvatarOutput:
    """Everything the losses and metrics need.

    Args:
        canonical: Renderings of the static attributes in the target poses (``I_can``); where they are the
            animated ones (one branch) or were not asked for, this is ``animated`` itself.
        animated: Renderings with pose correctives (``I_pose``).
        background_BT3: Colour behind both.
        canonical_attributes: Static attributes ``(B, G, ...)``.
        animated_attributes: Corrected attributes ``(B, T, G, ...)``.
        regions_G: Region label of each Gaussian.
        two_branches: Whether canonical and animated attributes are decoded apart.
    """

    canonical: Frames
    animated: Frames
    background_BT3: Tensor
    canonical_attributes: CanonicalGaussians
    animated_attributes: CanonicalGaussians
    regions_G: Tensor
    two_branches: bool = True


class AvatarModel(nn.Module):
    """Encoder, canonical and pose-dependent decoder, skinning and rendering, from ``tiny`` to ``base``.

    Creating an avatar is ``encode``, ``canonical`` and ``project_tokens`` once; a frame then costs only
    ``animated``, ``pose`` and a rendering.

    Args:
        config: Sizes and switches.
        rig: Body rig; holds no parameters.
        backbone: Frozen image encoder.
        anchors: Sampled anchors when they are at hand, else they are sampled here.
    """

    step: Tensor
    anchor_fingerprint_A3: Tensor

    def __init__(
        self, config: AvatarModelConfig, rig: Rig, backbone: Backbone, anchors: Anchors | None = None
    ) -> None:
        super().__init__()
        self.config, self.rig, self.backbone = config, rig, backbone
        if anchors is None:
            anchors = sample_anchors(
                rig, config.anchors, config.gaussians_per_anchor, config.anchor_seed, config.face_anchor_share
            )
        self.anchors = anchors
        self.tokenizer = Tokenizer(backbone.width, config.width, config.fourier_bands)
        self.encoder = Encoder(config, int(anchors.is_face_A.sum()))  # anchors come face first
        scales = initial_log_scales(anchors.spacing_G, anchors.regions_G, config)
        self.canonical_decoder = CanonicalDecoder(config, scales) if config.branches != "single" else None
        self.pose_decoder = build_pose_decoder(config, rig.signal_size, scales)
        self.register_buffer("step", torch.zeros((), dtype=torch.long))
        self.register_buffer("anchor_fingerprint_A3", anchors.positions_A3.clone())
        self._renderers: dict[str, Renderer] = {}
        self.register_load_state_dict_post_hook(_check_anchors)
        if config.compile:
            self.compile_parts()

    def compile_parts(self) -> None:
        """Compile encoder layers and the networks of the decoders in place; parameters keep their names.

        What follows a decoder's network stays outside: its limits change from step to step. Each arrangement
        of photos and faces is a graph of its own, and at its limit PyTorch would go on uncompiled.
        """
        from torch._dynamo import config  # slow to import

        config.recompile_limit = max(config.recompile_limit, GRAPHS)
        parts = (self.canonical_decoder, self.pose_decoder)
        decoders = [part.layers for part in parts if isinstance(part, (CanonicalDecoder, DrivenDecoder))]
        for part in (*self.encoder.layers, *decoders):
            part.compile()

    @property
    def limits(self) -> ScaleLimits:
        """Limits of the Gaussians' standard deviations at the current training step, metres."""
        return ScaleLimits(self.config.minimum_scale, self.config.scale_limit(self._steps_done()))

    def encode(self, references: References) -> Tensor:
        """Fuse the photos of each subject into geometry tokens.

        Args:
            references: Photos; padding views and missing faces are left out.

        Returns:
            Tokens ``(B, A, D)``, independent of padding and of the order of the views.

        Raises:
            DataError: A subject has no real view, or more than ``max_views``.
        """
        views_B = references.view_mask_BV.sum(dim=1).tolist()
        if min(views_B) < 1:
            raise DataError(
                "Every subject needs at least one reference photo, but one has only padding views."
            )
        if max(views_B) > self.config.max_views:
            raise DataError(
                f"A subject has {max(views_B)} reference photos, but the model takes at most "
                f"{self.config.max_views}; choose fewer, or raise model.avatar.max_views."
            )
        body_pack = pack_images(references.view_mask_BV)
        face_pack = pack_images(references.view_mask_BV & references.face_mask_BV)
        body = self._image_tokens(references.body_BV3HW, body_pack, face=False)
        face = self._image_tokens(references.face_BV3hw, face_pack, face=True)
        geometry = self.tokenizer.geometry(self.anchors.positions_A3)
        if not face_pack.count:  # DDP needs a gradient for every parameter, be it zero
            geometry = geometry + 0.0 * self.tokenizer.face_type.sum()
        return self.encoder(geometry.expand(references.view_mask_BV.shape[0], -1, -1), body, face)

    def _image_tokens(self, images_BV3HW: Tensor, pack: ImagePack, face: bool) -> ImageTokens:
        if not pack.count:
            return ImageTokens(None, (1, 1), pack)
        features, grid = self.backbone(pack.select(images_BV3HW))
        return ImageTokens(
            self.tokenizer.face(features) if face else self.tokenizer.body(features), grid, pack
        )

    def base_points(
        self, identity_BI: Tensor | None, count: int = 1, on_template_B: Tensor | None = None
    ) -> Tensor:
        """Surface points the Gaussians start from, metres, ``(B, G, 3)``: the subject's or the template's.

        Args:
            identity_BI: The rig's identity values, or None for the template.
            count: Number of subjects when there are no identity values.
            on_template_B: True for subjects whose points sit on the template all the same.
        """
        template = self.rig.template_vertices_V3.expand(count, -1, -1)
        if identity_BI is None:
            return self.anchors.on_mesh(template)
        vertices = self.rig.canonical_vertices(identity_BI)
        if on_template_B is not None:
            chosen = on_template_B.to(vertices.device)[:, None, None]
            vertices = torch.where(chosen, self.rig.template_vertices_V3, vertices)
        return self.anchors.on_mesh(vertices)

    def canonical(
        self,
        tokens_BAD: Tensor,
        identity_BI: Tensor | None = None,
        on_template_B: Tensor | None = None,
    ) -> CanonicalGaussians:
        """Decode the static avatar; without an identity its Gaussians start on the template.

        Args:
            tokens_BAD: Output of ``encode``.
            identity_BI: The rig's identity values of each subject, or None.
            on_template_B: True for subjects whose Gaussians start on the template all the same.

        Returns:
            Static attributes ``(B, G, ...)``.
        """
        with torch.autocast(tokens_BAD.device.type, enabled=False):
            base = self.base_points(identity_BI, len(tokens_BAD), on_template_B)
        if isinstance(self.pose_decoder, SingleBranchDecoder):
            return self.pose_decoder.at_rest(self.project_tokens(tokens_BAD), base, self.limits)
        assert self.canonical_decoder is not None
        return self.canonical_decoder(tokens_BAD, base, self.limits)

    def project_tokens(self, tokens_BAD: Tensor) -> Tensor:
        """What the pose decoder needs of the tokens, ``(B, A, hidden)``: compute it once per avatar."""
        return self.pose_decoder.project_tokens(tokens_BAD)

    def animated(
        self, canonical: CanonicalGaussians, projected_BAD: Tensor, driving: Driving
    ) -> CanonicalGaussians:
        """Attributes of each frame: the static ones as pose, expression and gaze change them.

        Args:
            canonical: Static attributes.
            projected_BAD: Output of ``project_tokens``.
            driving: Driving signals ``(B, T)``.

        Returns:
            Attributes ``(B, T, G, ...)``, still in the rest pose.
        """
        with torch.autocast(projected_BAD.device.type, enabled=False):  # as an avatar computes it
            driving_BTP = self.rig.driving_vector(driving.rotations_BTJ3)
        signals_BTS = torch.cat([driving_BTP, driving.expression_BTE, driving.gaze_BT8], dim=-1)
        return self.pose_decoder.animate(canonical, projected_BAD, signals_BTS, self.limits)

    def pose(
        self, attributes: CanonicalGaussians, identity_BI: Tensor, driving: Driving
    ) -> list[list[Gaussians]]:
        """Move attributes to each frame's pose.

        Args:
            attributes: Static ``(B, G, ...)`` or of each frame ``(B, T, G, ...)``.
            identity_BI: Whose bone lengths are used.
            driving: Poses ``(B, T)``.

        Returns:
            World-space clouds ``[b][t]``.
        """
        with torch.autocast(identity_BI.device.type, enabled=False):
            motion = self.skin_motion(identity_BI, driving)
            return pose_gaussians(attributes, motion)

    def skin_motion(self, identity_BI: Tensor, driving: Driving) -> SkinMotion:
        """How the skin of each subject moves in each frame."""
        return skin_motion(self.rig.skeleton(identity_BI), self.anchors.weights_GJ, driving)

    def forward(
        self,
        batch: Batch,
        background_BT3: Tensor | None = None,
        on_template_B: Tensor | None = None,
        render_canonical: bool = True,
    ) -> AvatarOutput:
        """Create the avatars of a batch and render them in its target frames.

        Args:
            batch: References, driving signals and target cameras.
            background_BT3: Colour behind the avatars, white by default.
            on_template_B: True for subjects whose Gaussians start on the template instead of on their own
                mesh (identity dropout, drawn by the training step).
            render_canonical: Whether to render the static attributes too, where there are two branches.

        Returns:
            Static and animated renderings with the attributes behind them.
        """
        if self.training:
            self.step += 1
        tokens = self.encode(batch.references)
        canonical = self.canonical(tokens, batch.identity_BI, on_template_B)
        animated = self.animated(canonical, self.project_tokens(tokens), batch.driving)
        if background_BT3 is None:
            background_BT3 = torch.ones_like(batch.targets.images_BT3HW[..., 0, 0])
        with torch.autocast(tokens.device.type, enabled=False):
            motion = self.skin_motion(batch.identity_BI, batch.driving)
            frames = self.render(pose_gaussians(animated, motion), batch.targets, background_BT3)
            static, dual = frames, self.config.branches == "dual"
            if dual and render_canonical:
                static = self.render(pose_gaussians(canonical, motion), batch.targets, background_BT3)
        return AvatarOutput(static, frames, background_BT3, canonical, animated, self.anchors.regions_G, dual)

    def render(self, clouds: list[list[Gaussians]], targets: Targets, background_BT3: Tensor) -> Frames:
        """Render each cloud into the camera of its target frame."""
        height, width = targets.images_BT3HW.shape[-2:]
        renderer = self.renderer(targets.w2c_BT44.device)
        rendered = [
            [
                renderer(
                    cloud,
                    targets.w2c_BT44[b, t, None],
                    targets.K_BT33[b, t, None],
                    width,
                    height,
                    color[None],
                )
                for t, (cloud, color) in enumerate(zip(row, background_BT3[b], strict=True))
            ]
            for b, row in enumerate(clouds)
        ]
        return Frames(
            torch.stack([torch.cat([frame.color_TCHW for frame in row]) for row in rendered]),
            torch.stack([torch.cat([frame.alpha_T1HW for frame in row]) for row in rendered]),
        )

    def renderer(self, device: torch.device) -> Renderer:
        """The configured renderer for a device."""
        if device.type not in self._renderers:
            chosen = choose_renderer(self.config.renderer, device, self.config.antialiased)  # type: ignore[arg-type]
            self._renderers[device.type] = chosen
        return self._renderers[device.type]

    def _steps_done(self) -> int:
        return int(self.step)

    def parameter_counts(self) -> dict[str, int]:
        """Number of values in each trained part and in the frozen backbone."""
        counts = {
            name: sum(parameter.numel() for parameter in part.parameters())
            for name, part in self.named_children()
            if name in ("tokenizer", "encoder", "canonical_decoder", "pose_decoder")
        }
        counts = {name: count for name, count in counts.items() if count}  # static: no pose decoder
        return {**counts, "trained": sum(counts.values()), "frozen backbone": self.backbone.parameter_count}


def _check_anchors(model: nn.Module, incompatible: object) -> None:
    """A checkpoint is meaningless on other anchors: refuse it."""
    assert isinstance(model, AvatarModel)
    stored, own = model.anchor_fingerprint_A3, model.anchors.positions_A3
    if stored.device.type != "meta" and not torch.allclose(stored.to(own), own, atol=1e-4):
        raise CheckpointError(
            "The checkpoint was trained with other anchors; "
            "use the rig and the model.avatar.anchor_seed it was made with."
        )


def build_avatar_model(config: AvatarModelConfig) -> AvatarModel:
    """Build a model with the rig and the frozen backbone that its configuration names.

    Args:
        config: Sizes, names and switches.

    Returns:
        The untrained model on the CPU.

    Raises:
        MissingAssetError: The backbone's weights are not on this machine.
        ConfigError: The rig is unknown.
    """
    backbone = load_backbone(config.backbone, config.backbone_precision, config.backbone_chunk)
    return AvatarModel(config, load_rig(config.rig, config.rig_asset), backbone)
