"""Random scale, shift and crop of pictures; pixel centres lie at +0.5, so intrinsics follow exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from lca_lightning.augmentation.configuration import ReframingConfig
from lca_lightning.augmentation.draws import draw_uniform, spread
from lca_lightning.batch import Batch, Lighting, References, Targets

OUTSIDE = 0.5  # grey of targets where the new frame leaves the picture, as where a cut does
EDGE = 0.1  # a mask above this at the edge of a picture means that the person goes on beyond it


@dataclass(frozen=True)
class Frames:
    """Where each picture's pixels go: ``new = scale * old + offset``, offsets as a share of the sides.

    Args:
        scale_BN2: Factor along x and y.
        offset_BN2: Offset along x and y.
    """

    scale_BN2: Tensor
    offset_BN2: Tensor

    def to(self, device: torch.device) -> Frames:
        """The same frames on a device."""
        both = torch.cat([self.scale_BN2, self.offset_BN2], -1).to(device, non_blocking=True)
        return Frames(both[..., :2], both[..., 2:])

    @property
    def moves(self) -> bool:
        """Whether any picture changes; asked of draws on the CPU, so that no device is waited for."""
        return bool((self.scale_BN2 != 1).any() or self.offset_BN2.any())


def draw_frames(
    config: ReframingConfig, place: str, samples: Sequence[int], kind: str, pictures: int, crops: bool
) -> Frames:
    """Draw new frames.

    Args:
        config: Probabilities and ranges.
        place: Seed, step and accumulation part.
        samples: Numbers of the samples.
        kind: Of the pictures.
        pictures: Pictures ``N`` of each sample.
        crops: Whether parts may be enlarged.

    Returns:
        Frames on the CPU; pictures that stay as they are have scale 1 and offset 0.
    """
    uniform = draw_uniform(place, samples, f"reframing/{kind}", pictures, 8)
    low, high = (torch.tensor(bound).log() for bound in config.scale)
    scaled = uniform[..., 0] < config.probability
    scale = torch.where(scaled, spread(uniform[..., 1], float(low), float(high)).exp(), 1.0)
    shift = spread(uniform[..., 2:4], -config.shift, config.shift) * scaled[..., None]
    cropped = (uniform[..., 4] < config.crop_probability) & crops
    side = torch.where(cropped, spread(uniform[..., 5], config.smallest_crop, 1.0), 1.0)
    start = uniform[..., 6:8] * (1 - side)[..., None]
    total = scale / side
    # First the part is enlarged, then the result is scaled about its middle and shifted.
    offset = 0.5 * (1 - scale)[..., None] + shift - total[..., None] * start
    return Frames(total[..., None].expand_as(offset), offset)


def reframe(
    batch: Batch, bodies: Frames, faces: Frames, targets: Frames, behind_body: Tensor, behind_face: Tensor
) -> Batch:
    """Cut all pictures of a batch anew.

    Args:
        batch: Any batch.
        bodies: New frames of references, ``(B, V)``, on the CPU as all of them.
        faces: New frames of close-ups.
        targets: New frames of targets, ``(B, T)``.
        behind_body: Colour behind the person in references, ``(B, V, 3)``.
        behind_face: The same in close-ups.

    Returns:
        A batch with the same sizes.
    """
    device = batch.identity_BI.device
    references = batch.references
    if bodies.moves:
        frames = keep_cut_people_cut(bodies.to(device), references.body_mattes_BV1HW)
        references = _reframe_bodies(references, frames, behind_body)
    if faces.moves:
        frames = keep_cut_people_cut(faces.to(device), references.face_mattes_BV1hw)
        references = _reframe_faces(references, frames, behind_face)
    lighting = batch.lighting
    moved = batch.targets
    if targets.moves:
        frames = keep_cut_people_cut(targets.to(device), moved.masks_BT1HW)
        moved = _reframe_targets(moved, frames, OUTSIDE if lighting is None else 0.0)
        lighting = None if lighting is None else _reframe_lighting(lighting, frames)
    return replace(batch, references=references, targets=moved, lighting=lighting)


def keep_cut_people_cut(frames: Frames, masks_BN1HW: Tensor | None) -> Frames:
    """Change frames so that a side on which the person leaves the picture stays outside.

    Else a leg that a picture cuts off would end in mid-picture, and its mask with it.

    Args:
        frames: On the masks' device.
        masks_BN1HW: Person masks in [0, 1]; None where unknown, then no side moves inwards.

    Returns:
        Frames whose factor grows to 1 where needed, and whose offsets are clamped.
    """
    scale, offset = frames.scale_BN2, frames.offset_BN2
    if masks_BN1HW is None:
        near = far = torch.ones_like(scale, dtype=torch.bool)
    else:
        across, along = (masks_BN1HW.amax(dim=(2, dim)) > EDGE for dim in (3, 4))  # columns, rows
        near = torch.stack([across[..., 0], along[..., 0]], -1)
        far = torch.stack([across[..., -1], along[..., -1]], -1)
    grown = torch.where((near & far).any(-1, keepdim=True), scale.clamp(min=1), scale)
    offset = offset - 0.5 * (grown - scale)  # about the middle
    offset = torch.where(near, offset.clamp(max=0), offset)
    return Frames(grown, torch.where(far, torch.maximum(offset, 1 - grown), offset))


def resample(images_BNCHW: Tensor, frames: Frames, size: tuple[int, int] | None = None) -> Tensor:
    """Move pixels bilinearly; zeros where the new frame leaves the picture.

    Args:
        images_BNCHW: Any channels.
        frames: Where pixels go, on the images' device.
        size: Height and width of the result; as the images when None.

    Returns:
        ``(B, N, C, *size)``.
    """
    rows, pictures = images_BNCHW.shape[:2]
    height, width = size or images_BNCHW.shape[-2:]
    # The grid is written out: a product of matrices may be rounded to TF32, half a pixel.
    axes = []
    for axis, count in ((0, width), (1, height)):
        centres = (torch.arange(count, device=images_BNCHW.device, dtype=torch.float32) + 0.5) / count
        old = (centres - frames.offset_BN2[..., axis, None]) / frames.scale_BN2[..., axis, None]
        axes.append(2 * old.flatten(0, 1) - 1)
    x, y = axes
    grid = torch.stack([x[:, None, :].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)], -1)
    flat = functional.grid_sample(
        images_BNCHW.flatten(0, 1), grid.to(images_BNCHW), padding_mode="zeros", align_corners=False
    )
    return flat.unflatten(0, (rows, pictures))


def reframe_intrinsics(K_BN33: Tensor, frames: Frames, size: tuple[int, int]) -> Tensor:
    """Intrinsics of moved pictures.

    Args:
        K_BN33: Pixels.
        frames: Where pixels go.
        size: Height and width in pixels.

    Returns:
        ``(B, N, 3, 3)``.
    """
    K = K_BN33.clone()
    K[..., :2, :] *= frames.scale_BN2[..., None]
    K[..., 0, 2] += frames.offset_BN2[..., 0] * size[1]
    K[..., 1, 2] += frames.offset_BN2[..., 1] * size[0]
    return K


def _over(images: Tensor, frames: Frames, color: Tensor | float) -> Tensor:
    """Moved pictures with a colour outside."""
    return resample(images - color, frames) + color


def _reframe_bodies(references: References, frames: Frames, behind: Tensor) -> References:
    mattes = references.body_mattes_BV1HW
    return replace(
        references,
        body_BV3HW=_over(references.body_BV3HW, frames, behind[..., None, None]),
        body_mattes_BV1HW=None if mattes is None else resample(mattes, frames),
    )


def _reframe_faces(references: References, frames: Frames, behind: Tensor) -> References:
    mattes = references.face_mattes_BV1hw
    return replace(
        references,
        face_BV3hw=_over(references.face_BV3hw, frames, behind[..., None, None]),
        face_mattes_BV1hw=None if mattes is None else resample(mattes, frames),
    )


def _reframe_targets(targets: Targets, frames: Frames, outside: float) -> Targets:
    pictures = torch.cat([targets.images_BT3HW - outside, targets.masks_BT1HW], 2)
    moved = resample(pictures, frames)
    size = (targets.images_BT3HW.shape[-2], targets.images_BT3HW.shape[-1])
    return replace(
        targets,
        images_BT3HW=moved[:, :, :3] + outside,
        masks_BT1HW=moved[:, :, 3:],
        K_BT33=reframe_intrinsics(targets.K_BT33, frames, size),
    )


def _reframe_lighting(lighting: Lighting, frames: Frames) -> Lighting:
    albedo, normals = lighting.albedo_BT3HW, lighting.normals_BT3HW
    if normals is not None:
        normals = functional.normalize(resample(normals, frames), dim=2, eps=1e-6)
    return replace(
        lighting,
        linear_images_BT3HW=resample(lighting.linear_images_BT3HW, frames),
        albedo_BT3HW=None if albedo is None else resample(albedo, frames),
        normals_BT3HW=normals,
    )
