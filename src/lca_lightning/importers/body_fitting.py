"""Bodies of public data sets brought to our rig: identity and a pose per frame, with how well it went."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from lca_lightning.datasets.signals import Signals
from lca_lightning.errors import DataError
from lca_lightning.importers.body_points import landmark_points, vertex_points
from lca_lightning.importers.frame_reasons import left_out
from lca_lightning.importers.smpl_family import body_in_world, load_body_model
from lca_lightning.importers.source import JointsBody, MeshBody, RigBody, SmplBody
from lca_lightning.preprocessing.observations import Observations, to_tensor
from lca_lightning.preprocessing.rig_fitting import FitSettings, RigFit
from lca_lightning.preprocessing.surface_fitting import SurfaceFitter
from lca_lightning.rig.rig import Rig

FloatArray = NDArray[np.floating]
# A frame is not used when its landmarks or surface stay farther away than this, metres.
WORST_LANDMARKS, WORST_SURFACE = 0.08, 0.03
# Landmarks that a frame must have: fewer say nothing of a pose.
FEWEST_LANDMARKS = 8
_SHAPE_FRAMES, _CHUNK = 16, 48
_STEPS = (60, 240)
_POINT_SPREAD = 0.01
_FAMILY = {"smpl": "SMPL", "smplh": "SMPL-H", "smplx": "SMPL-X"}


@dataclass(frozen=True)
class _Targets:
    """What the rig is fitted to: landmarks, their weights, and a surface or None."""

    points_TL3: FloatArray
    weights_TL: FloatArray
    surface_TV3: FloatArray | None

    def at(self, frames: NDArray[np.int64]) -> _Targets:
        """The same for some frames."""
        surface = None if self.surface_TV3 is None else self.surface_TV3[frames]
        return _Targets(self.points_TL3[frames], self.weights_TL[frames], surface)

    @property
    def observations(self) -> Observations:
        """Points in space that no camera saw."""
        frames, landmarks = self.weights_TL.shape
        return Observations(
            pixels_CTL2=torch.zeros(0, frames, landmarks, 2),
            confidence_CTL=torch.zeros(0, frames, landmarks),
            w2c_C44=torch.zeros(0, 4, 4),
            K_C33=torch.zeros(0, 3, 3),
            size_CT=torch.zeros(0, frames),
            points_TL3=to_tensor(self.points_TL3),
            points_weight_TL=to_tensor(self.weights_TL),
            points_spread=_POINT_SPREAD,
            relative=False,
            frame_time=None,
        )


def fit_body(
    rig: Rig,
    source: JointsBody | MeshBody | SmplBody | RigBody,
    frames: int,
    body_model: Path | None,
    steps: tuple[int, int] | None = None,
) -> tuple[Signals | None, str]:
    """Bring a body to our rig.

    Args:
        rig: Our rig; only ``anny`` has the landmarks that fitting needs.
        source: What the data set says of the body.
        frames: Frames that are wanted; the source must have as many.
        body_model: File of the SMPL-family model that the user supplies, or None.
        steps: Optimiser steps with landmarks, then with the surface.

    Returns:
        The rig's values, or None where the body was not converted; and a few words on what happened, with
        the residuals in millimetres.

    Raises:
        DataError: The body has another number of frames, or the model file cannot be used.
    """
    if isinstance(source, RigBody):
        return source.signals, "the source's own rig values"
    if isinstance(source, SmplBody) and body_model is None and source.instead is not None:
        source = source.instead
    if isinstance(source, SmplBody) and body_model is None:
        family = _FAMILY.get(source.model, source.model)
        return None, (
            f"not converted: the set stores {family} parameters, and posing them needs the {family} model "
            "file, which you can give with --body-model FILE"
        )
    targets, what = _targets(source, body_model)
    if len(targets.points_TL3) != frames:
        raise DataError(
            f"The body has {len(targets.points_TL3)} frames but {frames} were asked for; get its file again."
        )
    usable = np.flatnonzero((targets.weights_TL > 0).sum(1) >= FEWEST_LANDMARKS)
    if targets.surface_TV3 is not None:
        usable = usable[np.isfinite(targets.surface_TV3[usable]).all((1, 2))]
    if len(usable) == 0:
        return None, f"not converted: {what} has no frame with enough known points"
    return _fit(rig, targets, usable, frames, what, steps or _STEPS)


def _targets(source: JointsBody | MeshBody | SmplBody, body_model: Path | None) -> tuple[_Targets, str]:
    if isinstance(source, JointsBody):
        points, weights = landmark_points(source.names, source.positions_TP3, source.confidence_TP)
        return _Targets(points, weights, None), "its joints"
    if isinstance(source, SmplBody):
        assert body_model is not None
        model = load_body_model(body_model)
        vertices, joints = body_in_world(model, source)
        source = MeshBody(model.kind, vertices, JointsBody(model.joint_names, joints))
    names, places = vertex_points(source.topology, source.vertices_TV3)
    if source.joints is not None:
        names = (*names, *source.joints.names)
        places = np.concatenate([places, source.joints.positions_TP3], 1)
    points, weights = landmark_points(names, places)
    family = _FAMILY.get(source.topology)
    return _Targets(points, weights, source.vertices_TV3), f"its {family} mesh" if family else "its surface"


def _fit(
    rig: Rig,
    targets: _Targets,
    usable: NDArray[np.int64],
    frames: int,
    what: str,
    steps: tuple[int, int],
) -> tuple[Signals, str]:
    spread = np.unique(np.linspace(0, len(usable) - 1, min(len(usable), _SHAPE_FRAMES)).round().astype(int))
    shape = _fitter(rig, targets.at(usable[spread]), steps)
    shape.fit()
    known = shape.result()
    chunks = [usable[start : start + _CHUNK] for start in range(0, len(usable), _CHUNK)]
    joints = len(rig.joint_names)
    rotations, translation = np.zeros((frames, joints, 3)), np.zeros((frames, 3))
    landmark_error, surface_error = np.full(frames, np.nan), np.full(frames, np.nan)
    for chunk in tqdm(chunks, desc="bringing the body to the rig", leave=False, disable=len(chunks) < 2):
        fitter = shape
        if len(spread) < len(usable):
            fitter = _fitter(rig, targets.at(chunk), steps, known)
            fitter.fit(fit_shape=False)
        result = fitter.result()
        rotations[chunk], translation[chunk] = result.rotations_TJ3.numpy(), result.translation_T3.numpy()
        landmark_error[chunk], surface_error[chunk] = fitter.residuals()
    far = np.nan_to_num(landmark_error, nan=np.inf) > WORST_LANDMARKS
    # Joints of other bodies lie elsewhere than ours; where there is a surface, it decides.
    bad = far if targets.surface_TV3 is None else np.nan_to_num(surface_error, nan=np.inf) > WORST_SURFACE
    nearest = usable[np.abs(usable[None] - np.arange(frames)[:, None]).argmin(1)]
    signals = Signals(
        identity_I=known.identity_I.numpy().astype(np.float32),
        rotations_TJ3=rotations[nearest].astype(np.float32),
        translation_T3=translation[nearest].astype(np.float32),
        expression_TE=np.zeros((frames, rig.expression_size), np.float32),
        gaze_T8=np.zeros((frames, 8), np.float32),
        frame_valid_T=~bad,
    )
    words = f"fitted to {what}: landmarks within {1000 * np.nanmedian(landmark_error):.0f} mm"
    if targets.surface_TV3 is not None:
        words += f", surface within {1000 * np.nanmedian(surface_error):.0f} mm"
    reasons = left_out(
        [
            (
                int(frame),
                _reason(landmark_error[frame], surface_error[frame], targets.surface_TV3 is not None),
            )
            for frame in np.flatnonzero(bad)
        ]
    )
    return signals, f"{words} (medians), {int((~bad).sum())} of {frames} frames usable{reasons}"


def _reason(landmarks: float, surface: float, with_surface: bool) -> str:
    """Why a frame is not used."""
    what, away, most = "landmarks", landmarks, WORST_LANDMARKS
    if with_surface:
        what, away, most = "surface", surface, WORST_SURFACE
    if not np.isfinite(away):
        return "too few of its points are known"
    return f"{what} {1000 * away:.0f} mm away (at most {1000 * most:.0f})"


def _fitter(
    rig: Rig, targets: _Targets, steps: tuple[int, int], known: RigFit | None = None
) -> SurfaceFitter:
    on_landmarks, on_surface = steps
    surfaces: list[FloatArray | None] = [None] * len(targets.points_TL3)
    if targets.surface_TV3 is None:
        on_landmarks *= 2  # nothing comes after them
    else:
        surfaces = list(targets.surface_TV3)
    settings = FitSettings(identity_weight=0.03, pose_weight=0.3, steps=(on_landmarks, 0, on_surface))
    with torch.random.fork_rng(devices=[]):  # nothing here may disturb the caller's draws
        return SurfaceFitter(rig, targets.observations, surfaces, settings, known)
