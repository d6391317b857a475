"""Avatars with random weights at the size of a recipe, that cost to draw what trained ones cost."""

from __future__ import annotations

import torch
from torch.nn import functional

from lca_lightning.avatar.avatar import Avatar, Surface
from lca_lightning.benchmarks.decode import randomise_last_layer
from lca_lightning.benchmarks.models import cached_anchors
from lca_lightning.benchmarks.sizes import Size, load_config
from lca_lightning.model.attributes import CanonicalGaussians, ScaleLimits, initial_log_scales
from lca_lightning.model.decoders import PoseDecoder
from lca_lightning.rig.loading import load_rig

# As measured on trained avatars: logit of the median opacity and its spread, offsets in metres.
OPACITY_LOGIT, OPACITY_SPREAD, OFFSET = 2.7, 1.2, 0.008


def random_avatar(size: Size, device: torch.device) -> Avatar:
    """An avatar without the encoder that would make it: seeded Gaussians on the body, seeded tokens.

    Args:
        size: Whose configuration gives anchors, Gaussians and decoder.
        device: Where it goes.
    """
    torch.manual_seed(0)
    config = load_config(size)
    rig = load_rig(config.rig)
    anchors = cached_anchors(config)
    identity_1I = rig.neutral_identity()[None]
    count = config.gaussians
    limits = ScaleLimits(config.minimum_scale, config.scale_limit_end)
    scales_G = initial_log_scales(anchors.spacing_G, anchors.regions_G, config)
    canonical = CanonicalGaussians(
        base_BG3=anchors.on_mesh(rig.canonical_vertices(identity_1I)),
        offsets_BG3=OFFSET * torch.randn(1, count, 3),
        log_scales_BG3=limits.clamp(scales_G[None, :, None] + 0.3 * torch.randn(1, count, 3)),
        quaternions_BG4=functional.normalize(torch.randn(1, count, 4), dim=-1),
        opacities_BG=(OPACITY_LOGIT + OPACITY_SPREAD * torch.randn(1, count)).sigmoid(),
        color_logits_BG3=torch.randn(1, count, 3),
    )
    decoder = randomise_last_layer(PoseDecoder(config, rig.signal_size), 0.01).eval().requires_grad_(False)
    avatar = Avatar(
        config=config,
        rig=rig,
        identity_I=identity_1I[0],
        joints_J3=rig.canonical_joints(identity_1I)[0],
        canonical=canonical,
        projected_1AD=decoder.project_tokens(torch.randn(1, config.anchors, config.width)),
        pose_decoder=decoder,
        limits=limits,
        surface=Surface(anchors.weights_GJ, anchors.triangle_G, anchors.barycentric_G3, anchors.regions_G),
    )
    return avatar.to(device)
