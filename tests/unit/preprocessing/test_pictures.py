"""Masks, the small rasteriser and crops, against OpenCV and slow references."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("cv2")
from lca_lightning.preprocessing.masks import (
    clean_mask,
    intersection_over_union,
    largest_component,
    mask_box,
    restrict_to_silhouette,
)
from lca_lightning.preprocessing.overlay import draw_mesh, side_by_side
from lca_lightning.preprocessing.writing import Crop, choose_crop
from lca_lightning.rendering.mesh import mesh_silhouette, rasterise_mesh
from tests.unit.preprocessing.views import ring_of_cameras, standing_body


def test_pieces_far_smaller_than_the_person_are_removed() -> None:
    mask = np.zeros((100, 80), np.uint8)
    mask[20:80, 30:50], mask[2:6, 2:6] = 255, 255
    cleaned = largest_component(mask)
    assert cleaned[4, 4] == 0 and (cleaned[20:80, 30:50] == 255).all()


def test_a_leak_far_from_the_skeleton_is_cut_off() -> None:
    body = standing_body(200.0, (300.0, 300.0))
    mask = np.zeros((600, 600), np.uint8)
    mask[190:410, 260:340] = 255
    mask[280:300, 340:560] = 255  # a window frame that the network took for an arm
    cleaned = clean_mask(mask, body, 200.0)
    assert cleaned[290, 500] == 0 and cleaned[300, 300] == 255
    assert (cleaned[200:400, 270:330] > 0).mean() > 0.95


def test_the_fitted_body_limits_the_mask_unless_it_is_wrong() -> None:
    mask = np.zeros((100, 100), np.uint8)
    mask[20:80, 20:50], mask[40:50, 50:95] = 255, 255
    body = np.zeros((100, 100), bool)
    body[22:78, 22:48] = True
    assert restrict_to_silhouette(mask, body, 5)[45, 90] == 0
    assert (restrict_to_silhouette(mask, np.roll(body, 45, 1), 2) == mask).all()
    assert mask_box(mask) == (20, 20, 95, 80) and mask_box(np.zeros((4, 4), np.uint8)) is None
    assert intersection_over_union(mask > 0, mask > 0) == 1.0


def test_rasteriser_equals_a_slow_one_and_keeps_the_nearest() -> None:
    generator = np.random.default_rng(0)
    pixels = generator.uniform(-5, 45, (30, 2))
    depth = generator.uniform(1, 3, 30)
    faces = generator.integers(0, 30, (25, 3))
    expected, nearest = np.full((40, 40), -1), np.full((40, 40), np.inf)
    for number, (a, b, c) in enumerate(faces):
        matrix = np.array([[*pixels[i], 1] for i in (a, b, c)]).T
        if abs(np.linalg.det(matrix)) < 1e-9:
            continue
        inverse = np.linalg.inv(matrix)
        for row in range(40):
            for column in range(40):
                weights = inverse @ [column + 0.5, row + 0.5, 1]
                z = 1 / (weights @ (1 / depth[[a, b, c]]))
                if (weights >= 0).all() and z < nearest[row, column]:
                    nearest[row, column], expected[row, column] = z, number
    assert (rasterise_mesh(pixels, depth, faces, 40, 40) == expected).mean() > 0.999


def test_triangles_behind_the_camera_or_not_finite_are_left_out() -> None:
    pixels = np.array([[0, 0], [30, 0], [0, 30], [np.nan, 3]], float)
    faces = np.array([[0, 1, 2], [0, 1, 3]])
    assert (rasterise_mesh(pixels, np.array([1, -1, 1, 1.0]), faces, 20, 20) == -1).all()
    assert (rasterise_mesh(pixels, np.ones(4), faces, 20, 20) == 0).any()


def test_overlay_paints_only_where_the_mesh_is() -> None:
    camera = ring_of_cameras(1, 100, 200)[0]
    K = camera.K_33 * np.array([[0.1], [0.1], [1]])
    vertices = np.array([[-0.5, 0.2, 0], [0.5, 0.2, 0], [0, 1.4, 0]])
    faces = np.array([[0, 1, 2]])
    image = np.full((200, 100, 3), 10, np.uint8)
    covered = mesh_silhouette(vertices, faces, camera.w2c_44, K, 200, 100)
    painted = draw_mesh(image, vertices, faces, camera.w2c_44, K)
    assert covered.any() and (painted[~covered] == 10).all() and (painted[covered] != 10).any(1).all()
    row = side_by_side([image, image[:101]], 54)
    assert row.shape[0] == 54 and row.shape[1] % 2 == 0


@pytest.mark.parametrize("scale", [0.37, 1.0])
def test_a_crop_and_its_intrinsics_agree(scale: float) -> None:
    image = np.zeros((400, 300), np.uint8)
    image[200:220, 150:170] = 255
    crop = Crop(60, 80, scale, int(180 * scale) // 2 * 2, int(260 * scale) // 2 * 2)
    cut = crop.cut(image)
    assert cut.shape == (crop.height, crop.width)
    rows, columns = np.nonzero(cut > 127)
    center = crop.intrinsics(np.eye(3)) @ [160.0, 210.0, 1.0]
    assert abs(columns.mean() + 0.5 - center[0]) < 0.6 and abs(rows.mean() + 0.5 - center[1]) < 0.6


def test_the_crop_holds_all_boxes_and_stays_in_the_picture() -> None:
    camera = ring_of_cameras(1)[0]
    crop = choose_crop(np.array([[300.0, 100, 500, 900], [280.0, 150, 700, 1900]]), camera, 768)
    assert crop.left <= 280 and crop.top <= 100 and max(crop.width, crop.height) <= 768
    assert crop.left + crop.width / crop.scale >= 699 and crop.top + crop.height / crop.scale <= 1921
    assert crop.width % 2 == 0 and crop.height % 2 == 0
    small = choose_crop(np.array([[10.0, 10, 60, 110]]), camera, 768)
    assert small.scale == 1.0
