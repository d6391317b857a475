"""Contradictions between parts of a run: one sentence, both keys, before anything slow."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.commands import lca, small

CONTRADICTIONS = {
    "views above the limit": (
        {"model__avatar__max_views": 1},
        ["data.init_args.views asks for 2 views", "model.avatar.max_views is 1"],
    ),
    "test views above the limit": (
        {"model__avatar__max_views": 2, "data__init_args__test_views": 3},
        ["data.init_args.test_views asks for 3 views", "model.avatar.max_views is 2"],
    ),
    "no views": ({"data__init_args__views": "[0]"}, ["data.init_args.views needs positive numbers"]),
    "no test views": ({"data__init_args__test_views": 0}, ["data.init_args.test_views must be at least 1"]),
    "a limit of no views": ({"model__avatar__max_views": 0}, ["model.avatar.max_views is 0"]),
    "image of no whole patches": (
        {"data__init_args__image_size": "[70,48]"},
        ["data.init_args.image_size [70, 48]", "16", "model.avatar.backbone 'random-tiny'", "[64, 48]"],
    ),
    "face of no whole patches": (
        {"data__init_args__face_size": "[30,30]"},
        ["data.init_args.face_size [30, 30]", "model.avatar.backbone"],
    ),
    "width and heads": ({"model__avatar__heads": 3}, ["model.avatar.width (16)", "4 * model.avatar.heads"]),
    "no heads": ({"model__avatar__heads": 0}, ["model.avatar.heads must be positive"]),
    "fewer registers than none": ({"model__avatar__registers": -1}, ["model.avatar.registers"]),
    "a seed below zero": (
        {"model__avatar__anchor_seed": -1},
        ["model.avatar.anchor_seed must not be negative"],
    ),
    "impossible dropout": ({"model__avatar__identity_dropout": 2}, ["model.avatar.identity_dropout"]),
    "scale limits": (
        {"model__avatar__scale_limit_start": 0.5},
        ["scale_limit_start", "scale_limit_end"],
    ),
    "warm-up and length": (
        {"model__optimizer__warmup_steps": 9},
        ["model.optimizer.warmup_steps", "trainer.max_steps"],
    ),
    "no steps": ({"trainer__max_steps": 0}, ["trainer.max_steps is 0"]),
    "batches of no step": ({"trainer__accumulate_grad_batches": 0}, ["trainer.accumulate_grad_batches"]),
    "validation after no step": ({"trainer__val_check_interval": 0}, ["trainer.val_check_interval"]),
    "fewer processes than none": ({"data__init_args__num_workers": -1}, ["data.init_args.num_workers"]),
    "branches": ({"model__avatar__branches": "triple"}, ["model.avatar.branches"]),
}


@pytest.mark.parametrize(("options", "words"), CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_both_keys_are_named(
    wild_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: dict[str, object],
    words: list[str],
) -> None:
    command = ["fit", "--config", "tiny/pretrain", *small(wild_root, **options)]
    assert lca(*command, "--run_dir", str(tmp_path / "run")) in (1, 2)
    message = capsys.readouterr().err
    assert "Traceback" not in message
    for word in words:
        assert word in message, message
    assert message.count("\n") == 1 and "unexpected" not in message
    assert not (tmp_path / "run" / "last.ckpt").exists()
