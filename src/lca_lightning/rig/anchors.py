"""Anchors on the template surface, and the surface points where their Gaussians sit (LCA sections 3.1, B.1).

A share of the anchors lies on the face (half in the paper), the rest elsewhere. Each anchor owns ``K``
surface points, nearest along the surface, so that its Gaussians carry fine articulation although they share
one token.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree
from torch import Tensor, nn

from lca_lightning.errors import ConfigError, check_shape
from lca_lightning.rig.rig import REGIONS, Rig

CANDIDATES_PER_ANCHOR = 24
NEIGHBOURS = 10
# Fingers need more anchors than their area earns; hair a few more (ours).
DENSITY = {"hand": 2.0, "head": 1.2}


@dataclass
class _SurfacePoints:
    """Points on the template surface; ``finger_P`` labels the finger that moves a point most, or -1."""

    triangle_P: np.ndarray
    barycentric_P3: np.ndarray
    position_P3: np.ndarray
    normal_P3: np.ndarray
    finger_P: np.ndarray

    def take(self, index: np.ndarray) -> _SurfacePoints:
        return _SurfacePoints(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


class Anchors(nn.Module):
    """Anchors and the surface point of every Gaussian, as buffers.

    Attributes:
        positions_A3: Template positions of the anchors, metres, identity-neutral.
        is_face_A: True where the anchor lies on the face.
        triangle_G, corners_G3, barycentric_G3: Where on the mesh each Gaussian sits, anchor by anchor.
        normals_G3: Template normals.
        regions_G: Region label, see `REGIONS`.
        weights_GJ: Skinning weights, rows sum to 1, never of two fingers at once.
        anchor_index_G: Anchor of each Gaussian.
        spacing_G: Typical distance between neighbouring Gaussians, metres; their starting size.
    """

    positions_A3: Tensor
    is_face_A: Tensor
    triangle_G: Tensor
    barycentric_G3: Tensor
    normals_G3: Tensor
    regions_G: Tensor
    weights_GJ: Tensor
    anchor_index_G: Tensor
    spacing_G: Tensor
    corners_G3: Tensor

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor, persistent=False)

    @property
    def count(self) -> int:
        """Number of anchors ``A``."""
        return len(self.positions_A3)

    @property
    def gaussian_count(self) -> int:
        """Number of Gaussians ``G``."""
        return len(self.triangle_G)

    def on_mesh(self, vertices_BV3: Tensor) -> Tensor:
        """Positions of the Gaussians' surface points on a mesh of the rig.

        Args:
            vertices_BV3: Vertices in metres, any identity and pose, ``(B, V, 3)``.

        Returns:
            Points in metres, ``(B, G, 3)``.
        """
        check_shape("vertices_BV3", vertices_BV3, ("B", "V", 3))
        return (vertices_BV3[:, self.corners_G3] * self.barycentric_G3[..., None]).sum(-2)


def face_anchor_count(anchor_count: int, face_share: float) -> int:
    """Anchors on the face.

    Raises:
        ConfigError: Not a whole number, or nothing is left for one of the two parts.
    """
    on_face = round(anchor_count * face_share)
    if abs(on_face - anchor_count * face_share) > 1e-6 or not 0 < on_face < anchor_count:
        raise ConfigError(
            "model.avatar.anchors times model.avatar.face_anchor_share must be a whole number between 1 and "
            f"anchors - 1, got {anchor_count} times {face_share}."
        )
    return on_face


def sample_anchors(
    rig: Rig, anchor_count: int, gaussians_per_anchor: int, seed: int = 0, face_share: float = 0.5
) -> Anchors:
    """Sample anchors and Gaussian positions on a rig's template, the same for the same arguments.

    Args:
        rig: Source of mesh, regions and skinning weights.
        anchor_count: ``A``.
        gaussians_per_anchor: ``K``.
        seed: Of the candidate points.
        face_share: Share of the anchors that lies on the face.

    Returns:
        Buffers of ``A`` anchors and ``A * K`` Gaussians.

    Raises:
        ConfigError: A count does not go up.
    """
    on_face_count = face_anchor_count(anchor_count, face_share)
    if gaussians_per_anchor < 1:
        raise ConfigError(f"gaussians_per_anchor must be at least 1, got {gaussians_per_anchor}.")
    generator = np.random.default_rng(seed)
    faces = rig.faces_F3.cpu().numpy()
    triangle_regions = _triangle_regions(rig)
    face_region = REGIONS.index("face")
    chosen: list[tuple[_SurfacePoints, np.ndarray]] = []
    for on_face in (True, False):
        allowed = (triangle_regions == face_region) == on_face
        wanted = on_face_count if on_face else anchor_count - on_face_count
        count = wanted * max(CANDIDATES_PER_ANCHOR, 3 * gaussians_per_anchor)
        points = _sample_surface(rig, allowed & rig.visible_faces_F.cpu().numpy(), count, generator)
        density = _density(triangle_regions[points.triangle_P])
        seeds = _farthest_points(points.position_P3, wanted, density)
        owners = _surface_cells(points, seeds)
        chosen.append((points, _fill_cells(points, seeds, owners, gaussians_per_anchor)))
    anchor_points = [points.take(index[:, 0]) for points, index in chosen]
    gaussians = [points.take(index.reshape(-1)) for points, index in chosen]
    spacing = [_spacing(points.position_P3) for points in gaussians]
    triangle = np.concatenate([points.triangle_P for points in gaussians])
    barycentric = np.concatenate([points.barycentric_P3 for points in gaussians])
    tensors = {
        "positions_A3": torch.from_numpy(np.concatenate([p.position_P3 for p in anchor_points])).float(),
        "is_face_A": torch.arange(anchor_count) < on_face_count,
        "triangle_G": torch.from_numpy(triangle),
        "corners_G3": torch.from_numpy(faces[triangle]),
        "barycentric_G3": torch.from_numpy(barycentric).float(),
        "normals_G3": torch.from_numpy(np.concatenate([p.normal_P3 for p in gaussians])).float(),
        "regions_G": torch.from_numpy(triangle_regions[triangle]),
        "weights_GJ": _gaussian_weights(rig, faces[triangle], barycentric),
        "anchor_index_G": torch.arange(anchor_count).repeat_interleave(gaussians_per_anchor),
        "spacing_G": torch.from_numpy(np.concatenate(spacing)).float(),
    }
    return Anchors(tensors)


def _triangle_regions(rig: Rig) -> np.ndarray:
    """Region of each triangle: that of most of its corners, the lowest label on a tie."""
    corners = rig.regions_V[rig.faces_F3].cpu().numpy()
    counts = (corners[..., None] == np.arange(len(REGIONS))).sum(1)
    return counts.argmax(1)


def _density(regions_P: np.ndarray) -> np.ndarray:
    factors = np.array([DENSITY.get(region, 1.0) for region in REGIONS])
    return factors[regions_P]


def _sample_surface(
    rig: Rig, allowed_F: np.ndarray, count: int, generator: np.random.Generator
) -> _SurfacePoints:
    """Area-weighted random points on the allowed triangles of the template."""
    faces = rig.faces_F3.cpu().numpy()
    corners = rig.template_vertices_V3.cpu().numpy().astype(np.float64)[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = np.linalg.norm(normals, axis=1)
    weight = np.where(allowed_F, areas * _density(_triangle_regions(rig)) ** 2, 0.0)
    triangle = generator.choice(len(faces), size=count, p=weight / weight.sum())
    root, mix = np.sqrt(generator.random(count)), generator.random(count)
    barycentric = np.stack([1 - root, root * (1 - mix), root * mix], 1)
    normal = normals[triangle] / np.maximum(areas[triangle, None], 1e-12)
    weights = _blend_weights(rig, faces[triangle], barycentric)
    position = (corners[triangle] * barycentric[..., None]).sum(1)
    return _SurfacePoints(triangle, barycentric, position, normal, np.array(rig.finger_J)[weights.argmax(1)])


def _blend_weights(rig: Rig, corners_P3: np.ndarray, barycentric_P3: np.ndarray) -> np.ndarray:
    weights = rig.weights_VJ.cpu().numpy()
    blended = np.zeros((len(corners_P3), weights.shape[1]))
    for corner in range(3):
        blended += weights[corners_P3[:, corner]] * barycentric_P3[:, corner : corner + 1]
    return blended


def _farthest_points(position_P3: np.ndarray, count: int, density_P: np.ndarray) -> np.ndarray:
    """Blue-noise subset: each next point is the farthest from those chosen, nearer where density is high."""
    chosen = np.empty(count, np.int64)
    chosen[0] = 0
    distance = np.full(len(position_P3), np.inf)
    for index in range(1, count):
        step = position_P3 - position_P3[chosen[index - 1]]
        distance = np.minimum(distance, np.einsum("pc,pc->p", step, step))
        chosen[index] = (distance * density_P**2).argmax()
    return chosen


def _surface_cells(points: _SurfacePoints, seeds: np.ndarray) -> np.ndarray:
    """Seed nearest along the surface for each point (-1 where none is reachable).

    Distances run over a neighbour graph whose edges never join opposite-facing surfaces, two fingers, or a
    finger and the palm.
    """
    total = len(points.triangle_P)
    distance, neighbour = cKDTree(points.position_P3).query(points.position_P3, k=NEIGHBOURS + 1)
    start = np.repeat(np.arange(total), NEIGHBOURS)
    end, length = neighbour[:, 1:].reshape(-1), distance[:, 1:].reshape(-1)
    same_side = (points.normal_P3[start] * points.normal_P3[end]).sum(1) > 0.0
    first, second = points.finger_P[start], points.finger_P[end]
    keep = same_side & (first == second)
    graph = coo_matrix((length[keep] + 1e-9, (start[keep], end[keep])), shape=(total, total)).tocsr()
    _, _, source = dijkstra(graph, directed=False, indices=seeds, return_predecessors=True, min_only=True)
    owner_of_seed = np.full(total, -1)
    owner_of_seed[seeds] = np.arange(len(seeds))
    return np.where(source >= 0, owner_of_seed[np.maximum(source, 0)], -1)


def _fill_cells(points: _SurfacePoints, seeds: np.ndarray, owners_P: np.ndarray, count: int) -> np.ndarray:
    """Pick ``count`` well-spread points of each cell, its seed first, ``(seeds, count)``."""
    order = np.argsort(owners_P, kind="stable")
    starts = np.searchsorted(owners_P[order], np.arange(len(seeds) + 1))
    filled = np.empty((len(seeds), count), np.int64)
    for cell, seed in enumerate(seeds):
        members = order[starts[cell] : starts[cell + 1]]
        members = np.concatenate([[seed], members[members != seed]])
        if len(members) < count:  # a cramped cell repeats its own points rather than reach into a neighbour
            members = np.resize(members, count)
        picked = _farthest_points(points.position_P3[members], count, np.ones(len(members)))
        filled[cell] = members[picked]
    return filled


def _spacing(position_G3: np.ndarray) -> np.ndarray:
    """Mean distance to the three nearest neighbours."""
    distance, _ = cKDTree(position_G3).query(position_G3, k=min(4, len(position_G3)))
    return np.maximum(distance[:, 1:].mean(1), 1e-4)


def _gaussian_weights(rig: Rig, corners_G3: np.ndarray, barycentric_G3: np.ndarray) -> Tensor:
    """Interpolated skinning weights; beside the strongest finger, other fingers' shares go to the hand."""
    weights = _blend_weights(rig, corners_G3, barycentric_G3)
    finger = np.array(rig.finger_J)
    totals = np.stack([weights[:, finger == label].sum(1) for label in range(finger.max() + 1)], 1)
    strongest = totals.argmax(1)
    for joint in np.flatnonzero(finger >= 0):
        share = np.where(finger[joint] == strongest, 0.0, weights[:, joint])
        weights[:, joint] -= share
        weights[:, _hand_of(rig, joint, finger)] += share
    return torch.from_numpy(weights / weights.sum(1, keepdims=True)).float()


def _hand_of(rig: Rig, joint: int, finger_J: np.ndarray) -> int:
    """Nearest ancestor that belongs to no finger."""
    while finger_J[joint] >= 0:
        joint = rig.joint_parents[joint]
    return joint
