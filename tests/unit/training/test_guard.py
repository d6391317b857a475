"""What is not finite never reaches the weights: skipped steps, patience, the batch that is left behind."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from PIL import Image

from lca_data_modules import StudioDataModule
from lca_lightning.batch import Batch
from lca_lightning.errors import ConfigError, NonFiniteError
from lca_lightning.training.draws import draw_step
from lca_lightning.training.gradients import gradient_norms
from lca_lightning.training.guard import Attempt, NonFiniteGuard
from lca_lightning.training.module import LCALightningModule
from lca_lightning.training.optim import OptimizerConfig
from tests.unit.training.tiny_module import module, quiet_trainer


def attempt(batch: Batch, **terms: float) -> Attempt:
    draws = draw_step("0/0/0", 0, 1, batch.targets.w2c_BT44.shape[1], 0.1)
    return Attempt(batch, draws, {name: torch.tensor(value) for name, value in terms.items()})


class Poison(Callback):
    """Put a value into the batches of some steps, and keep what weights and optimiser hold after each.

    Args:
        batches: Which batches.
        field: Of the targets.
        value: What one entry becomes.
    """

    def __init__(self, *batches: int, field: str = "images_BT3HW", value: float = math.nan) -> None:
        self.batches, self.field, self.value = batches, field, value
        self.states: list[list[torch.Tensor]] = []

    def on_train_batch_start(self, trainer: Trainer, _: Any, batch: Batch, index: int) -> None:
        if index in self.batches:
            getattr(batch.targets, self.field)[0, -1].flatten()[5] = self.value

    def on_train_batch_end(self, trainer: Trainer, pl_module: LCALightningModule, *_: Any) -> None:
        weights = [value.detach().clone() for value in pl_module.parameters()]
        states = trainer.optimizers[0].state.values()
        self.states.append(
            weights
            + [value.clone() for state in states for value in state.values() if torch.is_tensor(value)]
        )


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return len(first) == len(second) and all(map(torch.equal, first, second))


@pytest.mark.parametrize(
    ("poison", "named"),
    [
        (Poison(2), "loss term canonical/l1, animated/l1 is not finite"),
        (Poison(2, value=math.inf), "loss term canonical/l1, animated/l1 is not finite"),
        (Poison(2, field="w2c_BT44"), "w2c_T44 holds 1 NaN or infinite values out of 16"),
    ],
)
def test_one_bad_batch_costs_one_step_and_nothing_else(
    poison: Poison,
    named: str,
    data: StudioDataModule,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    subject = module()
    trainer = quiet_trainer(tmp_path, 4, callbacks=[poison], gradient_clip_val=1.0, log_every_n_steps=1)
    trainer.fit(subject, datamodule=data)
    assert same(poison.states[1], poison.states[2])
    assert not same(poison.states[0], poison.states[1]) and not same(poison.states[2], poison.states[3])
    assert all(torch.isfinite(value).all() for value in poison.states[3])
    assert trainer.callback_metrics["train/skipped_steps"] == 1 and trainer.global_step == 4
    assert f"Warning: step 2 is skipped: {named} (frame ann_take/cam" in capsys.readouterr().out
    assert not (tmp_path / "nonfinite").exists()


def test_many_in_a_row_end_the_run_and_leave_the_batch(data: StudioDataModule, tmp_path: Path) -> None:
    subject, poison = module(nonfinite_patience=2), Poison(1, 3, 4)
    with pytest.raises(NonFiniteError, match="stopped at step 4 after 2 steps in a row") as caught:
        quiet_trainer(tmp_path, 9, callbacks=[poison]).fit(subject, datamodule=data)
    message = str(caught.value)
    file = tmp_path / "nonfinite" / "step0000004_rank0.pt"
    assert "loss term canonical/l1, animated/l1 is not finite" in message and message.count(".\n") == 0
    assert message.endswith(f"look at the batch in {file}.") and "learning_rate" in message
    saved = torch.load(file, weights_only=True)
    images = saved["targets"]["images_BT3HW"]
    assert images[0, -1].flatten()[5].isnan() and int(images.isnan().sum()) == 1
    assert saved["frames"][0][-1] in message and saved["subjects"] == ["ann"] and saved["step"] == 4
    assert saved["reason"] in message and saved["terms"]["canonical/l1"].isnan()
    assert saved["terms"]["position"].isfinite() and saved["background_BT3"].shape == (1, images.shape[1], 3)
    parts = (saved["references"], saved["driving"], saved["targets"])
    assert [len(part) for part in parts] == [7, 4, 4] and saved["identity_BI"].dim() == 2
    grid = Image.open(file.with_suffix(".png"))
    assert grid.size == ((4 + images.shape[1]) * 48, 64)
    assert grid.getpixel((grid.width - 48 + 5, 0)) == (255, 0, 255)
    assert sorted(path.name for path in file.parent.iterdir()) == [file.with_suffix(".png").name, file.name]


def test_accumulated_parts_are_skipped_together_and_the_culprit_is_named(
    data: StudioDataModule, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subject, poison = module(), Poison(2)
    quiet_trainer(tmp_path, 3, callbacks=[poison], accumulate_grad_batches=2).fit(subject, datamodule=data)
    assert subject.guard.skipped == 1 and same(poison.states[1], poison.states[3])
    assert not same(poison.states[3], poison.states[5])
    assert "step 1 is skipped: loss term canonical/l1" in capsys.readouterr().out


def test_a_bad_gradient_under_a_good_loss_names_the_part(batch: Batch, tmp_path: Path) -> None:
    subject = module()
    guard, whole = NonFiniteGuard(patience=2), attempt(batch, total=1.0, scale=1.0)
    for parameter in subject.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    subject.model.pose_decoder.layers[-1].bias.grad[0] = math.inf
    guard.watch(whole, torch.tensor(1.0))
    warning = guard.check(gradient_norms(subject.model), subject.model, 7, tmp_path)
    assert warning.startswith("Warning: step 7 is skipped: the gradient of pose_decoder is not finite")
    assert all(parameter.grad is None for parameter in subject.model.parameters())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_bad_loss_spoils_every_gradient_even_where_derivatives_are_finite(
    value: float, batch: Batch
) -> None:
    weight = torch.tensor([1.0, 2.0], requires_grad=True)
    loss = (weight[0] - value).abs() + weight[1]
    assert torch.isfinite(torch.autograd.grad(loss, weight, retain_graph=True)[0]).all()
    NonFiniteGuard(3).watch(attempt(batch, total=value), loss).backward()
    assert weight.grad is not None and weight.grad.isnan().all()


def test_a_good_loss_passes_unchanged(batch: Batch) -> None:
    weight = torch.rand(5, requires_grad=True)
    plain = torch.autograd.grad((weight**3).sum(), weight)[0]
    loss = (weight**3).sum()
    watched = NonFiniteGuard(3).watch(attempt(batch, total=1.0), loss)
    assert torch.equal(watched, loss) and torch.equal(torch.autograd.grad(watched, weight)[0], plain)


def test_a_full_disk_does_not_hide_the_reason(batch: Batch, tmp_path: Path) -> None:
    (tmp_path / "nonfinite").write_text("in the way")
    subject, guard = module(), NonFiniteGuard(patience=1)
    guard.give_up(attempt(batch, total=math.nan), subject.model.parameters()).backward()
    with pytest.raises(NonFiniteError, match=r"total is not finite .*could not be saved .*is a file"):
        guard.check(gradient_norms(subject.model), subject.model, 0, tmp_path / "nonfinite")


def test_patience_is_at_least_one() -> None:
    with pytest.raises(ConfigError, match="model.optimizer.nonfinite_patience must be at least 1, got 0"):
        OptimizerConfig(nonfinite_patience=0)
