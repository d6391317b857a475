from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lca_lightning.datasets.crops import (
    crop_frame,
    cut_values,
    face_square,
    person_cut,
    replace_background,
)

K_33 = np.array([[200.0, 0, 80], [0, 210, 60], [0, 0, 1]])
edges = st.floats(0, 500)


@given(edges, edges, st.floats(1, 300), st.floats(1, 300), st.floats(0.3, 3))
def test_expanded_boxes_hold_the_margin_the_aspect_and_the_middle(left, top, width, height, aspect):
    box = np.array([left, top, left + width, top + height]) + 2.0
    wide = person_cut(box, (2000, 2000), aspect)
    assert np.isclose((wide[2] - wide[0]) / (wide[3] - wide[1]), aspect)
    assert np.allclose((wide[:2] + wide[2:]) / 2, (box[:2] + box[2:]) / 2)
    margins = np.array([box[0] - wide[0], wide[2] - box[2], box[1] - wide[1], wide[3] - box[3]])
    parts = margins / np.array([width, width, height, height])
    assert parts.min() == pytest.approx(0.1, abs=1e-6)


@given(
    st.tuples(*[st.booleans()] * 4), st.floats(30, 90), st.floats(30, 90), st.floats(0.3, 3)
)  # fmt: skip
def test_a_cut_never_passes_the_border_that_cuts_the_person_off(touched, width, height, aspect):
    left, top, right, bottom = touched
    box = np.array(
        [0 if left else 5, 0 if top else 5, 100 if right else 5 + width, 100 if bottom else 5 + height]
    )
    cut = person_cut(box, (100, 100), aspect)
    assert np.isclose((cut[2] - cut[0]) / (cut[3] - cut[1]), aspect)
    assert not left or cut[0] == pytest.approx(0)
    assert not top or cut[1] == pytest.approx(0)
    assert not right or cut[2] <= 100 + 1e-9
    assert not bottom or cut[3] <= 100 + 1e-9
    if not (left and right) and not (top and bottom):  # then nothing of the person is lost either
        assert (cut[:2] <= box[:2] + 1e-9).all() and (cut[2:] >= box[2:] - 1e-9).all()


def test_legs_below_the_picture_are_not_called_background():
    """A person whom the picture cuts off at the knees: the cut ends with the picture."""
    image, mask = np.full((100, 80, 3), 200, np.uint8), np.zeros((100, 80), np.uint8)
    mask[20:, 30:50] = 255
    cut = crop_frame(image, mask, K_33, np.array([30.0, 20, 50, 100]), None, (64, 48), (8, 8))
    assert cut.mask_HW[-1, 20:28].min() == 255 and (cut.image_HW3[-1] == 200).all()
    assert cut.box[3] == 100 and cut.box[1] < 20


def test_face_square():
    np.testing.assert_allclose(face_square(np.array([10, 20, 30, 30])), [4, 9, 36, 41])


def test_cuts_are_exact_on_a_ramp():
    """A linear ramp stays the same ramp under any cut and resize: value = pixel position."""
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8), (100, 200)).copy()
    box = np.array([30, 10, 150, 90])
    cut = cut_values(ramp[..., None], box, (40, 60))[..., 0].astype(float)
    expected = 30 + (np.arange(60) + 0.5) * 2 - 0.5
    assert np.abs(cut[:, 2:-2] - expected[2:-2]).max() <= 0.75


def test_resizing_is_antialiased():
    stripes = np.zeros((96, 96), np.uint8)
    stripes[:, ::2] = 255
    small = cut_values(stripes[..., None], np.array([0, 0, 96, 96]), (24, 24))[..., 0]
    assert np.abs(small[:, 1:-1].astype(float) - 127.5).max() < 2


def test_parts_outside_the_picture_are_filled():
    white = np.full((20, 30, 3), 255, np.uint8)
    cut = cut_values(white, np.array([-10, -10, 40, 30]), (40, 50), 7)
    assert (cut[12:28, 12:38] == 255).all()
    assert (
        (cut[:9] == 7).all()
        and (cut[31:] == 7).all()
        and (cut[:, :9] == 7).all()
        and (cut[:, 41:] == 7).all()
    )
    assert (cut_values(white, np.array([100, 100, 110, 110]), (4, 4), 7) == 7).all()


@pytest.mark.parametrize("size", [(64, 48), (50, 90)])
def test_intrinsics_follow_the_cut(size):
    """The blob's centre in the cut is where the cut's intrinsics put its ray."""
    rows, columns = np.mgrid[:120, :160] + 0.5
    centre = np.array([57.3, 66.8])
    blob = np.exp(-((columns - centre[0]) ** 2 + (rows - centre[1]) ** 2) / 40)
    mask = (255 * blob).astype(np.uint8)
    box = np.array([40, 45, 85, 90])
    crop = crop_frame(np.repeat(mask[..., None], 3, 2), mask, K_33, box, None, size, (16, 16))
    ray = np.linalg.inv(K_33) @ np.array([*centre, 1])
    expected = (crop.K_33 @ ray)[:2]
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    weight = crop.mask_HW.astype(float)
    found = np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()
    np.testing.assert_allclose(found, expected, atol=0.15)


def test_no_person_takes_the_whole_picture_and_no_face_gives_none():
    image = np.zeros((60, 80, 3), np.uint8)
    nothing = np.full(4, np.nan)
    crop = crop_frame(image, image[..., 0], K_33, nothing, nothing, (60, 80), (16, 16))
    np.testing.assert_allclose(crop.K_33, K_33)
    assert crop.face_4hw is None


def test_background_is_replaced_by_the_soft_mask():
    image = np.full((1, 3, 3), 51, np.uint8)
    mask = np.array([[0, 255, 102]], np.uint8)
    composite = replace_background(image, mask, 1.0)
    torch.testing.assert_close(composite[:, 0], torch.tensor([[1.0, 0.2, 0.6 + 0.08]]).expand(3, 3))
