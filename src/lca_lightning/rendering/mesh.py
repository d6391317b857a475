"""Which triangle of a mesh covers each pixel: a small depth buffer for silhouettes and overlays."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def mesh_silhouette(
    vertices_V3: FloatArray,
    faces_F3: NDArray[np.int64],
    w2c_44: FloatArray,
    K_33: FloatArray,
    height: int,
    width: int,
) -> NDArray[np.bool_]:
    """Where a mesh covers a picture.

    Args:
        vertices_V3: World positions in metres, ``(V, 3)``.
        faces_F3: Triangles, ``(F, 3)``.
        w2c_44: World to camera.
        K_33: Intrinsics in pixels.
        height: Of the picture.
        width: Of the picture.

    Returns:
        True where a triangle in front of the camera covers the pixel's centre, ``(H, W)``.
    """
    return visible_triangles(vertices_V3, faces_F3, w2c_44, K_33, height, width) >= 0


def visible_triangles(
    vertices_V3: FloatArray,
    faces_F3: NDArray[np.int64],
    w2c_44: FloatArray,
    K_33: FloatArray,
    height: int,
    width: int,
) -> NDArray[np.int32]:
    """Which triangle of a mesh a camera sees in each pixel.

    Args:
        vertices_V3: World positions in metres, ``(V, 3)``.
        faces_F3: Triangles, ``(F, 3)``.
        w2c_44: World to camera.
        K_33: Intrinsics in pixels.
        height: Of the picture.
        width: Of the picture.

    Returns:
        Index of the nearest triangle in front of the camera at the pixel's centre, -1 where there is none,
        ``(H, W)``.
    """
    camera_V3 = vertices_V3 @ w2c_44[:3, :3].T + w2c_44[:3, 3]
    depth_V = camera_V3[:, 2]
    pixels_V2 = (camera_V3 @ K_33.T)[:, :2] / np.where(np.abs(depth_V) < 1e-6, 1e-6, depth_V)[:, None]
    return rasterise_mesh(pixels_V2, depth_V, faces_F3, height, width)


def rasterise_mesh(
    pixels_V2: FloatArray, depth_V: FloatArray, faces_F3: NDArray[np.int64], height: int, width: int
) -> NDArray[np.int32]:
    """Nearest triangle per pixel.

    Args:
        pixels_V2: Projected vertices, pixel centres at +0.5, ``(V, 2)``.
        depth_V: Depths in metres; triangles with a vertex at or behind 1 cm are left out, ``(V,)``.
        faces_F3: Triangles, ``(F, 3)``.
        height: Of the picture.
        width: Of the picture.

    Returns:
        Triangle index, -1 where there is none, ``(H, W)``.
    """
    return _fill(
        np.ascontiguousarray(pixels_V2, np.float64),
        np.ascontiguousarray(depth_V, np.float64),
        np.ascontiguousarray(faces_F3, np.int64),
        height,
        width,
    )


@numba.njit(cache=True)
def _fill(pixels, depth, faces, height, width):
    nearest = np.full((height, width), np.inf)
    index = np.full((height, width), -1, np.int32)
    for face in range(len(faces)):
        a, b, c = faces[face]
        if min(depth[a], depth[b], depth[c]) < 0.01:
            continue
        ax, ay, bx, by, cx, cy = (
            pixels[a, 0],
            pixels[a, 1],
            pixels[b, 0],
            pixels[b, 1],
            pixels[c, 0],
            pixels[c, 1],
        )
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-12 or not np.isfinite(area):
            continue
        left, right = (
            max(int(np.ceil(min(ax, bx, cx) - 0.5)), 0),
            min(int(np.floor(max(ax, bx, cx) - 0.5)), width - 1),
        )
        top, bottom = (
            max(int(np.ceil(min(ay, by, cy) - 0.5)), 0),
            min(int(np.floor(max(ay, by, cy) - 0.5)), height - 1),
        )
        for row in range(top, bottom + 1):
            y = row + 0.5
            for column in range(left, right + 1):
                x = column + 0.5
                u = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
                v = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
                w = 1.0 - u - v
                if u < 0 or v < 0 or w < 0:
                    continue
                z = 1.0 / (u / depth[a] + v / depth[b] + w / depth[c])
                if z < nearest[row, column]:
                    nearest[row, column] = z
                    index[row, column] = face
    return index
