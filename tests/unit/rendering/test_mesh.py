"""Silhouettes of meshes whose projection is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from lca_lightning.rendering.mesh import mesh_silhouette

SQUARE_V3 = np.array([[-0.48, -0.24, 0], [0.48, -0.24, 0], [0.48, 0.24, 0], [-0.48, 0.24, 0]])
FACES_F3 = np.array([[0, 1, 2], [0, 2, 3]])
K_33 = np.array([[100.0, 0, 40], [0, 100, 30], [0, 0, 1]])


def at_depth(depth: float) -> np.ndarray:
    w2c_44 = np.eye(4)
    w2c_44[2, 3] = depth
    return w2c_44


@pytest.mark.parametrize("depth", [2.0, 4.0])
def test_a_square_covers_the_pixels_whose_centres_lie_in_it(depth: float) -> None:
    covered = mesh_silhouette(SQUARE_V3, FACES_F3, at_depth(depth), K_33, 60, 80)
    rows, columns = np.mgrid[:60, :80] + 0.5
    x, y = (columns - 40) * depth / 100, (rows - 30) * depth / 100
    assert covered.any() and (covered == ((np.abs(x) <= 0.48) & (np.abs(y) <= 0.24))).all()


def test_what_stands_behind_the_camera_covers_nothing() -> None:
    assert not mesh_silhouette(SQUARE_V3, FACES_F3, at_depth(-2.0), K_33, 60, 80).any()


def test_float32_vertices_serve_as_well() -> None:
    single = mesh_silhouette(SQUARE_V3.astype(np.float32), FACES_F3, at_depth(3.0), K_33, 60, 80)
    assert (single == mesh_silhouette(SQUARE_V3, FACES_F3, at_depth(3.0), K_33, 60, 80)).mean() > 0.99
