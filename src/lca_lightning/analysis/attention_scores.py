"""Numbers for attention maps: how much of it lies on the person, how concentrated it is, and where."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lca_lightning.analysis.queries import Query
from lca_lightning.analysis.reference_sets import ReferenceSet
from lca_lightning.geometry.cameras import project_points
from lca_lightning.model.avatar_model import AvatarModel
from lca_lightning.rendering.mesh import rasterise_mesh

NEAR = 0.1  # radius around the true place, as part of the height of the picture (ours)
_SEEN = 0.06  # metres between a point and the surface that a camera sees in its place


@dataclass(frozen=True)
class PhotoScore:
    """Where a token looks in one photo.

    Args:
        view: Number of the photo.
        share: Part of the token's attention to photos that falls on this one.
        on_person: Part of this photo's attention that falls on the person; None without a matte.
        centroid: Mean place, right and down, as parts of width and height.
        place: Where the token's point of the body truly is, likewise; None where camera or pose are unknown.
        visible: Whether the camera sees that point.
        distance: From the centroid to that place, as part of the picture's height.
        near: Part of this photo's attention within ``NEAR`` picture heights of that place.
    """

    view: int
    share: float
    on_person: float | None
    centroid: tuple[float, float]
    place: tuple[float, float] | None = None
    visible: bool | None = None
    distance: float | None = None
    near: float | None = None


@dataclass(frozen=True)
class MapScore:
    """Where a token looks in all photos of a kind.

    Args:
        on_images: Part of the token's whole attention that goes to photos, the rest goes to geometry tokens.
        on_person: Part of the attention to photos that falls on the person; None without mattes.
        person_area: The same for attention spread evenly over the photos.
        entropy: Of the attention to photos over its largest possible value: 0 is one patch, 1 is even.
        near: Part of the attention to photos near the token's true place in any of them; None where unknown.
        near_area: The same for attention spread evenly.
        photos: Each photo.
    """

    on_images: float
    on_person: float | None
    person_area: float | None
    entropy: float
    near: float | None
    near_area: float | None
    photos: tuple[PhotoScore, ...]


@dataclass(frozen=True)
class Places:
    """Where points of the body are in photos.

    Args:
        points_QV2: Right and down, as parts of width and height.
        visible_QV: Whether the camera sees them.
    """

    points_QV2: Tensor
    visible_QV: Tensor


def score_map(
    map_VRC: Tensor,
    mattes_VHW: Tensor | None,
    views: tuple[int, ...],
    size: tuple[int, int],
    points_V2: Tensor | None = None,
    visible_V: Tensor | None = None,
) -> MapScore:
    """Measure one token's attention to photos.

    Args:
        map_VRC: Attention to patches; sums to at most 1.
        mattes_VHW: How much of each pixel is the person, or None.
        views: Number of each photo.
        size: Height and width of a photo in pixels, for its aspect.
        points_V2: True place of the token's point in each photo, or None.
        visible_V: Whether it is seen there.

    Returns:
        The numbers.
    """
    map_VRC = map_VRC.double()
    grid = (map_VRC.shape[1], map_VRC.shape[2])
    total = float(map_VRC.sum())
    weights_VRC = map_VRC / max(total, 1e-30)
    person_VRC = None if mattes_VHW is None else _patch_means(mattes_VHW.double(), grid)
    near_VRC = None if points_V2 is None else near_patches(points_V2.double(), grid, size)
    photos = []
    for row, view in enumerate(views):
        place = visible = None
        if points_V2 is not None:
            place = (float(points_V2[row, 0]), float(points_V2[row, 1]))
            visible = None if visible_V is None else bool(visible_V[row])
        near_RC = None if near_VRC is None else near_VRC[row]
        person_RC = None if person_VRC is None else person_VRC[row]
        photos.append(_score_photo(view, weights_VRC[row], person_RC, near_RC, place, visible, size))
    return MapScore(
        total,
        _weighted(weights_VRC, person_VRC),
        None if person_VRC is None else float(person_VRC.mean()),
        entropy(weights_VRC),
        _weighted(weights_VRC, near_VRC),
        None if near_VRC is None else float(near_VRC.mean()),
        tuple(photos),
    )


def entropy(weights: Tensor) -> float:
    """Entropy of a distribution over its logarithmic size: 0 for a single place, 1 for an even spread."""
    flat_N = weights.flatten() / weights.sum().clamp(min=1e-30)
    if flat_N.numel() < 2:
        return 0.0
    return float(-torch.special.xlogy(flat_N, flat_N).sum() / math.log(flat_N.numel()))


def patch_centres(grid: tuple[int, int]) -> Tensor:
    """Middle of each patch, right and down as parts of width and height, ``(rows, columns, 2)``."""
    rows = (torch.arange(grid[0], dtype=torch.double) + 0.5) / grid[0]
    columns = (torch.arange(grid[1], dtype=torch.double) + 0.5) / grid[1]
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)


def near_patches(points_V2: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """True for patches whose middle is near a photo's point, and for the patch it lies in.

    Args:
        points_V2: Right and down as parts of width and height.
        grid: Patch rows and columns.
        size: Height and width of a photo in pixels.

    Returns:
        0 or 1, ``(V, rows, columns)``.
    """
    offset_VRC2 = (patch_centres(grid) - points_V2[:, None, None]).abs()
    aspect = size[1] / size[0]
    distance_VRC = torch.hypot(offset_VRC2[..., 0] * aspect, offset_VRC2[..., 1])
    inside_VRC = (offset_VRC2[..., 0] <= 0.5 / grid[1]) & (offset_VRC2[..., 1] <= 0.5 / grid[0])
    return ((distance_VRC <= NEAR) | inside_VRC).double()


def true_places(model: AvatarModel, photos: ReferenceSet, queries: list[Query]) -> Places | None:
    """Where the tokens' points of the body are in body pictures, from camera, pose and identity.

    Args:
        model: With its rig and anchors.
        photos: The photos; their cuts have equal sizes.
        queries: The tokens.

    Returns:
        Places, or None where camera, pose or identity are unknown.
    """
    if photos.pose is None or photos.w2c_V44 is None or photos.K_V33 is None or photos.identity_I is None:
        return None
    rig, device = model.rig, model.rig.template_vertices_V3.device
    pose = type(photos.pose)(photos.pose.rotations_BJ3.to(device), photos.pose.translation_B3.to(device))
    vertices_VN3 = rig.posed_vertices(photos.identity_I.to(device)[None], pose)
    first = [query.anchor * model.config.gaussians_per_anchor for query in queries]
    points_VQ3 = model.anchors.on_mesh(vertices_VN3)[:, first].cpu()
    pixels_VQ2, _ = project_points(points_VQ3, photos.w2c_V44, photos.K_V33)
    height, width = photos.references.body_BV3HW.shape[-2:]
    visible = [
        _visible(vertices_N3, points_Q3, pixels_Q2, w2c_44, K_33, rig.faces_F3.cpu().numpy(), (height, width))
        for vertices_N3, points_Q3, pixels_Q2, w2c_44, K_33 in zip(
            vertices_VN3.cpu(), points_VQ3, pixels_VQ2, photos.w2c_V44, photos.K_V33, strict=True
        )
    ]
    parts_VQ2 = pixels_VQ2 / pixels_VQ2.new_tensor([width, height])
    return Places(parts_VQ2.transpose(0, 1), torch.stack(visible, 1))


def _visible(
    vertices_N3: Tensor,
    points_Q3: Tensor,
    pixels_Q2: Tensor,
    w2c_44: Tensor,
    K_33: Tensor,
    faces_F3: np.ndarray,
    size: tuple[int, int],
) -> Tensor:
    """Whether the surface that a camera sees at each point's pixel is the point's own."""
    projected_N2, depth_N = project_points(vertices_N3, w2c_44, K_33)
    seen_HW = rasterise_mesh(
        projected_N2.double().numpy(), depth_N.double().numpy(), faces_F3, size[0], size[1]
    )
    visible = torch.zeros(len(points_Q3), dtype=torch.bool)
    for number, (point_3, pixel_2) in enumerate(zip(points_Q3, pixels_Q2.floor().long(), strict=True)):
        column, row = (int(value) for value in pixel_2)
        if 0 <= row < size[0] and 0 <= column < size[1] and seen_HW[row, column] >= 0:
            corners_33 = vertices_N3[torch.from_numpy(faces_F3[seen_HW[row, column]])]
            visible[number] = bool((corners_33.mean(0) - point_3).norm() < _SEEN)
    return visible


def _score_photo(
    view: int,
    weights_RC: Tensor,
    person_RC: Tensor | None,
    near_RC: Tensor | None,
    place: tuple[float, float] | None,
    visible: bool | None,
    size: tuple[int, int],
) -> PhotoScore:
    share = float(weights_RC.sum())
    here_RC = weights_RC / max(share, 1e-30)
    centres = patch_centres((weights_RC.shape[0], weights_RC.shape[1]))
    x, y = (float(value) for value in (centres * here_RC[..., None]).sum((0, 1)))
    distance = None
    if place is not None:
        distance = math.hypot((x - place[0]) * size[1] / size[0], y - place[1])
    on_person, near = _weighted(here_RC, person_RC), _weighted(here_RC, near_RC)
    return PhotoScore(view, share, on_person, (x, y), place, visible, distance, near)


def _weighted(weights: Tensor, values: Tensor | None) -> float | None:
    return None if values is None else float((weights * values).sum())


def _patch_means(mattes_VHW: Tensor, grid: tuple[int, int]) -> Tensor:
    """Mean matte of each patch, ``(V, rows, columns)``."""
    return functional.adaptive_avg_pool2d(mattes_VHW[:, None], grid)[:, 0]
