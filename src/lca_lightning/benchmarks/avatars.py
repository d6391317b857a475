"""Avatars with random weights at the size of a recipe, that cost to draw what trained ones cost."""

from __future__ import annotations

import numpy as np
import torch

from lca_lightning.avatar.avatar import Avatar, Camera, Surface
from lca_lightning.avatar.cameras import plan_cameras
from lca_lightning.benchmarks.decode import randomise_last_layer
from lca_lightning.benchmarks.sizes import PICTURES, Size, load_config
from lca_lightning.model.attributes import CanonicalGaussians, ScaleLimits, initial_log_scales
from lca_lightning.model.decoders import PoseDecoder
from lca_lightning.motion.clip import Motion
from lca_lightning.rig.anchors import sample_anchors
from lca_lightning.rig.loading import load_rig
from lca_lightning.rig.rig import RigPose
from lca_lightning.synthesis.motion import procedural_motion

# As measured on trained avatars: logit of the median opacity and its spread, offsets in metres.
OPACITY_LOGIT, OPACITY_SPREAD, OFFSET = 2.7, 1.2, 0.008
FPS = 30.0


def random_avatar(size: Size, device: torch.device) -> Avatar:
    """An avatar without the encoder that would make it: seeded Gaussians on the body, seeded tokens.

    Args:
        size: Whose configuration gives anchors, Gaussians and decoder.
        device: Where it goes.
    """
    torch.manual_seed(0)
    config = load_config(size)
    rig = load_rig(config.rig)
    anchors = sample_anchors(
        rig, config.anchors, config.gaussians_per_anchor, config.anchor_seed, config.face_anchor_share
    )
    identity_1I = rig.neutral_identity()[None]
    count = config.gaussians
    limits = ScaleLimits(config.minimum_scale, config.scale_limit_end)
    scales_G = initial_log_scales(anchors.spacing_G, anchors.regions_G, config)
    canonical = CanonicalGaussians(
        base_BG3=anchors.on_mesh(rig.canonical_vertices(identity_1I)),
        offsets_BG3=OFFSET * torch.randn(1, count, 3),
        log_scales_BG3=limits.clamp(scales_G[None, :, None] + 0.3 * torch.randn(1, count, 3)),
        quaternions_BG4=torch.nn.functional.normalize(torch.randn(1, count, 4), dim=-1),
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


def random_motion(avatar: Avatar, frames: int) -> Motion:
    """A seeded dance of body, hands, face and eyes, different in every frame."""
    rig = load_rig(avatar.rig.name)
    generator = np.random.default_rng(0)
    return procedural_motion(rig, avatar.identity_I.cpu(), frames, FPS, generator, 0.3, "dance")


def filling_cameras(avatar: Avatar, motion: Motion, size: Size) -> list[Camera]:
    """A camera for each frame in whose picture the whole person fits, as `lca animate` plans it."""
    rig = load_rig(avatar.rig.name)
    pose = RigPose(torch.from_numpy(motion.rotations_TJ3), torch.from_numpy(motion.translation_T3))
    joints_TJ3 = rig.posed_joints(avatar.identity_I.cpu()[None], pose)
    height, width = PICTURES[size].body
    return [
        Camera(camera.w2c_44.to(avatar.device), camera.K_33.to(avatar.device), width, height)
        for camera in plan_cameras(joints_TJ3, "follow", width, height, motion.fps)
    ]
