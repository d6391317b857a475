"""How well masks and the reprojected rig overlap."""

from __future__ import annotations

import numpy as np
from PIL import Image

from lca_lightning.datasets.records import CameraRecord
from lca_lightning.inspection.body import PosedBody

_LARGEST = 320  # pixels of the longer side at which masks and rig are compared


def resize_mask(mask_HW: np.ndarray, width: int, height: int) -> np.ndarray:
    """Mask at another size by area averages, uint8."""
    if mask_HW.shape == (height, width):
        return mask_HW
    return np.asarray(Image.fromarray(mask_HW).resize((width, height), Image.Resampling.BOX))


def scaled_camera(camera: CameraRecord, longest: int) -> tuple[np.ndarray, int, int]:
    """Intrinsics, height and width of a camera whose longer side has at most so many pixels."""
    scale = min(1.0, longest / max(camera.width, camera.height))
    width, height = max(1, round(camera.width * scale)), max(1, round(camera.height * scale))
    factors = np.array([[width / camera.width], [height / camera.height], [1.0]])
    return camera.K_33 * factors, height, width


def measure_overlaps(body: PosedBody, camera: CameraRecord, masks: dict[int, np.ndarray]) -> dict[int, float]:
    """Intersection over union of masks and the reprojected rig.

    Args:
        body: Gives the rig in each frame.
        camera: The camera of the masks.
        masks: uint8 masks by frame; empty ones are left out.

    Returns:
        IoU by frame.
    """
    K_33, height, width = scaled_camera(camera, _LARGEST)
    overlaps = {}
    for frame, mask in masks.items():
        person = resize_mask(mask, width, height) >= 128
        if person.any():
            rendered = body.silhouette(frame, camera.w2c_44, K_33, height, width)
            overlaps[frame] = float((person & rendered).sum() / (person | rendered).sum())
    return overlaps


def project_vertices(vertices_TV3: np.ndarray, camera: CameraRecord) -> tuple[np.ndarray, np.ndarray]:
    """Depth in metres and whether a vertex is in the picture, each ``(T, V)``."""
    camera_TV3 = vertices_TV3 @ camera.w2c_44[:3, :3].T + camera.w2c_44[:3, 3]
    depth_TV = camera_TV3[..., 2]
    pixels = (camera_TV3 @ camera.K_33.T)[..., :2] / np.where(np.abs(depth_TV) < 1e-6, 1e-6, depth_TV)[
        ..., None
    ]
    inside = (pixels >= 0).all(-1) & (pixels[..., 0] < camera.width) & (pixels[..., 1] < camera.height)
    return depth_TV, inside & (depth_TV > 0)
