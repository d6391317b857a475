"""Miniature captures of our own rig, for writing small sets in the layouts that others document.

The truth is independent of the importers: vertices in our world, from which pictures and the source's own
matrices are made; an import is right when the truth's silhouette lies on the stored masks.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lca_lightning.datasets.reader import Dataset
from lca_lightning.rendering.mesh import mesh_silhouette
from lca_lightning.rig.anny import AnnyRig
from lca_lightning.rig.rig import RigPose

Y_DOWN = np.diag([1.0, -1.0, -1.0])
"""Rotation between our world and one with y down (its own inverse)."""


@dataclass(frozen=True)
class Eye:
    """A true camera: pinhole, pixel centres at +0.5, our world."""

    name: str
    width: int
    height: int
    K_33: np.ndarray
    w2c_44: np.ndarray


def posed_body(rig: AnnyRig, frames: int = 2) -> np.ndarray:
    """Vertices of somebody who stands a little aside of the origin, turned, and moves, ``(T, V, 3)``."""
    pose = rig.reference_pose(frames)
    rotations = pose.rotations_BJ3.clone()
    rotations[:, 0, 1] = 0.4
    shift = torch.linspace(0.1, 0.25, frames)[:, None] * torch.tensor([1.0, 0.2, -0.6])
    with torch.no_grad():
        posed = rig.posed_vertices(
            rig.neutral_identity()[None], RigPose(rotations, pose.translation_B3 + shift)
        )
    return posed.double().numpy()


def head_of(rig: AnnyRig, vertices_TV3: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and faces of the head alone, for sets that show nothing else."""
    top = vertices_TV3[0, :, 1].max()
    faces = rig.faces_F3.numpy()
    return vertices_TV3, faces[(vertices_TV3[0][faces][:, :, 1] > top - 0.28).all(1)]


def look_at(eye_3: Sequence[float], target_3: np.ndarray) -> np.ndarray:
    """World to camera, upright."""
    forward = target_3 - np.asarray(eye_3)
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    w2c = np.eye(4)
    w2c[:3, :3] = np.stack([right, np.cross(forward, right), forward])
    w2c[:3, 3] = -w2c[:3, :3] @ np.asarray(eye_3)
    return w2c


def ring(
    names: Sequence[str], size: tuple[int, int], target_3: np.ndarray, extent: float, radius: float = 3.0
) -> list[Eye]:
    """Cameras on a circle, at different heights, that see ``extent`` metres about the target."""
    width, height = size
    focal = 0.8 * min(size) * radius / extent if extent < 1 else 0.8 * height * radius / extent
    eyes = []
    for index, name in enumerate(names):
        angle = 2 * np.pi * index / len(names) + 0.3
        place = target_3 + [radius * np.sin(angle), 0.25 * (-1) ** index, radius * np.cos(angle)]
        # the principal point is off the middle, so that forgetting to scale or transpose it shows
        K_33 = np.array([[focal, 0, 0.5 * width + 0.06 * width], [0, 1.02 * focal, 0.46 * height], [0, 0, 1]])
        eyes.append(Eye(name, width, height, K_33, look_at(place, target_3)))
    return eyes


def picture(
    eye: Eye, vertices_V3: np.ndarray, faces_F3: np.ndarray, background: int = 40
) -> tuple[np.ndarray, np.ndarray]:
    """RGB picture and 0/1 mask of a mesh."""
    mask = mesh_silhouette(vertices_V3, faces_F3, eye.w2c_44, eye.K_33, eye.height, eye.width)
    image = np.full((eye.height, eye.width, 3), background, np.uint8)
    image[mask] = (200, 120, 90)
    return image, mask.astype(np.uint8)


def encoded(image: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    """A picture file's bytes."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind, **options)
    return stream.getvalue()


def write_zip(path: Path, members: dict[str, bytes]) -> None:
    """An uncompressed archive, as the sets hold them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def ply(vertices_V3: np.ndarray) -> bytes:
    """A binary PLY file of vertices without faces."""
    head = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(vertices_V3)}\n"
    head += "property float x\nproperty float y\nproperty float z\nend_header\n"
    return head.encode() + np.ascontiguousarray(vertices_V3, "<f4").tobytes()


def overlaps(
    root: Path, truth_TV3: np.ndarray, faces_F3: np.ndarray, frames: Sequence[int] = (0,)
) -> list[float]:
    """Overlap (intersection over union) of the truth with the stored masks, every camera and frame."""
    (sequence,) = Dataset(root).sequences()
    found = []
    for name, camera in sequence.cameras.items():
        _, masks = sequence.read_frames(name, list(frames))
        for frame, mask in zip(frames, masks, strict=True):
            drawn = mesh_silhouette(
                truth_TV3[frame], faces_F3, camera.w2c_44, camera.K_33, camera.height, camera.width
            )
            either = (drawn | (mask > 127)).sum()
            found.append(float((drawn & (mask > 127)).sum() / max(either, 1)))
    return found
