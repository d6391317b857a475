"""What may be drawn from a sequence: usable frames, directions of the cameras, sharpness, faces."""

from __future__ import annotations

from collections.abc import Sequence as Collection

import numpy as np
import torch

from lca_lightning.datasets.format import Sequence
from lca_lightning.datasets.sampling import Take
from lca_lightning.geometry.rotations import rotation_vector_to_matrix


def make_take(
    sequence: Sequence, cameras: Collection[str], frames_T: np.ndarray, *, lit_references: bool = False
) -> Take | None:
    """Usable frames of some cameras; None where there are none.

    A frame is usable when it is marked as valid and, where person boxes are known, the person is in it.

    Args:
        sequence: The sequence.
        cameras: Names of its cameras.
        frames_T: Frames to consider, ``(T,)`` bool.
        lit_references: In a light stage: only fully lit frames may serve as references.

    Returns:
        The take with what is known of each frame.
    """
    signals = sequence.signals
    rows: dict[str, np.ndarray] = {}
    for name in cameras:
        usable = frames_T & signals.frame_valid_T.astype(bool)
        if name in signals.person_boxes:
            usable = usable & np.isfinite(signals.person_boxes[name]).all(1)
        if usable.any():
            rows[name] = usable
    if not rows:
        return None
    lit = signals.lights.fully_lit_T.astype(bool) if lit_references and signals.lights is not None else None
    return Take(
        tuple(rows),
        np.stack(list(rows.values())),
        yaw_CT=camera_yaws(sequence, list(rows)),
        sharpness_CT=_per_camera(signals.sharpness, list(rows)),
        face_CT=_faces(signals.face_boxes, list(rows), sequence.frame_count),
        reference_T=lit,
    )


def camera_yaws(sequence: Sequence, cameras: Collection[str]) -> np.ndarray:
    """Direction from the root joint to each camera about the body's own vertical axis.

    Args:
        sequence: The sequence.
        cameras: Names of ``C`` of its cameras.

    Returns:
        ``(C, T)`` radians, 0 in front of the person, positive towards the person's left; 0 where the pose is
        unknown.
    """
    signals = sequence.signals
    rotations_T3 = torch.from_numpy(np.asarray(signals.rotations_TJ3[:, 0], np.float64))
    root_T33 = rotation_vector_to_matrix(rotations_T3).numpy()
    w2c_C44 = np.stack([sequence.cameras[name].w2c_44 for name in cameras])
    centres_C3 = -np.einsum("cji,cj->ci", w2c_C44[:, :3, :3], w2c_C44[:, :3, 3])
    towards_CT3 = centres_C3[:, None] - signals.translation_T3[None]
    local_CT3 = np.einsum("tji,ctj->cti", root_T33, towards_CT3)
    return np.nan_to_num(np.arctan2(local_CT3[..., 0], local_CT3[..., 2]))


def _per_camera(values: dict[str, np.ndarray], cameras: list[str]) -> np.ndarray | None:
    known = all(name in values for name in cameras)
    return np.stack([values[name] for name in cameras]) if known else None


def _faces(boxes: dict[str, np.ndarray], cameras: list[str], frames: int) -> np.ndarray | None:
    if not boxes:
        return None
    none = np.zeros(frames, bool)
    return np.stack([np.isfinite(boxes[name]).all(1) if name in boxes else none for name in cameras])
