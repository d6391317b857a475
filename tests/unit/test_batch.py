"""The batch types: validation, movement, collation."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lca_lightning.batch import Batch, Driving, Lighting, References, Targets
from lca_lightning.errors import ShapeError


def make_batch(views: int, name: str = "anna") -> Batch:
    references = References(
        torch.rand(1, views, 3, 8, 6),
        torch.rand(1, views, 3, 4, 4),
        torch.ones(1, views, dtype=torch.bool),
        torch.ones(1, views, dtype=torch.bool),
    )
    driving = Driving(
        torch.zeros(1, 2, 5, 3), torch.zeros(1, 2, 3), torch.zeros(1, 2, 4), torch.zeros(1, 2, 8)
    )
    targets = Targets(
        torch.rand(1, 2, 3, 8, 6),
        torch.ones(1, 2, 1, 8, 6),
        torch.eye(4).repeat(1, 2, 1, 1),
        torch.eye(3).repeat(1, 2, 1, 1),
    )
    return Batch(references, driving, targets, torch.zeros(1, 7), (name,), (("s/c/0", "s/c/1"),))


def test_collate_pads_views_and_keeps_order() -> None:
    first, second = make_batch(2, "anna"), make_batch(4, "ben")
    batch = Batch.collate([first, second])
    assert batch.subjects == ("anna", "ben") and batch.size == 2
    assert batch.references.view_mask_BV.tolist() == [[True, True, False, False], [True] * 4]
    torch.testing.assert_close(batch.references.body_BV3HW[0, :2], first.references.body_BV3HW[0])
    assert (batch.references.body_BV3HW[0, 2:] == 0).all()


def test_to_moves_every_tensor() -> None:
    moved = make_batch(2).to("meta")
    for part in (moved.references, moved.driving, moved.targets):
        assert all(value.device.type == "meta" for value in vars(part).values() if value is not None)
    assert moved.identity_BI.device.type == "meta" and moved.subjects == ("anna",)


def test_mattes_of_references_travel_with_them_where_all_rows_have_them() -> None:
    plain = make_batch(2)
    references = plain.references
    mattes = references.body_BV3HW[:, :, :1], references.face_BV3hw[:, :, :1]
    known = replace(
        plain, references=replace(references, body_mattes_BV1HW=mattes[0], face_mattes_BV1hw=mattes[1])
    )
    joined = Batch.collate([known, replace(known, references=known.references.pad_views(3))]).references
    assert joined.body_mattes_BV1HW is not None and joined.body_mattes_BV1HW.shape == (2, 3, 1, 8, 6)
    torch.testing.assert_close(joined.face_mattes_BV1hw[1, :2], mattes[1][0])
    assert Batch.collate([known, plain]).references.body_mattes_BV1HW is None
    with pytest.raises(ShapeError, match="references.body_mattes_BV1HW must have shape"):
        replace(references, body_mattes_BV1HW=mattes[1])


def test_shapes_are_checked() -> None:
    with pytest.raises(ShapeError, match="references.view_mask_BV must have shape"):
        References(torch.rand(1, 2, 3, 8, 6), torch.rand(1, 2, 3, 4, 4), torch.ones(1, 3), torch.ones(1, 2))


def make_lighting(lamps: int, albedo: bool) -> Lighting:
    images = torch.rand(1, 2, 3, 8, 6)
    return Lighting(
        torch.rand(1, 2, lamps, 3),
        torch.ones(1, 2, lamps, 3),
        torch.ones(1),
        torch.tensor([[True, False]]),
        images,
        images if albedo else None,
    )


def test_collate_adds_lamps_that_are_off_and_drops_what_one_sample_lacks() -> None:
    first = replace(make_batch(2), lighting=make_lighting(3, albedo=True))
    second = replace(make_batch(2), lighting=make_lighting(5, albedo=False))
    lighting = Batch.collate([first, second]).lighting
    assert lighting is not None and lighting.positions_BTL3.shape == (2, 2, 5, 3)
    assert (lighting.intensities_BTL3[0, :, 3:] == 0).all() and (
        lighting.intensities_BTL3[0, :, :3] == 1
    ).all()
    assert lighting.albedo_BT3HW is None
    assert Batch.collate([first, first]).lighting.albedo_BT3HW is not None
    assert Batch.collate([first, make_batch(2)]).lighting is None
    assert first.to("meta").lighting.fully_lit_BT.device.type == "meta"


def test_linear_images_have_the_targets_shape() -> None:
    lighting = make_lighting(1, albedo=False)
    other = replace(lighting, linear_images_BT3HW=torch.rand(1, 2, 3, 4, 4))
    with pytest.raises(ShapeError, match="lighting.linear_images_BT3HW must have shape"):
        replace(make_batch(2), lighting=other)


def test_directions_of_references_travel_with_them_where_all_rows_have_them() -> None:
    plain = make_batch(2)
    known = replace(plain, references=replace(plain.references, directions_BV3=torch.rand(1, 2, 3)))
    wide = replace(known, references=known.references.pad_views(3))
    joined = Batch.collate([known, wide]).references.directions_BV3
    assert joined is not None and joined.shape == (2, 3, 3)
    torch.testing.assert_close(joined[1, :2], known.references.directions_BV3[0])  # type: ignore[index]
    assert Batch.collate([known, plain]).references.directions_BV3 is None
    with pytest.raises(ShapeError, match="references.directions_BV3 must have shape"):
        replace(plain.references, directions_BV3=torch.rand(1, 3, 3))
