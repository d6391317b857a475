"""The rig fitted to another body: its named points first, then pictures where there are any, then its
surface.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from lca_lightning.geometry.rotations import nearest_rotation
from lca_lightning.preprocessing.landmarks import BODY_INDEX, FloatArray
from lca_lightning.preprocessing.observations import Observations, to_tensor
from lca_lightning.preprocessing.rig_fitting import (
    ClipFitter,
    FitSettings,
    Progress,
    RigFit,
    robust,
    skin_subset,
)
from lca_lightning.rig.rig import REGIONS, Rig

# Another model's points are no measurements: none is an outlier, and landmarks hardly settle elsewhere.
SURFACES = FitSettings(
    robust_limit=12.0, identity_weight=0.03, pose_weight=0.3, offset_scale=0.3, steps=(150, 100, 250)
)
# Standard deviation of a surface, metres, and how much it counts; landmarks then only say which way.
SURFACE_SPREAD, SURFACE_WEIGHT, LANDMARKS_BESIDE_SURFACE = 0.008, 130.0, 0.2
# Points of one frame that are compared, and after how many steps neighbours are looked up again.
_RIG_POINTS, _OTHER_POINTS, _SEARCH_EVERY = 4000, 1200, 6
_SPREAD_POINTS = 1500
_FEWEST_FOR_ROOT = 6
_TORSO = [BODY_INDEX[f"{side}_{part}"] for part in ("shoulder", "hip") for side in ("left", "right")]


def fit_surfaces(
    rig: Rig,
    observations: Observations,
    surfaces: Sequence[FloatArray | None],
    settings: FitSettings = SURFACES,
    progress: Progress | None = None,
) -> RigFit:
    """Fit identity and poses to named points and to a surface per frame.

    Args:
        rig: The body.
        observations: Named points in space and, where there are cameras, in pixels.
        surfaces: World points of each frame's surface, metres, ``(N, 3)``; None where there is none.
        settings: Weights; steps are those with points in space, with pictures, with the surface.
        progress: Called with 1 per step.

    Returns:
        The fit.
    """
    fitter = SurfaceFitter(rig, observations, surfaces, settings)
    fitter.fit(progress=progress)
    return fitter.result()


class SurfaceFitter(ClipFitter):
    """Fits to landmarks first, then to surfaces as well, by two-way distances of points to planes.

    Args:
        rig: The body.
        observations: Named points in space; the cameras may be none.
        surfaces: World points of each frame's surface, metres, ``(N, 3)``; None where there is none.
        settings: Weights and steps as in :func:`fit_surfaces`.
        known: A fit whose identity and landmark offsets are taken over, or None.
    """

    def __init__(
        self,
        rig: Rig,
        observations: Observations,
        surfaces: Sequence[FloatArray | None],
        settings: FitSettings = SURFACES,
        known: RigFit | None = None,
    ) -> None:
        super().__init__(rig, observations, settings)
        if known is not None:
            self._code.data.copy_(self._code_of(known.identity_I))
            self._offsets.data.copy_(known.offsets_L3)
        self._attracted, self._searches = False, 0
        self._frames_F = torch.tensor([t for t, surface in enumerate(surfaces) if surface is not None])
        self._surfaces = [surface for surface in surfaces if surface is not None]
        if self._surfaces:
            self._choose_points()

    def _choose_points(self) -> None:
        generator = np.random.default_rng(0)
        outer = self.rig.faces_F3[self.rig.visible_faces_F].unique().numpy()
        chosen = np.sort(generator.permutation(outer)[:_RIG_POINTS])
        self._chosen_S = torch.from_numpy(chosen)
        rest = self.rig.canonical_vertices(self.rig.neutral_identity()[None])[0]
        self._normals_S3 = _vertex_normals(rest, self.rig.faces_F3)[self._chosen_S]
        self._probes_P = torch.from_numpy(np.sort(generator.permutation(len(chosen))[:_OTHER_POINTS]))
        self._trees = [cKDTree(surface) for surface in self._surfaces]
        order = generator.permutation(max(len(surface) for surface in self._surfaces))
        # Repeated where a surface has fewer points, so that all frames are one array.
        picked = [s[np.resize(order[order < len(s)], _OTHER_POINTS)] for s in self._surfaces]
        self._targets_FM3 = to_tensor(np.stack(picked))

    def _root_from_torso(self) -> tuple[Tensor, Tensor]:
        """From the torso where it is known, else from all landmarks there are (Kabsch 1976)."""
        orientation, translation = super()._root_from_torso()
        points, weights = self.observations.points_TL3, self.observations.points_weight_TL
        known = weights > 0
        all_used_T = ~known[:, _TORSO].all(1) & (known.sum(1) >= _FEWEST_FOR_ROOT)
        neutral = self.rig.neutral_identity()[None]
        joints = self.rig.canonical_joints(neutral)
        rest = self.landmarks.canonical(self.rig.canonical_vertices(neutral), joints)[0]
        share = weights / weights.sum(1, keepdim=True).clamp(min=1e-6)
        center, rest_center = (share[..., None] * points).sum(1), share @ rest
        arms = (points - center[:, None]) * share[..., None]
        turn = nearest_rotation(arms.transpose(1, 2) @ (rest - rest_center[:, None]))
        shift = center + (turn @ (joints[0, 0] - rest_center)[..., None]).squeeze(-1)
        return (
            torch.where(all_used_T[:, None, None], turn, orientation),
            torch.where(all_used_T[:, None], shift, translation),
        )

    def fit(self, fit_shape: bool = True, progress: Progress | None = None) -> None:
        """All stages that the observations and surfaces allow.

        Args:
            fit_shape: Whether identity and landmark offsets move.
            progress: Called with 1 per step.
        """
        in_space, in_pictures, on_surface = self.settings.steps
        pictures = len(self.observations.w2c_C44) > 0
        self.optimise(in_space, 0.06, False, fit_shape, progress=progress, first_limit=300.0)
        if pictures:
            self.optimise(in_pictures, 0.02, True, fit_shape, progress=progress, first_limit=15.0)
        if not self._surfaces:
            return
        if not pictures:  # with pictures, points in space count as little already
            weights_TL = self.observations.points_weight_TL.clone()
            weights_TL[self._frames_F] *= LANDMARKS_BESIDE_SURFACE
            self.observations = replace(self.observations, points_weight_TL=weights_TL)
        self._attracted = True
        self.optimise(on_surface, 0.03, pictures, fit_shape, progress=progress, first_limit=20.0)

    def further_penalty(self, vertices_1V3: Tensor, transforms_TJ44: Tensor) -> Tensor:
        """Distances to the surface in the last stage, averaged over frames."""
        if not self._attracted:
            return transforms_TJ44.new_zeros(())
        points_FS3, normals_FS3 = self._surface_points(vertices_1V3, transforms_TJ44)
        if self._searches % _SEARCH_EVERY == 0:
            self._search(points_FS3.detach().numpy())
        self._searches += 1
        # Their points against our planes, and ours against their nearest points along our normals.
        theirs = self._to_planes(points_FS3, normals_FS3, self._near_FM)
        place = points_FS3[:, self._probes_P] - self._nearest_FP3
        ours = (place * normals_FS3[:, self._probes_P]).sum(-1)
        share = len(self._frames_F) / self.observations.frame_count
        return share * SURFACE_WEIGHT * (self._weigh(theirs) + 0.5 * self._weigh(ours))

    def _surface_points(self, vertices_1V3: Tensor, transforms_TJ44: Tensor) -> tuple[Tensor, Tensor]:
        """Our points and normals ``(F, S, 3)`` in the frames that have a surface."""
        skin_SJ, transforms = self.rig.weights_VJ[self._chosen_S], transforms_TJ44[self._frames_F]
        turns = transforms.detach().clone()
        turns[..., :3, 3] = 0.0
        return (
            skin_subset(vertices_1V3[0, self._chosen_S], skin_SJ, transforms),
            skin_subset(self._normals_S3, skin_SJ, turns),
        )

    def _to_planes(self, points_FS3: Tensor, normals_FS3: Tensor, near_FM: Tensor) -> Tensor:
        frames = torch.arange(len(points_FS3))[:, None]
        difference = points_FS3[frames, near_FM] - self._targets_FM3
        return (difference * normals_FS3[frames, near_FM]).sum(-1)

    def _weigh(self, distance: Tensor) -> Tensor:
        return robust((distance / SURFACE_SPREAD) ** 2, self._limit).mean()

    def _search(self, points_FS3: FloatArray) -> None:
        self._near_FM = self._nearest_ours(points_FS3)
        probes = points_FS3[:, self._probes_P.numpy()]
        nearest = [
            surface[tree.query(points)[1]]
            for points, tree, surface in zip(probes, self._trees, self._surfaces, strict=True)
        ]
        self._nearest_FP3 = to_tensor(np.stack(nearest))

    def _nearest_ours(self, points_FS3: FloatArray) -> Tensor:
        targets = self._targets_FM3.numpy()
        found = [cKDTree(ours).query(theirs)[1] for ours, theirs in zip(points_FS3, targets, strict=True)]
        return torch.from_numpy(np.stack(found))

    def residuals(self) -> tuple[FloatArray, FloatArray]:
        """How far the fit stays from what was given, metres.

        Returns:
            Root mean square over the landmarks that count, ``(T,)``; and the mean distance between the
            surfaces, ``(T,)``, NaN where there is none.
        """
        with torch.no_grad():
            identity = self.identity()[None]
            transforms = self.rig.joint_transforms(identity, self.pose())
            vertices = self.rig.canonical_vertices(identity)
            points = self._posed_landmarks(identity, vertices, transforms)
            weight = self.observations.points_weight_TL * self.landmarks.importance_L
            squared = (points - self.observations.points_TL3).square().sum(-1)
            landmarks = (weight * squared).sum(1) / weight.sum(1).clamp(min=1e-6)
            surface_T = np.full(len(points), np.nan)
            if self._surfaces:
                ours, normals = self._surface_points(vertices, transforms)
                planes = self._to_planes(ours, normals, self._nearest_ours(ours.numpy()))
                surface_T[self._frames_F.numpy()] = planes.abs().mean(1).numpy()
        return landmarks.sqrt().numpy(), surface_T


def surface_distances(rig: Rig, fit: RigFit, surfaces: Sequence[FloatArray | None]) -> FloatArray:
    """Distance of each visible rig vertex to the nearest point of its frame's surface, metres, ``(T, S)``."""
    chosen = _spread_vertices(rig)
    with torch.no_grad():
        vertices_TV3 = rig.posed_vertices(fit.identity_I[None], fit.pose)[:, chosen].double().numpy()
    rows = [
        np.full(len(chosen), np.nan) if surface is None else cKDTree(surface).query(vertices)[0]
        for vertices, surface in zip(vertices_TV3, surfaces, strict=True)
    ]
    return np.stack(rows)


def _spread_vertices(rig: Rig) -> Tensor:
    """Vertices that cameras see, without hands."""
    visible = torch.zeros(len(rig.template_vertices_V3), dtype=torch.bool)
    visible[rig.faces_F3[rig.visible_faces_F].flatten()] = True
    visible &= rig.regions_V != REGIONS.index("hand")
    index = torch.nonzero(visible).flatten()
    return index[:: max(1, len(index) // _SPREAD_POINTS)]


def _vertex_normals(vertices_V3: Tensor, faces_F3: Tensor) -> Tensor:
    corners = vertices_V3[faces_F3]
    face_normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = torch.zeros_like(vertices_V3).index_add_(
        0, faces_F3.flatten(), face_normals.repeat_interleave(3, 0)
    )
    return torch.nn.functional.normalize(total, dim=-1)
