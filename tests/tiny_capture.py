"""A minimal capture on disk for tests of the training commands: a figure of the rig in painted stripes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from lca_lightning.datasets.format import CameraRecord, SequenceWriter, Signals, StageLights
from lca_lightning.geometry.cameras import (
    intrinsics_from_field_of_view,
    orbit_cameras,
    project_points,
)
from lca_lightning.rig.rig import Rig, RigPose

FRAMES, HEIGHT, WIDTH = 4, 128, 96


def write_capture(root: Path, rig: Rig, subjects: dict[str, str], cameras: int, kind: str) -> Path:
    """Write one short sequence per subject.

    Args:
        root: Folder of the data set.
        rig: Whose vertices are drawn as coloured dots, with exact cameras and poses.
        subjects: Split of each subject.
        cameras: Cameras on a circle around the figure.
        kind: ``wild``, ``studio``, or ``light_stage``: one lamp, and only the last frame not fully lit.

    Returns:
        ``root``.
    """
    w2c_C44 = orbit_cameras(cameras, torch.tensor([0.0, 0.9, 0.0]), 2.6, 0.1)
    K_33 = intrinsics_from_field_of_view(0.9, WIDTH, HEIGHT)
    records = [
        CameraRecord(f"cam{index}", WIDTH, HEIGHT, K_33.double().numpy(), w2c_44.double().numpy())
        for index, w2c_44 in enumerate(w2c_C44)
    ]
    generator = torch.Generator().manual_seed(0)
    for number, (subject, split) in enumerate(subjects.items()):
        rest = rig.rest_pose(FRAMES)
        rotations_TJ3 = rest.rotations_BJ3 + 0.1 * torch.randn(rest.rotations_BJ3.shape, generator=generator)
        identity_BI = rig.neutral_identity().expand(FRAMES, -1)
        vertices_TV3 = rig.posed_vertices(identity_BI, RigPose(rotations_TJ3, rest.translation_B3))
        options = dict(subject=subject, split=split, fps=10, rig=rig.name, licence="CC0", provenance="test")
        with SequenceWriter(root, f"{subject}_take", cameras=records, kind=kind, **options) as writer:
            for record, w2c_44 in zip(records, w2c_C44, strict=True):
                for vertices_V3 in vertices_TV3:
                    writer.add_frame(record.name, *draw(vertices_V3, w2c_44, K_33, number))
            lights = stage_lights() if kind == "light_stage" else None
            writer.finish(signals(rig, rotations_TJ3, rest.translation_B3, records, lights))
    return root


def draw(
    vertices_V3: torch.Tensor, w2c_44: torch.Tensor, K_33: torch.Tensor, number: int
) -> tuple[np.ndarray, np.ndarray]:
    """Dots of 3x3 pixels at the vertices, striped by height, and the mask they cover."""
    pixels_V2, _ = project_points(vertices_V3[None], w2c_44[None], K_33[None])
    columns, rows = pixels_V2[0].round().long().unbind(1)
    image, mask = np.full((HEIGHT, WIDTH, 3), 90, np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)
    stripe_V = (vertices_V3[:, 1] * 8).long().numpy() % 2
    color_V3 = np.where(stripe_V[:, None] == 1, [220, 60, 40 + 100 * (number % 2)], [30, 80, 200])
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            y, x = (rows + down).clamp(0, HEIGHT - 1).numpy(), (columns + right).clamp(0, WIDTH - 1).numpy()
            image[y, x], mask[y, x] = color_V3, 255
    return image, mask


def stage_lights() -> StageLights:
    """One lamp above, on in every frame."""
    fully_lit = np.arange(FRAMES) < FRAMES - 1
    return StageLights(
        np.array([[0.0, 3.0, 1.0]], np.float32), np.ones((FRAMES, 1, 3), np.float32), fully_lit, 1.5
    )


def signals(
    rig: Rig,
    rotations_TJ3: torch.Tensor,
    translation_T3: torch.Tensor,
    records: list[CameraRecord],
    lights: StageLights | None = None,
) -> Signals:
    """Exact rig values; a face box in the middle of the first camera's picture."""
    box_T4 = np.tile(np.array([40.0, 20, 56, 36], np.float32), (FRAMES, 1))
    return Signals(
        identity_I=rig.neutral_identity().numpy(),
        rotations_TJ3=rotations_TJ3.numpy(),
        translation_T3=translation_T3.numpy(),
        expression_TE=np.zeros((FRAMES, rig.expression_size), np.float32),
        gaze_T8=np.tile(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.float32), (FRAMES, 1)),
        frame_valid_T=np.ones(FRAMES, bool),
        face_boxes={records[0].name: box_T4},
        lights=lights,
    )
