"""How far a target view is from what the model has seen, and where face and hands are in it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lca_lightning.batch import Batch
from lca_lightning.geometry.view_directions import view_directions, yaw_between
from lca_lightning.rendering.mesh import visible_triangles
from lca_lightning.rig.rig import REGIONS, Rig, RigPose

SCORED_REGIONS = {"face": "face", "hands": "hand"}
"""Region of the scores and the rig's name of it."""


def nearest_view_angles(batch: Batch) -> Tensor | None:
    """Angle between each target view and the nearest reference view, as the body is turned in each.

    Only the turn about the body's own vertical axis counts: a person who turned round since the photo is
    seen from another side though the camera stayed.

    Args:
        batch: Knows ``references.directions_BV3``, or the answer is None.

    Returns:
        Degrees in [0, 180], NaN where a pose is unknown, ``(B, T)``.
    """
    directions_BV3 = batch.references.directions_BV3
    if directions_BV3 is None:
        return None
    roots, positions = batch.driving.rotations_BTJ3[:, :, 0], batch.driving.translation_BT3
    targets_BT3 = view_directions(batch.targets.w2c_BT44, roots, positions)
    angles_BTV = torch.rad2deg(yaw_between(targets_BT3, directions_BV3))
    known = batch.references.view_mask_BV[:, None] & ~angles_BTV.isnan()
    nearest_BT = angles_BTV.masked_fill(~known, torch.inf).amin(2)
    return nearest_BT.masked_fill(nearest_BT.isinf(), torch.nan)


@torch.no_grad()
def region_masks(rig: Rig, batch: Batch) -> dict[str, Tensor]:
    """Where face and hands of the posed rig are seen in the target pictures; what hides them is respected.

    Args:
        rig: The rig whose values the batch carries, on any device.
        batch: Identity, poses, expressions and target cameras.

    Returns:
        Boolean masks ``(B, T, 1, H, W)`` of ``face`` and ``hands`` on the batch's device; empty where the
        pose is unknown.
    """
    height, width = batch.targets.images_BT3HW.shape[-2:]
    faces_F3, labels_F = _labelled_triangles(rig)
    rows = [
        _rasterise(vertices_V3, w2c_44, K_33, faces_F3, height, width)
        for vertices_TV3, w2c_T44, K_T33 in zip(
            _posed(rig, batch), batch.targets.w2c_BT44, batch.targets.K_BT33, strict=True
        )
        for vertices_V3, w2c_44, K_33 in zip(vertices_TV3, w2c_T44, K_T33, strict=True)
    ]
    index_nHW = np.stack(rows)
    label_nHW = np.where(index_nHW >= 0, labels_F[index_nHW], -1)
    size = (*batch.targets.w2c_BT44.shape[:2], 1, height, width)
    return {
        name: torch.from_numpy(label_nHW == REGIONS.index(region)).reshape(size).to(batch.identity_BI.device)
        for name, region in SCORED_REGIONS.items()
    }


def _labelled_triangles(rig: Rig) -> tuple[np.ndarray, np.ndarray]:
    """Triangles that can be seen, and the region that all three corners share, else -1."""
    faces_F3 = rig.faces_F3[rig.visible_faces_F]
    corners_F3 = rig.regions_V[faces_F3]
    same_F = (corners_F3 == corners_F3[:, :1]).all(1)
    labels_F = torch.where(same_F, corners_F3[:, 0], torch.full_like(corners_F3[:, 0], -1))
    return faces_F3.cpu().numpy().astype(np.int64), labels_F.cpu().numpy()


def _posed(rig: Rig, batch: Batch) -> list[np.ndarray]:
    """World positions of the vertices, ``(T, V, 3)`` for each subject."""
    driving, device = batch.driving, rig.template_vertices_V3.device
    posed = []
    for row in range(batch.size):
        pose = RigPose(driving.rotations_BTJ3[row].to(device), driving.translation_BT3[row].to(device))
        identity_1I, expression_TE = batch.identity_BI[row : row + 1], driving.expression_BTE[row]
        vertices_TV3 = rig.posed_vertices(identity_1I.to(device), pose, expression_TE.to(device))
        posed.append(vertices_TV3.double().cpu().numpy())
    return posed


def _rasterise(
    vertices_V3: np.ndarray, w2c_44: Tensor, K_33: Tensor, faces_F3: np.ndarray, height: int, width: int
) -> np.ndarray:
    """Nearest triangle of each pixel."""
    if not np.isfinite(vertices_V3).all():
        return np.full((height, width), -1, np.int32)
    cameras = (w2c_44.double().cpu().numpy(), K_33.double().cpu().numpy())
    return visible_triangles(vertices_V3, faces_F3, *cameras, height, width)
