"""Fitting the rig to a whole clip: one identity, a pose per frame, by gradient descent on all frames
together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lca_lightning.geometry.cameras import project_points
from lca_lightning.geometry.rotations import (
    matrix_to_6d,
    matrix_to_rotation_vector,
    nearest_rotation,
    rotation_from_6d,
    rotation_vector_to_matrix,
)
from lca_lightning.preprocessing.landmarks import BODY_INDEX
from lca_lightning.preprocessing.observations import Observations
from lca_lightning.preprocessing.pose_prior import PosePrior, build_pose_prior
from lca_lightning.preprocessing.rig_landmarks import RigLandmarks, build_rig_landmarks
from lca_lightning.rig.rig import Rig, RigPose

_TORSO = [BODY_INDEX[f"{side}_{part}"] for part in ("shoulder", "hip") for side in ("left", "right")]
# How well one camera places a body by the detector's metric guess, metres.
PLACEMENT_SPREAD = 0.3
# How far a calibrated camera may have been knocked: standard deviations of its turn and shift.
CAMERA_TURN, CAMERA_SHIFT = 0.005, 0.02
# A body and all cameras moved together look the same: fewer cameras than this stay where they are.
FEWEST_MOVED_CAMERAS = 3
_FROZEN_IDENTITY = ("african", "asian", "caucasian", "cupsize", "firmness")


@dataclass(frozen=True)
class FitSettings:
    """Weights and lengths of the optimisation; lengths in shares of the person's stature or SI units.

    Attributes:
        pixel_spread: Standard deviation of a landmark, as a share of the apparent stature.
        robust_limit: Residuals count less beyond this many standard deviations (Geman-McClure).
        identity_spread: Standard deviation of identity values about neutral, as a share of their range.
        age_spread: The same for age, which one camera cannot tell from distance.
        acceleration: Standard deviation of landmark accelerations, m/s^2.
        identity_weight: Weight of the identity prior.
        offset_scale: Factor on the offsets landmarks may learn.
        pose_weight: Weight of the pose prior.
        silhouette_weight: Weight of the silhouette term, where one is given.
        steps: Optimiser steps: points in space, then pictures, then silhouettes.
    """

    pixel_spread: float = 0.012
    robust_limit: float = 3.0
    identity_spread: float = 0.25
    age_spread: float = 0.08
    acceleration: float = 60.0
    identity_weight: float = 0.1
    offset_scale: float = 1.0
    pose_weight: float = 1.0
    silhouette_weight: float = 1.0
    steps: tuple[int, int, int] = (120, 160, 160)


@dataclass(frozen=True)
class RigFit:
    """A fitted clip.

    Attributes:
        identity_I: Identity of the person.
        rotations_TJ3: Rotation vectors in radians, ``(T, J, 3)``.
        translation_T3: Root positions in metres, ``(T, 3)``.
        offsets_L3: Where the detector's landmarks sit relative to the rig's, rest pose, metres, ``(L, 3)``.
        w2c_C44: World to camera after the fit, ``(C, 4, 4)``; several calibrated cameras move a little.
    """

    identity_I: Tensor
    rotations_TJ3: Tensor
    translation_T3: Tensor
    offsets_L3: Tensor
    w2c_C44: Tensor

    @property
    def pose(self) -> RigPose:
        """All frames as one batch."""
        return RigPose(self.rotations_TJ3, self.translation_T3)

    def frame_pose(self, frame: int) -> RigPose:
        """One frame as a batch of one."""
        return RigPose(self.rotations_TJ3[frame : frame + 1], self.translation_T3[frame : frame + 1])


class SilhouetteTerm(Protocol):
    """Masks to compare with, a few at a time; see ``silhouette.SilhouettePenalty``."""

    vertices_S: Tensor
    camera: Tensor
    frame: Tensor

    def draw(self) -> Tensor: ...

    def __call__(self, pixels_NS2: Tensor, chosen_N: Tensor) -> Tensor: ...


Progress = Callable[[int], object]


class ClipFitter:
    """Holds the unknowns of one clip and their penalties.

    Args:
        rig: The body.
        observations: What was measured.
        settings: Weights.
        start: An earlier fit of the same frames to start from.
    """

    def __init__(
        self, rig: Rig, observations: Observations, settings: FitSettings, start: RigFit | None = None
    ) -> None:
        self.rig, self.observations, self.settings = rig, observations, settings
        self.landmarks: RigLandmarks = build_rig_landmarks(rig)
        self.prior: PosePrior = build_pose_prior(rig)
        bounds = rig.identity_bounds()
        self._low, self._range = bounds[:, 0], bounds[:, 1] - bounds[:, 0]
        self._neutral = (rig.neutral_identity() - self._low) / self._range
        spread = torch.full_like(self._neutral, settings.identity_spread)
        spread[[index for index, name in enumerate(rig.identity_names) if name == "age"]] = (
            settings.age_spread
        )
        self._identity_spread = spread
        self._identity_free = torch.tensor([name not in _FROZEN_IDENTITY for name in rig.identity_names])
        frames, joints = observations.frame_count, len(rig.joint_names)
        if start is None:
            orientation_T33, translation = self._root_from_torso()
            rotations = torch.zeros(frames, joints, 3)
            code, offsets = torch.logit(self._neutral), torch.zeros(len(self.landmarks.importance_L), 3)
        else:
            orientation_T33 = rotation_vector_to_matrix(start.rotations_TJ3[:, 0])
            rotations, translation, offsets = (
                start.rotations_TJ3.clone(),
                start.translation_T3,
                start.offsets_L3,
            )
            code = self._code_of(start.identity_I)
        self._limit = settings.robust_limit
        self._root = matrix_to_6d(orientation_T33).detach().clone().requires_grad_()
        self._rotations = rotations.detach().clone().requires_grad_()
        self._translation = translation.detach().clone().requires_grad_()
        self._code = code.detach().clone().requires_grad_()
        self._offsets = offsets.detach().clone().requires_grad_()
        cameras = len(observations.w2c_C44)
        self._camera_turns = torch.zeros(cameras, 3, requires_grad=True)
        self._camera_shifts = torch.zeros(cameras, 3, requires_grad=True)

    def _root_from_torso(self) -> tuple[Tensor, Tensor]:
        """Root orientation and position per frame from shoulders and hips by alignment (Kabsch 1976)."""
        neutral = self.rig.neutral_identity()[None]
        joints = self.rig.canonical_joints(neutral)
        rest = self.landmarks.canonical(self.rig.canonical_vertices(neutral), joints)[0, _TORSO]
        points, weights = (
            self.observations.points_TL3[:, _TORSO],
            self.observations.points_weight_TL[:, _TORSO],
        )
        usable = (weights > 0).all(1)
        usable_frames = torch.nonzero(usable).flatten()
        if len(usable_frames) == 0:
            return torch.eye(3).expand(len(points), 3, 3), joints[0, 0].expand(len(points), 3)
        center, rest_center = points.mean(1, keepdim=True), rest.mean(0)
        covariance = (points - center).transpose(1, 2) @ (rest - rest_center)
        orientation = nearest_rotation(covariance)
        translation = center[:, 0] + (orientation @ (joints[0, 0] - rest_center)[:, None]).squeeze(-1)
        nearest = usable_frames[(torch.arange(len(points))[:, None] - usable_frames).abs().argmin(1)]
        return orientation[nearest], translation[nearest]

    def _code_of(self, identity_I: Tensor) -> Tensor:
        return torch.logit(((identity_I - self._low) / self._range).clamp(1e-4, 1 - 1e-4))

    def identity(self) -> Tensor:
        """Current identity inside its bounds, ``(I,)``."""
        share = torch.where(self._identity_free, torch.sigmoid(self._code), self._neutral)
        return self._low + share * self._range

    def pose(self) -> RigPose:
        """Current pose of all frames."""
        root = matrix_to_rotation_vector(rotation_from_6d(self._root))
        local = torch.where(self.prior.free_J[:, None], self._rotations, torch.zeros_like(self._rotations))
        return RigPose(torch.cat([root[:, None], local[:, 1:]], 1), self._translation)

    def world_to_camera(self) -> Tensor:
        """Current cameras: the calibrated ones after their turns and shifts, ``(C, 4, 4)``."""
        move = torch.eye(4).repeat(len(self._camera_turns), 1, 1)
        upper = torch.cat([rotation_vector_to_matrix(self._camera_turns), self._camera_shifts[..., None]], 2)
        return torch.cat([upper, move[:, 3:]], 1) @ self.observations.w2c_C44

    def result(self) -> RigFit:
        """The current fit, detached."""
        with torch.no_grad():
            pose = self.pose()
            translation, offsets = pose.translation_B3.detach().clone(), self._offsets.detach().clone()
            return RigFit(self.identity(), pose.rotations_BJ3, translation, offsets, self.world_to_camera())

    def optimise(
        self,
        steps: int,
        rate: float,
        use_pixels: bool,
        fit_shape: bool = True,
        silhouette: SilhouetteTerm | None = None,
        progress: Progress | None = None,
        first_limit: float | None = None,
        move_cameras: bool = False,
    ) -> None:
        """Run Adam with a cosine-decayed rate.

        Args:
            steps: Number of steps.
            rate: Largest step in radians; other unknowns scale with it.
            use_pixels: Whether reprojection counts, or only points in space.
            fit_shape: Whether identity and landmark offsets move.
            silhouette: Masks to compare with.
            progress: Called with 1 per step.
            first_limit: Robust limit at the start, in standard deviations; shrinks to the settings' halfway,
                so
                that a far start is still pulled in.
            move_cameras: Whether cameras leave their calibrated place.
        """
        groups = [
            {"params": [self._root, self._rotations], "lr": rate},
            {"params": [self._translation], "lr": 0.5 * rate},
        ]
        if fit_shape:
            groups += [{"params": [self._code], "lr": rate}, {"params": [self._offsets], "lr": 0.03 * rate}]
        if move_cameras:
            groups += [
                {"params": [self._camera_turns], "lr": 0.05 * rate},
                {"params": [self._camera_shifts], "lr": 0.1 * rate},
            ]
        optimiser = torch.optim.Adam(groups, betas=(0.9, 0.98))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, eta_min=0.05 * rate)
        final = self.settings.robust_limit
        for step in range(steps):
            share = min(2 * step / steps, 1.0)
            self._limit = final if first_limit is None else first_limit * (final / first_limit) ** share
            optimiser.zero_grad()
            loss = self.loss(use_pixels, silhouette)
            loss.backward()
            optimiser.step()
            schedule.step()
            if progress is not None:
                progress(1)

    def loss(self, use_pixels: bool, silhouette: SilhouetteTerm | None) -> Tensor:
        """Total penalty, averaged over frames."""
        settings, pose = self.settings, self.pose()
        identity = self.identity()[None]
        transforms = self.rig.joint_transforms(identity, pose)
        vertices = self.rig.canonical_vertices(identity)
        points = self._posed_landmarks(identity, vertices, transforms)
        total = self._points_penalty(points) * (0.2 if use_pixels else 1.0)
        if use_pixels:
            total = total + self._pixel_penalty(points)
        total = total + settings.pose_weight * self.prior.energy(pose.rotations_BJ3).mean()
        total = total + self._motion_penalty(points, pose) + self._shape_penalty()
        if silhouette is not None:
            total = total + settings.silhouette_weight * self._outline_penalty(
                silhouette, vertices, transforms
            )
        return total + self._camera_penalty() + self.further_penalty(vertices, transforms)

    def further_penalty(self, vertices_1V3: Tensor, transforms_TJ44: Tensor) -> Tensor:
        """What children fit to besides, averaged over frames; from the rest shape and the posed joints."""
        return transforms_TJ44.new_zeros(())

    def _outline_penalty(self, silhouette: SilhouetteTerm, vertices: Tensor, transforms: Tensor) -> Tensor:
        chosen = silhouette.draw()
        camera, frame, index = silhouette.camera[chosen], silhouette.frame[chosen], silhouette.vertices_S
        posed = skin_subset(vertices[0, index], self.rig.weights_VJ[index], transforms[frame])
        seen = self.observations
        K = seen.K_C33[camera, frame] if seen.K_C33.dim() == 4 else seen.K_C33[camera]
        pixels, _ = project_points(posed, self.world_to_camera()[camera], K)
        return silhouette(pixels, chosen)

    def _posed_landmarks(self, identity: Tensor, vertices: Tensor, transforms: Tensor) -> Tensor:
        rest = self.landmarks.canonical(vertices, self.rig.canonical_joints(identity))[0] + self._offsets
        return skin_subset(rest, self.landmarks.skin_weights_LJ, transforms)

    def _points_penalty(self, points_TL3: Tensor) -> Tensor:
        measured, weight = self.observations.points_TL3, self.observations.points_weight_TL
        weight = weight * self.landmarks.importance_L
        difference = points_TL3 - measured
        placement = points_TL3.new_zeros(())
        if self.observations.relative:
            share = weight[..., None] / weight.sum(1)[:, None, None].clamp(min=1e-6)
            shift = (share * difference).sum(1, keepdim=True)
            difference = difference - shift
            # Weak, so that pictures decide, but enough to keep the body from drifting before they count.
            placement = ((shift / PLACEMENT_SPREAD) ** 2).sum((1, 2)).mean()
        squared = (difference**2).sum(-1) / self.observations.points_spread**2
        return (weight * robust(squared, self._limit)).sum(1).mean() + placement

    def _pixel_penalty(self, points_TL3: Tensor) -> Tensor:
        distance = self._pixel_distance(points_TL3) / (
            self.settings.pixel_spread * self.observations.size_CT[..., None]
        )
        weight = self.observations.confidence_CTL * self.landmarks.importance_L
        penalty = weight * robust(distance**2, self._limit)
        return 2.0 * penalty.sum(2).mean()

    def _pixel_distance(self, points_TL3: Tensor) -> Tensor:
        seen = self.observations
        K = seen.K_C33 if seen.K_C33.dim() == 4 else seen.K_C33[:, None]
        pixels, depth = project_points(points_TL3[None], self.world_to_camera()[:, None], K)
        distance = (pixels - seen.pixels_CTL2).pow(2).sum(-1).clamp(min=1e-12).sqrt()
        # A point behind the camera gets a large but pulling distance.
        return torch.where(depth > 0.05, distance, 1e3 * (0.06 - depth.clamp(max=0.05)))

    def _motion_penalty(self, points_TL3: Tensor, pose: RigPose) -> Tensor:
        time = self.observations.frame_time
        if time is None or len(points_TL3) < 3:
            return points_TL3.new_zeros(())
        acceleration = (points_TL3[2:] - 2 * points_TL3[1:-1] + points_TL3[:-2]) / time**2
        smooth = (acceleration**2).sum(-1) / self.settings.acceleration**2
        local = pose.rotations_BJ3[:, 1:]
        turn = (local[2:] - 2 * local[1:-1] + local[:-2]) / time**2
        weighted = (robust(smooth, 4.0) * self.landmarks.importance_L).sum(1).mean()
        # 100 rad/s^2 is a brisk change of a joint's speed.
        return 0.3 * weighted + 0.05 * ((turn / 100.0) ** 2).sum((1, 2)).mean()

    def _camera_penalty(self) -> Tensor:
        turns, shifts = self._camera_turns / CAMERA_TURN, self._camera_shifts / CAMERA_SHIFT
        return 0.1 * (turns.square().sum() + shifts.square().sum())

    def _shape_penalty(self) -> Tensor:
        share = torch.where(self._identity_free, torch.sigmoid(self._code), self._neutral)
        shape = (((share - self._neutral) / self._identity_spread) ** 2).sum()
        spread = self.landmarks.offset_spread_L * self.settings.offset_scale
        offset = ((self._offsets / spread[:, None]) ** 2).sum()
        return self.settings.identity_weight * (shape + offset)


def robust(squared: Tensor, limit: float) -> Tensor:
    """Geman-McClure: quadratic near zero, saturating at ``limit`` squared.

    Args:
        squared: Squared residuals in standard deviations, any shape.
        limit: Standard deviations beyond which a residual counts less.

    Returns:
        Penalties of the same shape.
    """
    return squared / (1 + squared / limit**2)


def skin_subset(rest_N3: Tensor, weights_NJ: Tensor, transforms_TJ44: Tensor) -> Tensor:
    """Rest points under blended joint transforms (linear blend skinning).

    Args:
        rest_N3: A few points, metres.
        weights_NJ: How joints carry each, rows sum to 1.
        transforms_TJ44: Rest to posed, per frame.

    Returns:
        Posed positions, metres, ``(T, N, 3)``.
    """
    blended = (weights_NJ @ transforms_TJ44[:, :, :3].flatten(2)).unflatten(2, (3, 4))
    return (blended[..., :3] @ rest_N3[..., None]).squeeze(-1) + blended[..., 3]


def fit_clip(
    rig: Rig,
    observations: Observations,
    settings: FitSettings | None = None,
    silhouette: SilhouetteTerm | None = None,
    progress: Progress | None = None,
    start: RigFit | None = None,
    move_cameras: bool = True,
) -> RigFit:
    """Fit identity and poses of one clip.

    Args:
        rig: The body.
        observations: Landmarks in cameras and in space.
        settings: Weights; the defaults suit several calibrated cameras.
        silhouette: Masks for the last stage.
        progress: Called with 1 per optimiser step.
        start: An earlier fit of the same frames.
        move_cameras: Whether several calibrated cameras may leave their place in the last stage.

    Returns:
        The fit.
    """
    settings = settings or FitSettings()
    fitter = ClipFitter(rig, observations, settings, start)
    in_space, in_pictures, outline = settings.steps
    if start is None:
        fitter.optimise(in_space, 0.06, use_pixels=False, progress=progress, first_limit=300.0)
    fitter.optimise(in_pictures, 0.02, use_pixels=True, progress=progress, first_limit=15.0)
    if silhouette is not None:
        several = len(observations.w2c_C44) >= FEWEST_MOVED_CAMERAS
        moved = move_cameras and several and not observations.relative
        fitter.optimise(
            outline, 0.01, use_pixels=True, silhouette=silhouette, progress=progress, move_cameras=moved
        )
    return fitter.result()


def reprojection_errors(rig: Rig, observations: Observations, fit: RigFit) -> Tensor:
    """Distance in pixels between projected rig landmarks and detections, NaN where not measured, ``(C, T,
    L)``.
    """
    fitter = ClipFitter(rig, observations, FitSettings(), fit)
    with torch.no_grad():
        identity = fit.identity_I[None]
        points = fitter._posed_landmarks(
            identity, rig.canonical_vertices(identity), rig.joint_transforms(identity, fit.pose)
        )
        distance = fitter._pixel_distance(points)
        seen = (observations.confidence_CTL > 0) & (fitter.landmarks.importance_L > 0)
        return torch.where(seen, distance, torch.full_like(distance, torch.nan))
