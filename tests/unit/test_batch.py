"""The batch types: validation, movement, collation."""

from __future__ import annotations

import pytest
import torch

from lca_lightning.batch import Batch, Driving, References, Targets
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
        assert all(value.device.type == "meta" for value in vars(part).values())
    assert moved.identity_BI.device.type == "meta" and moved.subjects == ("anna",)


def test_shapes_are_checked() -> None:
    with pytest.raises(ShapeError, match="references.view_mask_BV must have shape"):
        References(torch.rand(1, 2, 3, 8, 6), torch.rand(1, 2, 3, 4, 4), torch.ones(1, 3), torch.ones(1, 2))
