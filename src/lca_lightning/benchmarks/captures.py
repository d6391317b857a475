"""A small data set of our layout for the loader: a random avatar that moves, drawn over noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from lca_lightning.avatar.avatar import Avatar, Camera
from lca_lightning.batch import Driving
from lca_lightning.benchmarks.avatars import random_avatar
from lca_lightning.benchmarks.scenes import FPS, random_motion
from lca_lightning.benchmarks.sizes import PICTURES, Size
from lca_lightning.datasets.format import CameraRecord, SequenceWriter, Signals
from lca_lightning.geometry.cameras import intrinsics_from_field_of_view, orbit_cameras
from lca_lightning.motion.clip import Motion

SUBJECTS, CAMERAS = 2, 2
ENLARGED = 2  # videos are larger than the cuts taken from them


def write_capture(root: Path, size: Size, frames: int) -> Path:
    """Write one short multi-view sequence for each of two subjects.

    Args:
        root: Folder of the data set.
        size: Whose pictures are cut from it.
        frames: Frames of each sequence.

    Returns:
        ``root``.
    """
    avatar = random_avatar("tiny", torch.device("cpu"))
    motion = random_motion(avatar.rig, frames)
    height, width = (ENLARGED * length for length in PICTURES[size].body)
    K_33 = intrinsics_from_field_of_view(0.8, width, height)
    cameras = [
        Camera(w2c_44, K_33, width, height)
        for w2c_44 in orbit_cameras(CAMERAS, torch.tensor([0.0, 0.9, 0.0]), 2.6, 0.1)
    ]
    records = [
        CameraRecord(f"cam{index}", width, height, K_33.double().numpy(), camera.w2c_44.double().numpy())
        for index, camera in enumerate(cameras)
    ]
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 80, (height // 8, width // 8, 3), np.uint8)
    behind = noise.repeat(8, axis=0).repeat(8, axis=1)
    drivings = [motion[t].driving(avatar.rig.expression_size) for t in range(frames)]
    for subject in range(SUBJECTS):
        with SequenceWriter(
            root, f"person{subject}_take", subject=f"person{subject}", split="train", fps=FPS,
            cameras=records, rig=avatar.rig.name, licence="CC0", provenance="lca bench", kind="studio",
        ) as writer:  # fmt: skip
            for record, camera in zip(records, cameras, strict=True):
                for driving in drivings:
                    writer.add_frame(record.name, *_draw(avatar, driving, camera, behind))
            writer.finish(_signals(avatar, motion, records))
    return root


@torch.no_grad()
def _draw(
    avatar: Avatar, driving: Driving, camera: Camera, behind_HW3: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Picture and mask of one frame, uint8."""
    drawn = avatar.animate(driving).render(camera, background=(0.0, 0.0, 0.0))
    alpha_HW1 = drawn.alpha_T1HW[0].permute(1, 2, 0).numpy()
    person_HW3 = 255 * drawn.color_TCHW[0].permute(1, 2, 0).numpy()
    image_HW3 = person_HW3 + (1 - alpha_HW1) * behind_HW3
    return image_HW3.clip(0, 255).astype(np.uint8), (255 * alpha_HW1[..., 0]).clip(0, 255).astype(np.uint8)


def _signals(avatar: Avatar, motion: Motion, records: list[CameraRecord]) -> Signals:
    """Exact rig values; the face box is a square at the top of the picture."""
    side = records[0].height / 6
    left = (records[0].width - side) / 2
    box_4 = np.array([left, side / 2, left + side, 1.5 * side], np.float32)
    assert motion.expression_TE is not None and motion.gaze_T8 is not None
    return Signals(
        identity_I=avatar.identity_I.numpy(),
        rotations_TJ3=motion.rotations_TJ3,
        translation_T3=motion.translation_T3,
        expression_TE=motion.expression_TE,
        gaze_T8=motion.gaze_T8,
        frame_valid_T=np.ones(len(motion), bool),
        face_boxes={record.name: np.tile(box_4, (len(motion), 1)) for record in records},
    )
