"""Captures of a moving figure with exact masks, to be broken one thing at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lca_lightning.datasets.format import CameraRecord, SequenceWriter, Signals, StageLights
from lca_lightning.geometry.cameras import intrinsics_from_field_of_view, orbit_cameras
from lca_lightning.rendering.mesh import mesh_silhouette
from lca_lightning.rig.rig import Rig, RigPose

FRAMES, HEIGHT, WIDTH, FPS = 24, 160, 120, 20.0
Timing = Callable[[str, float], float]


def exact(camera: str, frame: float) -> float:
    """Every camera sees the rig's frame."""
    return frame


def motion(rig: Rig, moments_T: np.ndarray, number: int) -> RigPose:
    """Arms, legs and trunk swing and the figure walks in a circle, at any moment between frames."""
    rest = rig.rest_pose(len(moments_T))
    rotations_TJ3 = rest.rotations_BJ3.clone()
    phase_T = torch.from_numpy(moments_T).float() / FPS + number
    for joint, name in enumerate(rig.joint_names):
        if any(part in name.lower() for part in ("upperarm", "shoulder", "upperleg", "thigh", "spine")):
            speed = 2.0 + 0.37 * (joint % 7)
            rotations_TJ3[:, joint, joint % 3] += 0.35 * torch.sin(speed * phase_T + joint)
    rotations_TJ3[:, 0, 1] += 0.8 * torch.sin(0.9 * phase_T)
    translation_T3 = rest.translation_B3.clone()
    translation_T3[:, 0] += 0.25 * torch.sin(1.7 * phase_T)
    translation_T3[:, 2] += 0.25 * torch.cos(1.7 * phase_T)
    return RigPose(rotations_TJ3, translation_T3)


def write_moving_capture(
    root: Path,
    rig: Rig,
    subjects: dict[str, str],
    *,
    cameras: int = 3,
    frames: int = FRAMES,
    kind: str = "studio",
    timing: Timing = exact,
    lit: bool = False,
) -> Path:
    """Write one sequence per subject.

    Args:
        root: Folder of the data set.
        rig: Drawn as a striped silhouette.
        subjects: Split of each subject.
        cameras: On a circle around the figure.
        frames: Of each sequence.
        kind: Of the data set.
        timing: Moment of the motion, in frames, that a camera sees in a frame.
        lit: Write linear pictures with lights and layers.

    Returns:
        ``root``.
    """
    w2c_C44 = (
        orbit_cameras(cameras, rig.template_vertices_V3.mean(0) * torch.tensor([0.0, 1, 0]), 3.4, 0.1)
        .double()
        .numpy()
    )
    K_33 = intrinsics_from_field_of_view(0.7, WIDTH, HEIGHT).double().numpy()
    records = [CameraRecord(f"cam{index}", WIDTH, HEIGHT, K_33, w2c) for index, w2c in enumerate(w2c_C44)]
    for number, (subject, split) in enumerate(subjects.items()):
        options: dict[str, Any] = {"color": "linear", "layers": ("albedo",)} if lit else {}
        with SequenceWriter(
            root,
            f"{subject}_take",
            subject=subject,
            split=split,
            fps=FPS,
            cameras=records,
            rig=rig.name,
            licence="CC0-1.0",
            provenance="drawn for a test",
            kind=kind,
            consent="synthetic",
            **options,
        ) as writer:
            for record in records:
                moments_T = np.array([timing(record.name, frame) for frame in range(frames)])
                vertices_TV3 = _vertices(rig, motion(rig, moments_T, number))
                for vertices_V3 in vertices_TV3:
                    _add(writer, record, vertices_V3, rig, number, lit)
            writer.finish(_signals(rig, motion(rig, np.arange(frames), number), frames, lit))
    return root


def _vertices(rig: Rig, pose: RigPose) -> np.ndarray:
    identity_TI = rig.neutral_identity().expand(len(pose.translation_B3), -1)
    return np.asarray(rig.posed_vertices(identity_TI, pose).numpy())


def _add(
    writer: SequenceWriter, record: CameraRecord, vertices_V3: np.ndarray, rig: Rig, number: int, lit: bool
) -> None:
    faces_F3 = rig.faces_F3[rig.visible_faces_F].numpy()
    covered = mesh_silhouette(vertices_V3, faces_F3, record.w2c_44, record.K_33, HEIGHT, WIDTH)
    rows = np.arange(HEIGHT)[:, None] // (6 + 5 * number) % 2 == 0
    colors = np.array([[230, 40, 40], [40, 60, 220], [40, 200, 60], [240, 220, 60]], np.uint8)
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    striped = np.broadcast_to(rows, (HEIGHT, WIDTH))
    image[covered & striped], image[covered & ~striped] = colors[number % 4], colors[(number + 1) % 4]
    mask = np.where(covered, 255, 0).astype(np.uint8)
    if lit:
        deep = image.astype(np.uint16) * 257
        writer.add_frame(record.name, deep, mask, {"albedo": deep})
    else:
        writer.add_frame(record.name, image, mask)


def _signals(rig: Rig, pose: RigPose, frames: int, lit: bool) -> Signals:
    lights = None
    if lit:
        intensities_TL3 = np.zeros((frames, 4, 3), np.float32)
        fully_lit_T = np.arange(frames) % 3 == 0
        intensities_TL3[fully_lit_T] = 0.25
        intensities_TL3[np.arange(frames), np.arange(frames) % 4] = 1.0
        positions_L3 = np.array([[2, 2, 0], [-2, 2, 0], [0, 2, 2], [0, 2, -2]], np.float32)
        lights = StageLights(positions_L3, intensities_TL3, fully_lit_T)
    return Signals(
        identity_I=rig.neutral_identity().numpy(),
        rotations_TJ3=pose.rotations_BJ3.numpy(),
        translation_T3=pose.translation_B3.numpy(),
        expression_TE=np.zeros((frames, rig.expression_size), np.float32),
        gaze_T8=np.tile(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.float32), (frames, 1)),
        frame_valid_T=np.ones(frames, bool),
        lights=lights,
    )
