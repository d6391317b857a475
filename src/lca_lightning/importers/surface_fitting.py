"""Our rig fitted to points in space and to the surface of another body, without any camera."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from lca_lightning.geometry.rotations import nearest_rotation
from lca_lightning.preprocessing.observations import Observations, to_tensor
from lca_lightning.preprocessing.rig_fitting import ClipFitter, FitSettings, SilhouetteTerm
from lca_lightning.rig.rig import Rig

FloatArray = NDArray[np.floating]
# Points of one frame that are compared, how often neighbours are looked up, and the spread of a surface.
_RIG_POINTS, _OTHER_POINTS, _EVERY, _SPREAD = 4000, 1200, 6, 0.008
_SURFACE_WEIGHT = 40.0
_SETTINGS = FitSettings(identity_weight=0.03, pose_weight=0.3)


class SurfaceFitter(ClipFitter):
    """Fits identity and poses to landmarks first, then to a surface as well.

    Args:
        rig: The body.
        points_TL3: Landmarks, metres, 0 where unknown.
        weights_TL: In [0, 1].
        surface_TV3: Vertices of the other body, or None.
        known: A fit whose identity and landmark offsets are taken over, or None.
    """

    def __init__(
        self,
        rig: Rig,
        points_TL3: FloatArray,
        weights_TL: FloatArray,
        surface_TV3: FloatArray | None,
        known: SurfaceFitter | None = None,
    ) -> None:
        frames = len(points_TL3)
        observations = Observations(
            pixels_CTL2=torch.zeros(0, frames, points_TL3.shape[1], 2),
            confidence_CTL=torch.zeros(0, frames, points_TL3.shape[1]),
            w2c_C44=torch.zeros(0, 4, 4),
            K_C33=torch.zeros(0, 3, 3),
            size_CT=torch.zeros(0, frames),
            points_TL3=to_tensor(points_TL3),
            points_weight_TL=to_tensor(weights_TL),
            points_spread=0.01,
            relative=False,
            frame_time=None,
        )
        super().__init__(rig, observations, _SETTINGS)
        self._landmark_share, self._surface = 1.0, surface_TV3
        self._step = 0
        if known is not None:
            self._code.data.copy_(known._code.data)
            self._offsets.data.copy_(known._offsets.data)
        if surface_TV3 is not None:
            self._prepare_surface(surface_TV3)

    def _root_from_torso(self) -> tuple[Tensor, Tensor]:
        """From the torso where it is known, else from all landmarks there are (Kabsch 1976)."""
        points, weights = self.observations.points_TL3, self.observations.points_weight_TL
        orientation, translation = super()._root_from_torso()
        neutral = self.rig.neutral_identity()[None]
        joints = self.rig.canonical_joints(neutral)
        rest = self.landmarks.canonical(self.rig.canonical_vertices(neutral), joints)[0]
        torso = (weights[:, [11, 12, 23, 24]] > 0).all(1)
        share = weights / weights.sum(1, keepdim=True).clamp(min=1e-6)
        center, rest_center = (share[..., None] * points).sum(1), share @ rest
        arms = (points - center[:, None]) * share[..., None]
        turn = nearest_rotation(arms.transpose(1, 2) @ (rest - rest_center[:, None]))
        shift = center + (turn @ (joints[0, 0] - rest_center)[..., None]).squeeze(-1)
        return (
            torch.where(torso[:, None, None], orientation, turn),
            torch.where(torso[:, None], translation, shift),
        )

    def _prepare_surface(self, surface_TV3: FloatArray) -> None:
        generator = np.random.default_rng(0)
        outer = self.rig.faces_F3[self.rig.visible_faces_F].unique().numpy()
        chosen = np.sort(generator.permutation(outer)[:_RIG_POINTS])
        self._chosen = torch.from_numpy(chosen)
        vertices = self.rig.canonical_vertices(self.rig.neutral_identity()[None])[0]
        self._normals = _vertex_normals(vertices, self.rig.faces_F3)[self._chosen]
        self._skin = self.rig.weights_VJ[self._chosen]
        count = surface_TV3.shape[1]
        self._others = np.sort(generator.permutation(count)[:_OTHER_POINTS])
        self._targets = to_tensor(surface_TV3[:, self._others])
        self._all_targets = to_tensor(surface_TV3)
        self._trees = [cKDTree(frame) for frame in surface_TV3]
        self._probes = torch.from_numpy(np.sort(generator.permutation(len(chosen))[:_OTHER_POINTS]))

    def fit(self, joint_steps: int, surface_steps: int, fit_shape: bool = True) -> None:
        """Both stages; the second one only where there is a surface."""
        surface, self._surface = self._surface, None
        first = joint_steps if surface is not None else 2 * joint_steps  # nothing comes after it
        self.optimise(first, 0.06, use_pixels=False, fit_shape=fit_shape, first_limit=300.0)
        self._surface = surface
        if surface is not None:
            self._landmark_share = 0.05
            self.optimise(surface_steps, 0.03, use_pixels=False, fit_shape=fit_shape, first_limit=20.0)

    def loss(self, use_pixels: bool, silhouette: SilhouetteTerm | None) -> Tensor:
        """Total penalty, averaged over frames."""
        pose, identity = self.pose(), self.identity()[None]
        transforms, vertices = (
            self.rig.joint_transforms(identity, pose),
            self.rig.canonical_vertices(identity),
        )
        points = self._posed_landmarks(identity, vertices, transforms)
        total = self._landmark_share * self._points_penalty(points) + self._shape_penalty()
        weight = self.settings.pose_weight * (1.0 if self._surface is None else 0.3)
        total = total + weight * self.prior.energy(pose.rotations_BJ3).mean()
        if self._surface is not None:
            total = total + _SURFACE_WEIGHT * self._surface_penalty(vertices, transforms)
        return total

    def _surface_penalty(self, vertices: Tensor, transforms: Tensor) -> Tensor:
        blended = (self._skin @ transforms[:, :, :3].flatten(2)).unflatten(2, (3, 4))
        posed = (blended[..., :3] @ vertices[0, self._chosen, :, None]).squeeze(-1) + blended[..., 3]
        normals = (blended[..., :3].detach() @ self._normals[..., None]).squeeze(-1)
        if self._step % _EVERY == 0:
            self._look_up(posed.detach().numpy())
        self._step += 1
        frames = torch.arange(len(posed))[:, None]
        # Their points against our planes, and ours against their nearest points along our normals.
        theirs = ((posed[frames, self._near_ours] - self._targets) * normals[frames, self._near_ours]).sum(-1)
        place = posed[:, self._probes] - self._all_targets[frames, self._near_theirs]
        ours = (place * normals[:, self._probes]).sum(-1)
        return self._weigh(theirs) + 0.5 * self._weigh(ours)

    def _weigh(self, distance: Tensor) -> Tensor:
        squared = (distance / _SPREAD) ** 2
        return (squared / (1 + squared / self._limit**2)).mean()

    def _look_up(self, posed_TS3: FloatArray) -> None:
        targets, probes = self._targets.numpy(), self._probes.numpy()
        ours = [cKDTree(points).query(targets[frame])[1] for frame, points in enumerate(posed_TS3)]
        theirs = [tree.query(posed_TS3[frame][probes])[1] for frame, tree in enumerate(self._trees)]
        self._near_ours, self._near_theirs = (
            torch.from_numpy(np.stack(ours)),
            torch.from_numpy(np.stack(theirs)),
        )

    def residuals(self) -> tuple[FloatArray, FloatArray | None]:
        """How far the fit stays from what was given.

        Returns:
            Root mean square over the landmarks that count, metres, ``(T,)``; and the mean distance between
            the surfaces, or None.
        """
        with torch.no_grad():
            pose, identity = self.pose(), self.identity()[None]
            transforms = self.rig.joint_transforms(identity, pose)
            vertices = self.rig.canonical_vertices(identity)
            points = self._posed_landmarks(identity, vertices, transforms)
            weight = self.observations.points_weight_TL * self.landmarks.importance_L
            squared = (points - self.observations.points_TL3).square().sum(-1)
            joints = (weight * squared).sum(1) / weight.sum(1).clamp(min=1e-6)
            if self._surface is None:
                return joints.sqrt().numpy(), None
            limit, self._limit = self._limit, 1e6
            surface = []
            for frame in range(len(points)):
                blended = (self._skin @ transforms[frame, :, :3].flatten(1)).unflatten(1, (3, 4))
                posed = (blended[..., :3] @ vertices[0, self._chosen, :, None]).squeeze(-1) + blended[..., 3]
                near = cKDTree(posed.numpy()).query(self._targets[frame].numpy())[1]
                normal = (blended[..., :3] @ self._normals[..., None]).squeeze(-1)[near]
                surface.append(float(((posed[near] - self._targets[frame]) * normal).sum(-1).abs().mean()))
            self._limit = limit
            return joints.sqrt().numpy(), np.array(surface)


def _vertex_normals(vertices_V3: Tensor, faces_F3: Tensor) -> Tensor:
    corners = vertices_V3[faces_F3]
    face_normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = torch.zeros_like(vertices_V3).index_add_(
        0, faces_F3.flatten(), face_normals.repeat_interleave(3, 0)
    )
    return torch.nn.functional.normalize(total, dim=-1)
