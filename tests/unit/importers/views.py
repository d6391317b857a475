"""Views of bodies for tests of importers: cameras, pictures with masks, and how well a body covers them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from lca_lightning.calibration.camera import CalibratedCamera
from lca_lightning.calibration.lens import distort_points
from lca_lightning.datasets.reader import Dataset
from lca_lightning.datasets.signals import Signals
from lca_lightning.geometry.cameras import orbit_cameras
from lca_lightning.rendering.mesh import rasterise_mesh
from lca_lightning.rig.rig import Rig, RigPose


def ring(
    count: int, distortion: tuple[float, ...] = (), size: tuple[int, int] = (120, 160), focal: float = 180.0
) -> list[CalibratedCamera]:
    """Cameras three metres around somebody who stands at the origin; pixel centres +0.5."""
    poses = orbit_cameras(count, torch.tensor([0.0, 0.9, 0.0], dtype=torch.float64), 3.0, 0.2).numpy()
    K = np.array([[focal, 0, size[0] / 2 + 2], [0, focal, size[1] / 2 - 3], [0, 0, 1]])
    lens = np.array(distortion)
    return [CalibratedCamera(f"cam{i}", *size, K, lens, pose) for i, pose in enumerate(poses)]


def silhouette(
    vertices_V3: np.ndarray, faces_F3: np.ndarray, K_33: np.ndarray, w2c_44: np.ndarray, width: int,
    height: int, distortion: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """True where the mesh is seen, through a lens if one is given."""
    seen = vertices_V3 @ w2c_44[:3, :3].T + w2c_44[:3, 3]
    plane = seen[:, :2] / seen[:, 2:]
    if distortion is not None:
        plane = distort_points(plane, distortion)
    pixels = plane @ K_33[:2, :2].T + K_33[:2, 2]
    return rasterise_mesh(pixels, seen[:, 2], faces_F3, height, width) >= 0


def photograph(
    camera: CalibratedCamera, vertices_V3: np.ndarray, faces_F3: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A picture with an orange body on grey, as RGB, and its mask (255 on the body)."""
    mask = silhouette(
        vertices_V3, faces_F3, camera.K_33, camera.w2c_44, camera.width, camera.height, camera.distortion_8
    )
    image = np.full((camera.height, camera.width, 3), 60, np.uint8)
    image[mask] = (220, 120, 40)
    return image, np.where(mask, 255, 0).astype(np.uint8)


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union."""
    return float((first & second).sum() / max((first | second).sum(), 1))


def rig_vertices(rig: Rig, signals: Signals, frame: int) -> np.ndarray:
    """World vertices of stored rig values."""
    pose = RigPose(
        torch.from_numpy(signals.rotations_TJ3[frame : frame + 1]),
        torch.from_numpy(signals.translation_T3[frame : frame + 1]),
    )
    with torch.no_grad():
        return rig.posed_vertices(torch.from_numpy(signals.identity_I)[None], pose)[0].double().numpy()


def stored_overlaps(root: Path, rig: Rig) -> dict[str, list[float]]:
    """Overlap of the stored body with the stored masks, for every valid frame, by camera of all sequences."""
    faces = rig.faces_F3[rig.visible_faces_F].numpy()
    found: dict[str, list[float]] = {}
    for sequence in Dataset(root).sequences():
        for name, camera in sequence.cameras.items():
            frames = np.flatnonzero(sequence.signals.frame_valid_T)
            if not len(frames):
                continue
            masks = sequence.read_frames(name, frames)[1]
            for frame, mask in zip(frames, masks, strict=True):
                vertices = rig_vertices(rig, sequence.signals, int(frame))
                seen = silhouette(vertices, faces, camera.K_33, camera.w2c_44, camera.width, camera.height)
                found.setdefault(f"{sequence.id}/{name}", []).append(overlap(seen, mask >= 128))
    return found
