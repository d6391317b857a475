"""Samples of a light stage: linear pictures, lamps, and poses between the frames they were fitted in."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from lca_lightning.batch import Driving, Lighting
from lca_lightning.datasets.crops import FrameCrop, cut_values
from lca_lightning.datasets.format import Sequence
from lca_lightning.datasets.frame_store import Shot
from lca_lightning.datasets.linear_light import srgb_to_linear
from lca_lightning.datasets.samples import SampleBuilder
from lca_lightning.datasets.signals import Signals, StageLights
from lca_lightning.errors import DataError

POSE_FITTED = "pose_fitted"  # key of a sequence's quality values
_GREY = np.float32(srgb_to_linear(np.array(128 / 255)))  # outside the picture, as targets are
FULLY_LIT = "fully_lit"  # its value where the body was fitted in fully lit frames only


class LightStageBuilder(SampleBuilder):
    """Fills in ``Batch.lighting``, and poses of frames that were too dark to fit (LCA section 3.4)."""

    def driving(self, sequence: Sequence, frames: list[int]) -> Driving:
        """Pose, expression and gaze; interpolated where only fully lit frames were fitted."""
        fitted_T = fitted_frames(sequence)
        if fitted_T is None:
            return super().driving(sequence, frames)
        if not fitted_T.any():
            raise DataError(f"Sequence {sequence.id} has no valid fully lit frame to take poses from.")
        rows = interpolate_signals(sequence.signals, fitted_T, np.array(frames, int))
        return Driving(*(torch.from_numpy(row.astype(np.float32))[None] for row in rows))

    def lighting(self, sequence: Sequence, targets: tuple[Shot, ...], crops: list[FrameCrop]) -> Lighting:
        """Lamps and linear pictures of the targets, with albedo and normals where the sequence has them.

        Raises:
            DataError: The sequence stores no lights.
        """
        lights = require_lights(sequence)
        frames = [shot.frame for shot in targets]
        positions_L3 = torch.from_numpy(np.asarray(lights.positions_L3, np.float32))
        layers = {name: _cut_layer(sequence, targets, crops, name) for name in sequence.layers}
        return Lighting(
            positions_BTL3=positions_L3.expand(1, len(frames), -1, -1).clone(),
            intensities_BTL3=torch.from_numpy(np.asarray(lights.intensities_TL3[frames], np.float32))[None],
            reference_distance_B=torch.tensor([lights.reference_distance], dtype=torch.float32),
            fully_lit_BT=torch.from_numpy(lights.fully_lit_T[frames].astype(bool))[None],
            linear_images_BT3HW=_cut_layer(sequence, targets, crops, None),
            albedo_BT3HW=layers.get("albedo"),
            normals_BT3HW=_unit(layers["normal"]) if "normal" in layers else None,
        )


def fitted_frames(sequence: Sequence) -> np.ndarray | None:
    """Frames whose poses others are interpolated from, ``(T,)`` bool; None where every pose is as stored."""
    lights = sequence.signals.lights
    if lights is None or sequence.quality.get(POSE_FITTED) != FULLY_LIT:
        return None
    return lights.fully_lit_T.astype(bool) & sequence.signals.frame_valid_T.astype(bool)


def _cut_layer(
    sequence: Sequence, targets: tuple[Shot, ...], crops: list[FrameCrop], layer: str | None
) -> Tensor:
    """True values, or linear pictures for None, cut as the targets are, ``(1, T, 3, H, W)``."""
    found: dict[Shot, np.ndarray] = {}
    outside = _GREY if layer is None else np.float32(0)
    boxes = dict(zip(targets, crops, strict=True))
    for camera in dict.fromkeys(shot.camera for shot in targets):
        shots = [shot for shot in boxes if shot.camera == camera]
        frames = [shot.frame for shot in shots]
        if layer is None:
            pictures = _linear_pictures(sequence, camera, frames)
        else:
            pictures = sequence.read_layer(camera, layer, frames)
        for shot, picture in zip(shots, pictures, strict=True):
            crop = boxes[shot]
            assert crop.box is not None  # cuts of a frame store have one
            size = (crop.mask_HW.shape[0], crop.mask_HW.shape[1])
            shifted = np.ascontiguousarray(picture - outside, np.float32)  # outside the picture cuts are 0
            found[shot] = cut_values(shifted, crop.box, size) + outside
    stacked = np.stack([found[shot] for shot in targets])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2)[None].contiguous()


def require_lights(sequence: Sequence) -> StageLights:
    """The lamps of a sequence.

    Raises:
        DataError: It stores none, or no frame is fully lit.
    """
    lights = sequence.signals.lights
    if lights is None or not lights.fully_lit_T.any():
        lacking = "no lights" if lights is None else "no fully lit frame for references"
        raise DataError(
            f"Sequence {sequence.id} stores {lacking}; read such data with lca_data_modules.StudioDataModule."
        )
    return lights


def _linear_pictures(sequence: Sequence, camera: str, frames: list[int]) -> np.ndarray:
    """Linear light of frames, ``(n, H, W, 3)`` float32; photos are taken back through the sRGB curve."""
    if sequence.color == "linear":
        return sequence.read_linear(camera, frames)
    return srgb_to_linear(sequence.read_frames(camera, frames)[0] / np.float32(255)).astype(np.float32)


def _unit(normals_BT3HW: Tensor) -> Tensor:
    """Normals at length 1 where the person is, 0 elsewhere; averaging at edges shortens them."""
    length = normals_BT3HW.norm(dim=2, keepdim=True)
    return torch.where(length > 0.1, normals_BT3HW / length.clamp(min=1e-6), torch.zeros_like(length))


def interpolate_signals(
    signals: Signals, fitted_T: np.ndarray, frames_F: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Rig values of frames, from the nearest fitted frames before and after each.

    Rotations turn at constant speed about one axis per joint, everything else changes linearly; before the
    first and after the last fitted frame its values hold.

    Args:
        signals: Rig values; those of frames that were not fitted are not looked at.
        fitted_T: True for fitted frames, at least one, ``(T,)``.
        frames_F: Frame indices wanted.

    Returns:
        Rotations ``(F, J, 3)``, translation ``(F, 3)``, expression ``(F, E)`` and gaze ``(F, 8)``.
    """
    known = np.flatnonzero(fitted_T)
    before = known[np.clip(np.searchsorted(known, frames_F, side="right") - 1, 0, None)]
    after = known[np.clip(np.searchsorted(known, frames_F, side="left"), None, len(known) - 1)]
    weight_F = np.where(after > before, (frames_F - before) / np.maximum(after - before, 1), 0.0)
    joints = signals.rotations_TJ3.shape[1]
    start = Rotation.from_rotvec(signals.rotations_TJ3[before].reshape(-1, 3))
    end = Rotation.from_rotvec(signals.rotations_TJ3[after].reshape(-1, 3))
    turn = (start.inv() * end).as_rotvec() * np.repeat(weight_F, joints)[:, None]
    rotations = (start * Rotation.from_rotvec(turn)).as_rotvec().reshape(-1, joints, 3)
    translation, expression, gaze = (
        values[before] + weight_F[:, None] * (values[after] - values[before])
        for values in (signals.translation_T3, signals.expression_TE, signals.gaze_T8)
    )
    for eye in (0, 4):
        # between a known and an unknown direction there is none
        gaze[:, eye + 3] = np.minimum(signals.gaze_T8[before, eye + 3], signals.gaze_T8[after, eye + 3])
        length = np.linalg.norm(gaze[:, eye : eye + 3], axis=1, keepdims=True)
        gaze[:, eye : eye + 3] /= np.maximum(length, 1e-6)
    return rotations, translation, expression, gaze
