"""People who move, cameras that show them, and random photos: inputs of the benchmarks."""

from __future__ import annotations

import numpy as np
import torch

from lca_lightning.avatar.avatar import Camera
from lca_lightning.avatar.cameras import plan_cameras
from lca_lightning.batch import Batch, Driving, References, Targets
from lca_lightning.benchmarks.sizes import PICTURES, Pictures, Size
from lca_lightning.motion.clip import Motion
from lca_lightning.rig.rig import Rig, RigPose
from lca_lightning.synthesis.motion import procedural_motion

FPS = 30.0


def random_motion(rig: Rig, frames: int) -> Motion:
    """A seeded dance of body, hands, face and eyes, different in every frame; the rig is on the CPU."""
    generator = np.random.default_rng(0)
    return procedural_motion(rig, rig.neutral_identity(), frames, FPS, generator, 0.3, "dance")


def filling_cameras(rig: Rig, motion: Motion, size: Size) -> list[Camera]:
    """A camera for each frame in whose picture the whole person fits, as `lca animate` plans it."""
    pose = RigPose(torch.from_numpy(motion.rotations_TJ3), torch.from_numpy(motion.translation_T3))
    joints_TJ3 = rig.posed_joints(rig.neutral_identity()[None], pose)
    height, width = PICTURES[size].body
    return plan_cameras(joints_TJ3, "follow", width, height, motion.fps)


def random_references(pictures: Pictures, subjects: int, views: int) -> References:
    """Photos of noise, every one with a face.

    Args:
        pictures: Their sizes.
        subjects: Rows ``B``.
        views: Photos ``V`` of each.
    """
    generator = torch.Generator().manual_seed(0)
    present = torch.ones(subjects, views, dtype=torch.bool)
    return References(
        torch.rand(subjects, views, 3, *pictures.body, generator=generator),
        torch.rand(subjects, views, 3, *pictures.face, generator=generator),
        present,
        present,
    )


def random_batch(rig: Rig, size: Size, subjects: int, views: int, frames: int) -> Batch:
    """A training batch of a size: photos and targets of noise, real poses and cameras that show the person.

    Args:
        rig: On the CPU.
        size: Of pictures.
        subjects: Rows ``B``.
        views: Reference views ``V``.
        frames: Target frames ``T``.
    """
    motion = random_motion(rig, frames)
    cameras = filling_cameras(rig, motion, size)
    generator = torch.Generator().manual_seed(1)
    shape = (subjects, frames, 3, *PICTURES[size].body)
    targets = Targets(
        torch.rand(shape, generator=generator),
        (torch.rand(subjects, frames, 1, *shape[-2:], generator=generator) > 0.5).float(),
        torch.stack([camera.w2c_44 for camera in cameras]).expand(subjects, -1, -1, -1),
        torch.stack([camera.K_33 for camera in cameras]).expand(subjects, -1, -1, -1),
    )
    one = motion.driving(rig.expression_size)
    parts = (one.rotations_BTJ3, one.translation_BT3, one.expression_BTE, one.gaze_BT8)
    repeated = Driving(*(part.expand(subjects, *part.shape[1:]) for part in parts))
    names = tuple(f"person{subject}" for subject in range(subjects))
    return Batch(
        random_references(PICTURES[size], subjects, views),
        repeated,
        targets,
        rig.neutral_identity().expand(subjects, -1),
        names,
        tuple(tuple(f"{name}/camera/{frame}" for frame in range(frames)) for name in names),
    )
