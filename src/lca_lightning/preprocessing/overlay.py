"""Pictures a person can check: the rig's mesh and skeleton and the mask's contour over the video."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lca_lightning.calibration.opencv import cv2
from lca_lightning.preprocessing.landmarks import FloatArray
from lca_lightning.rendering.mesh import rasterise_mesh

Image = NDArray[np.uint8]
_LEFT, _RIGHT, _MIDDLE = (255, 170, 40), (60, 200, 255), (240, 240, 240)


def project(points_N3: FloatArray, w2c_44: FloatArray, K_33: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Pixels ``(N, 2)`` and depths ``(N,)`` of world points."""
    camera = points_N3 @ w2c_44[:3, :3].T + w2c_44[:3, 3]
    depth = camera[:, 2]
    image = camera @ K_33.T
    return image[:, :2] / np.where(np.abs(depth) < 1e-6, 1e-6, depth)[:, None], depth


def draw_mesh(
    image_HW3: Image,
    vertices_V3: FloatArray,
    faces_F3: NDArray[np.int64],
    w2c_44: FloatArray,
    K_33: FloatArray,
    opacity: float = 0.55,
) -> Image:
    """Shade a mesh over a picture, lit from the camera.

    Args:
        image_HW3: RGB picture, ``(H, W, 3)``.
        vertices_V3: World vertices in metres.
        faces_F3: Triangles.
        w2c_44: World to camera.
        K_33: Intrinsics.
        opacity: Of the mesh.

    Returns:
        A new picture.
    """
    pixels, depth = project(vertices_V3, w2c_44, K_33)
    covered = rasterise_mesh(pixels, depth, faces_F3, *image_HW3.shape[:2])
    corners = (vertices_V3 @ w2c_44[:3, :3].T)[faces_F3]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    shade = np.abs(normals[:, 2]) / np.maximum(np.linalg.norm(normals, axis=1), 1e-12)
    color = (60 + 180 * shade)[:, None] * np.array([0.75, 0.9, 1.0])
    painted = np.where((covered >= 0)[..., None], color[np.maximum(covered, 0)], image_HW3)
    mixed = opacity * painted + (1 - opacity) * image_HW3
    return np.where((covered >= 0)[..., None], mixed, image_HW3).astype(np.uint8)


def draw_contour(image_HW3: Image, mask_HW: Image, color: tuple[int, int, int] = (255, 60, 60)) -> Image:
    """Draw a mask's outline over a picture; returns a new picture."""
    contours, _ = cv2.findContours((mask_HW > 127).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    thick = max(1, round(max(image_HW3.shape) / 600))
    return np.asarray(cv2.drawContours(image_HW3.copy(), contours, -1, color, thick), np.uint8)


def draw_skeleton(
    image_HW3: Image,
    joints_J3: FloatArray,
    names: tuple[str, ...],
    parents: tuple[int, ...],
    w2c_44: FloatArray,
    K_33: FloatArray,
) -> Image:
    """Draw bones over a picture, the person's left side orange, right side blue; returns a new picture."""
    pixels, depth = project(joints_J3, w2c_44, K_33)
    canvas = image_HW3.copy()
    thick = max(1, round(max(image_HW3.shape) / 400))
    for joint, parent in enumerate(parents):
        if parent < 0 or min(depth[joint], depth[parent]) < 0.05 or names[joint].startswith("toe"):
            continue
        color = _LEFT if names[joint].endswith(".L") else _RIGHT if names[joint].endswith(".R") else _MIDDLE
        ends = np.clip(np.round(pixels[[parent, joint]]), -20000, 20000).astype(int)
        cv2.line(canvas, tuple(ends[0].tolist()), tuple(ends[1].tolist()), color, thick, cv2.LINE_AA)
    return canvas


def side_by_side(images: list[Image], height: int) -> Image:
    """Pictures of any size in a row of the given height, width even for video codecs."""
    scaled = [
        cv2.resize(
            image,
            (max(2, round(image.shape[1] * height / image.shape[0])), height),
            interpolation=cv2.INTER_AREA,
        )
        for image in images
    ]
    row = np.concatenate(scaled, 1)
    return np.ascontiguousarray(row[: height // 2 * 2, : row.shape[1] // 2 * 2], np.uint8)
