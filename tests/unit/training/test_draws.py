"""Draws of a step depend on seed, step, part and sample number, never on the process that makes them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lca_lightning.training.draws import StepDraws, draw_step, seed_of, step_place


def draw(first: int, subjects: int, place: str = "0/7/0", frames: int = 2) -> StepDraws:
    return draw_step(place, first, subjects, frames, identity_dropout=0.3)


def rows(draws: StepDraws) -> list[torch.Tensor]:
    parts = (draws.on_template_B, draws.background_BT3)
    return [part.double().flatten(1) if part.dim() > 1 else part.double()[:, None] for part in parts]


def joined(*draws: StepDraws) -> torch.Tensor:
    return torch.cat([torch.cat(rows(part), dim=1) for part in draws])


def test_two_processes_draw_what_one_with_twice_the_batch_draws() -> None:
    assert torch.equal(joined(draw(0, 4)), joined(draw(0, 2), draw(2, 2)))
    assert torch.equal(joined(draw(0, 4)), joined(*(draw(rank, 1) for rank in range(4))))


def test_the_global_generator_plays_no_part_and_is_left_alone() -> None:
    torch.manual_seed(1)
    first = joined(draw(0, 2))
    untouched = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3), untouched)
    assert torch.equal(joined(draw(0, 2)), first)


@pytest.mark.parametrize("other", [{"place": "1/7/0"}, {"place": "0/8/0"}, {"place": "0/7/1"}, {"first": 2}])
def test_seed_step_part_and_sample_each_change_the_background(other: dict[str, Any]) -> None:
    arguments = {"first": 0, "subjects": 2} | other
    assert not (draw(**arguments).background_BT3 == draw(0, 2).background_BT3).any()


def test_more_target_frames_change_no_other_draw() -> None:
    few, many = draw(0, 3, frames=1), draw(0, 3, frames=4)
    assert torch.equal(few.on_template_B, many.on_template_B)
    assert torch.equal(few.background_BT3[:, 0], many.background_BT3[:, 0])


def test_identity_dropout_keeps_its_probability() -> None:
    dropped = draw_step("0/0/0", 0, 3000, 1, 0.1).on_template_B
    assert dropped.dtype == torch.bool and 0.08 < dropped.float().mean() < 0.12
    assert not draw_step("0/0/0", 0, 50, 1, 0.0).on_template_B.any()
    assert draw_step("0/0/0", 0, 50, 1, 1.0).on_template_B.all()


def test_places_and_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "42")
    assert step_place(7, 1) == "42/7/1"
    assert seed_of("42/7/1") == seed_of("42/7/1") and 0 <= seed_of("a") < 2**63
    assert len({seed_of(str(number)) for number in range(1000)}) == 1000
