"""Training-step benchmark: compiled parts run eagerly here (compiling is slow); wrong losses stop it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from lca_lightning.benchmarks import steps, train_step
from lca_lightning.benchmarks.flops import count_work
from lca_lightning.benchmarks.models import random_model
from lca_lightning.benchmarks.sizes import BenchOptions
from lca_lightning.errors import LCAError, MissingAssetError

CPU = torch.device("cpu")
OPTIONS = BenchOptions(CPU, "tiny", rounds=1, views=1)


@pytest.fixture
def _nothing_compiles() -> Iterator[None]:
    with torch.compiler.set_stance("force_eager"):
        yield


@pytest.mark.usefixtures("_nothing_compiles")
def test_tiny_step_is_timed_and_predicted() -> None:
    report = train_step.measure_train_step(OPTIONS)
    assert report.measurements[0].rival == "eager"
    figures = {figure.name: figure.value for figure in report.figures}
    assert figures["predicted step"] > 0
    assert figures["step / predicted"] == pytest.approx(
        report.measurements[0].ours_ms / figures["predicted step"]
    )
    assert not any("MFU" in name or "memory" in name.split(" ")[0] for name in figures)


@pytest.mark.usefixtures("_nothing_compiles")
def test_other_losses_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    both = steps.TrainingStep.loss_and_gradient_norm
    calls = {"count": 0}

    def perturbed(self: steps.TrainingStep) -> list[torch.Tensor]:
        calls["count"] += 1
        loss, norm = both(self)
        return [loss * (1 + 1e-3 * (calls["count"] % 2)), norm]

    monkeypatch.setattr(steps.TrainingStep, "loss_and_gradient_norm", perturbed)
    with pytest.raises(LCAError, match="Compiled and eager model"):
        train_step.measure_train_step(OPTIONS)


def test_without_a_compiler_there_is_nothing_to_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_step, "can_compile", lambda device: False)
    with pytest.raises(MissingAssetError, match="compiler"):
        train_step.measure_train_step(OPTIONS)


def test_a_step_changes_the_weights_and_checkpointing_repeats_work() -> None:
    step = steps.step_of(random_model("tiny", CPU), "tiny", 1, torch.float32)
    before = step.model.tokenizer.image_projection.weight.detach().clone()
    plain = count_work(step)
    assert (step.model.tokenizer.image_projection.weight - before).abs().max() > 0
    assert plain.recomputed == 0
    step.model.config.gradient_checkpointing = True
    again = count_work(step)
    assert again.recomputed > 0
    assert again.needed == pytest.approx(plain.total, rel=1e-6)


def test_loss_and_gradient_do_not_move_between_calls() -> None:
    step = steps.step_of(random_model("tiny", CPU), "tiny", 1, torch.float32)
    first, second = step.loss_and_gradient_norm(), step.loss_and_gradient_norm()
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.slow
def test_compiled_step_agrees_with_the_eager_one() -> None:
    report = train_step.measure_train_step(OPTIONS)
    assert 0 < report.measurements[0].difference < 1e-4
