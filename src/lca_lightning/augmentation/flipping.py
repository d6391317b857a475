"""Subjects mirrored left to right, with everything that belongs to them."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from lca_lightning.batch import Batch, Driving, Lighting, References, Targets
from lca_lightning.rig.mirroring import (
    RigMirror,
    mirror_gaze,
    reflect_cameras,
    reflect_intrinsics,
    reflect_points,
)

Record = TypeVar("Record", References, Driving, Targets, Lighting)


def flip(batch: Batch, mirror: RigMirror, chosen_B: Tensor) -> Batch:
    """Mirror some subjects in the plane x = 0 of their world; twice is the identity.

    Args:
        batch: Any batch of the mirror's rig.
        mirror: Left and right of the rig.
        chosen_B: Which subjects, boolean, on the batch's device.

    Returns:
        A batch in which references, targets, cameras, driving signals, identity and lamps agree as before.
    """
    lighting = None if batch.lighting is None else _flip_lighting(batch.lighting)
    return replace(
        batch,
        references=_choose(chosen_B, _flip_references(batch.references), batch.references),
        driving=_choose(chosen_B, _flip_driving(batch.driving, mirror), batch.driving),
        targets=_choose(chosen_B, _flip_targets(batch.targets), batch.targets),
        identity_BI=_where(chosen_B, mirror.identity(batch.identity_BI), batch.identity_BI),
        lighting=None
        if lighting is None or batch.lighting is None
        else _choose(chosen_B, lighting, batch.lighting),
    )


def _flip_references(references: References) -> References:
    directions = references.directions_BV3
    return replace(
        references,
        body_BV3HW=references.body_BV3HW.flip(-1),
        face_BV3hw=references.face_BV3hw.flip(-1),
        body_mattes_BV1HW=_sideways(references.body_mattes_BV1HW),
        face_mattes_BV1hw=_sideways(references.face_mattes_BV1hw),
        directions_BV3=None if directions is None else reflect_points(directions),
    )


def _flip_driving(driving: Driving, mirror: RigMirror) -> Driving:
    return Driving(
        mirror.rotations(driving.rotations_BTJ3),
        reflect_points(driving.translation_BT3),
        mirror.expression(driving.expression_BTE),
        mirror_gaze(driving.gaze_BT8),
    )


def _flip_targets(targets: Targets) -> Targets:
    return Targets(
        targets.images_BT3HW.flip(-1),
        targets.masks_BT1HW.flip(-1),
        reflect_cameras(targets.w2c_BT44),
        reflect_intrinsics(targets.K_BT33, targets.images_BT3HW.shape[-1]),
    )


def _flip_lighting(lighting: Lighting) -> Lighting:
    normals = lighting.normals_BT3HW
    if normals is not None:
        normals = reflect_points(normals.flip(-1).movedim(2, -1)).movedim(-1, 2)
    return replace(
        lighting,
        positions_BTL3=reflect_points(lighting.positions_BTL3),
        linear_images_BT3HW=lighting.linear_images_BT3HW.flip(-1),
        albedo_BT3HW=_sideways(lighting.albedo_BT3HW),
        normals_BT3HW=normals,
    )


def _sideways(images: Tensor | None) -> Tensor | None:
    return None if images is None else images.flip(-1)


def _choose(chosen_B: Tensor, changed: Record, record: Record) -> Record:
    """Rows of one record or the other."""
    fields = {name: (getattr(changed, name), value) for name, value in vars(record).items()}
    rows = {name: old if new is old else _where(chosen_B, new, old) for name, (new, old) in fields.items()}
    return replace(record, **rows)


def _where(chosen_B: Tensor, changed: Tensor, tensor: Tensor) -> Tensor:
    return torch.where(chosen_B.view(-1, *[1] * (tensor.dim() - 1)), changed, tensor)
