"""Where the face of a synthetic person is in each picture."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from lca_lightning.datasets.format import CameraRecord
from lca_lightning.rig.rig import REGIONS, Rig, RigPose
from lca_lightning.synthesis.person import Person
from lca_lightning.synthesis.precision import BOX_DECIMALS, double_pose, double_rig, stored

# A face is seen when it turns to the camera by at least this cosine and is this many pixels wide and high.
_FACE_COSINE = 0.4
_FACE_PIXELS = 4.0


def face_boxes(
    rig: Rig, person: Person, pose: RigPose, points_TN3: NDArray, camera: CameraRecord
) -> NDArray[np.float32]:
    """Boxes of the face region where the face looks towards the camera and lies in the picture.

    Args:
        rig: Gives the face region.
        person: Whose identity poses the head.
        pose: Pose of ``T`` frames.
        points_TN3: Posed points of the person; the body's vertices come first.
        camera: The camera.

    Returns:
        Left, top, right, bottom in pixels, NaN where no face is seen, ``(T, 4)``.
    """
    face = np.flatnonzero(rig.regions_V.numpy() == REGIONS.index("face"))
    head = rig.joint_names.index("head")
    with torch.no_grad():
        identity = person.identity_I.double()[None]
        transforms = double_rig(rig).joint_transforms(identity, double_pose(pose))[:, head, :3, :3].numpy()
    forward = transforms @ np.array([0.0, 0.0, 1.0])
    points = points_TN3[:, face]
    eye = -camera.w2c_44[:3, :3].T @ camera.w2c_44[:3, 3]
    towards = eye - points.mean(1)
    cosine = (forward * towards).sum(1) / np.linalg.norm(towards, axis=1)
    in_camera = points @ camera.w2c_44[:3, :3].T + camera.w2c_44[:3, 3]
    pixels = in_camera @ camera.K_33.T
    pixels = pixels[..., :2] / np.maximum(pixels[..., 2:], 1e-6)
    low, high = pixels.min(1), pixels.max(1)
    size = [camera.width, camera.height]
    low_inside, high_inside = np.clip(low, 0, size), np.clip(high, 0, size)
    area = np.prod(high_inside - low_inside, axis=1) / np.maximum(np.prod(high - low, axis=1), 1e-6)
    seen = (cosine > _FACE_COSINE) & (area > 0.5) & ((high_inside - low_inside).min(1) >= _FACE_PIXELS)
    boxes = np.concatenate([low_inside, high_inside], 1)
    return stored(np.where(seen[:, None], boxes, np.nan), BOX_DECIMALS)
