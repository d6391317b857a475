"""Batches of the Anny rig in which every signal differs, and a configuration that changes everything."""

from __future__ import annotations

from dataclasses import replace

import torch

from lca_lightning.augmentation import AugmentationConfig
from lca_lightning.augmentation.configuration import (
    BackgroundConfig,
    ColorsConfig,
    DegradationConfig,
    ReframingConfig,
)
from lca_lightning.batch import Batch, Driving, Lighting, References, Targets
from lca_lightning.geometry.cameras import intrinsics_from_field_of_view, orbit_cameras
from lca_lightning.rig.rig import Rig

HEIGHT, WIDTH, FACE = 40, 30, 16
EVERYTHING = AugmentationConfig(
    recolor_probability=0.5,
    flip_probability=0.5,
    reframing=ReframingConfig(probability=0.8, crop_probability=0.5),
    colors=ColorsConfig(probability=0.8),
    degradation=DegradationConfig(probability=0.8),
    background=BackgroundConfig(probability=0.5, where="both"),
)


def make_batch(
    rig: Rig, subjects: int = 1, views: int = 2, frames: int = 2, seed: int = 0, lit: bool = False
) -> Batch:
    """A batch of random pictures in front of cameras on a circle.

    Args:
        rig: Whose pose, expression and identity are drawn.
        subjects: ``B``; each its own seed.
        views: ``V``; composited over white.
        frames: ``T``.
        seed: Of the first subject.
        lit: Whether it comes from a light stage; frame 0 is fully lit.
    """
    return Batch.collate([_sample(rig, views, frames, seed + row, lit) for row in range(subjects)])


def _sample(rig: Rig, views: int, frames: int, seed: int, lit: bool) -> Batch:
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    mattes = [
        _ellipse(HEIGHT, WIDTH).expand(1, views, -1, -1, -1),
        _ellipse(FACE, FACE).expand(1, views, -1, -1, -1),
    ]
    body, face = (
        matte * rand(1, views, 3, *matte.shape[-2:]) + 1 - matte for matte in mattes
    )  # people over white
    present = torch.ones(1, views, dtype=torch.bool)
    rest = rig.rest_pose(frames)
    driving = Driving(
        (rest.rotations_BJ3 + 0.3 * (rand(*rest.rotations_BJ3.shape) - 0.5))[None],
        (rest.translation_B3 + 0.3 * rand(frames, 3))[None],
        rand(1, frames, rig.expression_size),
        torch.nn.functional.pad(rand(1, frames, 2, 3), (0, 1), value=1.0).flatten(-2),
    )
    K = intrinsics_from_field_of_view(0.9, WIDTH, HEIGHT).expand(1, frames, 3, 3).clone()
    K[..., 0, 2] += 3.0  # off the middle, as after any cut
    targets = Targets(
        rand(1, frames, 3, HEIGHT, WIDTH),
        _ellipse(HEIGHT, WIDTH).expand(1, frames, -1, -1, -1),
        orbit_cameras(frames, torch.tensor([0.1, 0.9, 0.0]), 2.6, 0.1)[None],
        K,
    )
    identity = rig.neutral_identity()[None]
    identity = identity + 0.2 * (rand(*identity.shape) - 0.5)
    batch = Batch(
        References(body, face, present, present, *mattes),
        driving,
        targets,
        identity,
        (f"subject{seed}",),
        (tuple(f"take/cam/{frame:06d}" for frame in range(frames)),),
    )
    return replace(batch, lighting=_lighting(frames, rand)) if lit else batch


def _lighting(frames: int, rand) -> Lighting:  # type: ignore[no-untyped-def]
    normals = torch.nn.functional.normalize(rand(1, frames, 3, HEIGHT, WIDTH) - 0.5, dim=2)
    return Lighting(
        positions_BTL3=rand(1, frames, 4, 3) - 0.5,
        intensities_BTL3=rand(1, frames, 4, 3),
        reference_distance_B=torch.ones(1),
        fully_lit_BT=torch.arange(frames)[None] == 0,
        linear_images_BT3HW=2 * rand(1, frames, 3, HEIGHT, WIDTH),
        albedo_BT3HW=rand(1, frames, 3, HEIGHT, WIDTH),
        normals_BT3HW=normals,
    )


def _ellipse(height: int, width: int) -> torch.Tensor:
    """A soft mask in the middle."""
    y, x = (torch.linspace(-1, 1, count) for count in (height, width))
    return torch.sigmoid(40 * (0.75 - (x[None] ** 2 + y[:, None] ** 2).sqrt()))[None]
