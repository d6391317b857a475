"""Fitting the rig to another body model: named points first, then nearest points of its surface."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from lca_lightning.preprocessing.landmarks import FloatArray
from lca_lightning.preprocessing.observations import Observations
from lca_lightning.preprocessing.rig_fitting import (
    ClipFitter,
    FitSettings,
    Progress,
    RigFit,
    _robust,
    _skin_subset,
)
from lca_lightning.rig.rig import REGIONS, Rig

# Another model's points are no measurements: none is an outlier, and landmarks hardly settle elsewhere.
SURFACES = FitSettings(
    robust_limit=12.0, identity_weight=0.03, pose_weight=0.3, offset_scale=0.3, steps=(150, 100, 250)
)
SURFACE_SPREAD, SURFACE_LIMIT, SURFACE_WEIGHT = 0.01, 8.0, 150.0
_VERTICES, _SEARCH_EVERY = 1500, 10


def fit_surfaces(
    rig: Rig,
    observations: Observations,
    surfaces: list[FloatArray | None],
    settings: FitSettings = SURFACES,
    progress: Progress | None = None,
) -> RigFit:
    """Fit identity and poses to named points and to a surface per frame.

    Args:
        rig: The body.
        observations: Named points in space and pixels.
        surfaces: World points of each frame's surface, metres, ``(N, 3)``; None where there is none.
        settings: Weights.
        progress: Called with 1 per step.

    Returns:
        The fit.
    """
    fitter = _SurfaceFitter(rig, observations, settings, surfaces)
    in_space, in_pictures, on_surface = settings.steps
    fitter.optimise(in_space, 0.06, use_pixels=False, progress=progress, first_limit=300.0)
    fitter.optimise(in_pictures, 0.02, use_pixels=True, progress=progress, first_limit=15.0)
    fitter.attracted = True
    fitter.optimise(on_surface, 0.02, use_pixels=True, progress=progress)
    return fitter.result()


class _SurfaceFitter(ClipFitter):
    def __init__(
        self, rig: Rig, observations: Observations, settings: FitSettings, surfaces: list[FloatArray | None]
    ) -> None:
        super().__init__(rig, observations, settings)
        self.attracted = False
        self._trees = [None if surface is None else cKDTree(surface) for surface in surfaces]
        self._surfaces = surfaces
        known = [tree is not None for tree in self._trees]
        self._known_T = torch.tensor(known)
        self._chosen_S = _spread_vertices(rig)
        self._nearest_TS3 = torch.zeros(len(known), len(self._chosen_S), 3)
        self._calls = 0

    def loss(self, use_pixels: bool, silhouette: object) -> Tensor:
        total = super().loss(use_pixels, None)
        if not self.attracted:
            return total
        identity = self.identity()[None]
        transforms = self.rig.joint_transforms(identity, self.pose())
        rest = self.rig.canonical_vertices(identity)[0, self._chosen_S]
        points_TS3 = _skin_subset(rest, self.rig.weights_VJ[self._chosen_S], transforms)
        if self._calls % _SEARCH_EVERY == 0:
            self._search(points_TS3.detach().double().numpy())
        self._calls += 1
        squared = (points_TS3 - self._nearest_TS3).square().sum(-1) / SURFACE_SPREAD**2
        pulled = _robust(squared, SURFACE_LIMIT).mean(1)[self._known_T]
        return total + SURFACE_WEIGHT / len(self._known_T) * pulled.sum()

    def _search(self, points_TS3: FloatArray) -> None:
        for frame, (tree, surface) in enumerate(zip(self._trees, self._surfaces, strict=True)):
            if tree is not None and surface is not None:
                nearest = surface[tree.query(points_TS3[frame])[1]]
                self._nearest_TS3[frame] = torch.from_numpy(nearest.astype(np.float32))


def _spread_vertices(rig: Rig) -> Tensor:
    """Vertices that cameras see, fingers left to their named points."""
    visible = torch.zeros(len(rig.template_vertices_V3), dtype=torch.bool)
    visible[rig.faces_F3[rig.visible_faces_F].flatten()] = True
    visible &= rig.regions_V != REGIONS.index("hand")
    index = torch.nonzero(visible).flatten()
    return index[:: max(1, len(index) // _VERTICES)]


def surface_distances(rig: Rig, fit: RigFit, surfaces: list[FloatArray | None]) -> FloatArray:
    """Distance of each visible rig vertex to the nearest point of its frame's surface, metres, ``(T, S)``."""
    chosen = _spread_vertices(rig)
    with torch.no_grad():
        vertices_TV3 = rig.posed_vertices(fit.identity_I[None], fit.pose)[:, chosen].double().numpy()
    rows = [
        np.full(len(chosen), np.nan) if surface is None else cKDTree(surface).query(vertices)[0]
        for vertices, surface in zip(vertices_TV3, surfaces, strict=True)
    ]
    return np.stack(rows)
