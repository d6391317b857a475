"""Averaged weights: what is averaged, what is measured, what is stored, and that nothing gets lost."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import lca_lightning
from tests.cli.averaging_probe import Probe, Weights
from tests.cli.commands import lca, small

DECAY = 0.3  # reached at once: (1 + n) / (10 + n) is 0.1 for n = 0, 0.18, 0.25, 0.31 ...
EMA = ["--config", "overlay/ema", f"--trainer.callbacks.init_args.decay={DECAY}"]
PROBE = "--trainer.callbacks+=tests.cli.averaging_probe.Probe"


@pytest.fixture(scope="module")
def options(wild_root: Path) -> list[str]:
    """A run of six steps that validates after every second one."""
    sizes = small(wild_root, trainer__max_steps=6, model__optimizer__learning_rate=1e-2)
    return ["fit", "--config", "tiny/pretrain", *EMA, *sizes, PROBE]


@pytest.fixture(scope="module")
def straight(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Probe]:
    """An uninterrupted run, with what the probe saw."""
    directory = tmp_path_factory.mktemp("averaged")
    Probe.trained, Probe.validated = {}, {}
    assert lca(*options, f"--run_dir={directory}") == 0
    seen = Probe()
    seen.trained, seen.validated = Probe.trained, Probe.validated
    return directory, seen


def load(path: Path) -> dict:
    """A checkpoint, read without unpickling anything but tensors and plain values."""
    return torch.load(path, weights_only=True)


def assert_equal(ours: Weights, theirs: Weights, tolerance: float = 0.0) -> None:
    """Compare two sets of weights."""
    assert set(ours) == set(theirs)
    for name, value in ours.items():
        assert torch.allclose(value.double(), theirs[name].double(), rtol=0, atol=tolerance), name


def average(trained: dict[int, Weights], steps: int) -> Weights:
    """The average by its definition: the first weights, then a share of the past that grows to the decay."""
    mean = {name: value.double() for name, value in trained[1].items()}
    for step in range(2, steps + 1):
        updates = step - 1
        decay = min(DECAY, (1 + updates) / (10 + updates))
        for name, value in trained[step].items():
            counts = not value.is_floating_point()
            mean[name] = value.double() if counts else decay * mean[name] + (1 - decay) * value.double()
    return mean


def test_checkpoints_hold_the_average_and_the_trained_weights(straight: tuple[Path, Probe]) -> None:
    directory, probe = straight
    checkpoint = load(directory / "last.ckpt")
    assert_equal(checkpoint["state_dict"], average(probe.trained, 6), 1e-6)
    assert_equal(checkpoint["current_model_state"], probe.trained[6])
    assert int(checkpoint["state_dict"]["model.step"]) == 6  # a counter is no weight
    moved = [
        name
        for name, value in checkpoint["state_dict"].items()
        if not torch.equal(value, checkpoint["current_model_state"][name])
    ]
    assert len(moved) > 50


def test_validation_measures_the_average(straight: tuple[Path, Probe]) -> None:
    _, probe = straight
    assert set(probe.validated) == {2, 4, 6}
    for step, weights in probe.validated.items():
        assert_equal(weights, average(probe.trained, step), 1e-6)


def test_avatars_and_post_training_use_the_average(
    straight: tuple[Path, Probe], wild_root: Path, tmp_path: Path
) -> None:
    source = straight[0] / "last.ckpt"
    stored = {name.removeprefix("model."): value for name, value in load(source)["state_dict"].items()}
    creator = lca_lightning.load_model(source)
    assert_equal({**creator.model.state_dict()}, stored)
    Probe.trained, Probe.validated = {}, {}
    run = [*small(wild_root, trainer__max_steps=1, trainer__num_sanity_val_steps=1), f"--run_dir={tmp_path}"]
    start = f"--model.init_from={source}"
    assert lca("fit", "--config", "tiny/pretrain", *EMA, *run, start, PROBE) == 0
    before = Probe.validated[0]  # the first look is at the weights it starts from, not at random ones
    before["model.step"] = load(source)["state_dict"]["model.step"]
    assert_equal(before, load(source)["state_dict"])


def test_resuming_is_exact(options: list[str], straight: tuple[Path, Probe], tmp_path: Path) -> None:
    stop = ["--trainer.callbacks+=tests.cli.commands.InterruptAt", "--trainer.callbacks.init_args.step=3"]
    assert lca(*options, *stop, f"--run_dir={tmp_path}") == 130
    assert_same_end(options, straight[0], tmp_path / "interrupted.ckpt")


def test_an_interruption_in_validation_mixes_nothing_up(
    options: list[str], straight: tuple[Path, Probe], tmp_path: Path
) -> None:
    stop = "--trainer.callbacks.init_args.stop_in_validation=4"
    assert lca(*options, stop, f"--run_dir={tmp_path}") == 130
    checkpoint = load(tmp_path / "interrupted.ckpt")
    assert_equal(checkpoint["current_model_state"], straight[1].trained[4])
    assert_equal(checkpoint["state_dict"], average(straight[1].trained, 4), 1e-6)
    assert_same_end(options, straight[0], tmp_path / "interrupted.ckpt")


def assert_same_end(options: list[str], straight: Path, checkpoint: Path) -> None:
    """Continue a checkpoint and compare its end with the straight run's."""
    again = checkpoint.parent / "again"
    assert lca(*options, f"--ckpt_path={checkpoint}", f"--run_dir={again}") == 0
    ends = [load(directory / "last.ckpt") for directory in (straight, again)]
    for key in ("state_dict", "current_model_state", "averaging_state"):
        assert_equal(ends[0][key], ends[1][key])


def test_a_finished_run_continues_from_the_trained_weights(
    options: list[str], straight: tuple[Path, Probe], tmp_path: Path
) -> None:
    """The schedule is given a length of its own, so that the longer run is the same run."""
    longer = [*options, "--model.optimizer.total_steps=6", "--model.optimizer.final_fraction=0.1"]
    assert lca(*longer, "--trainer.max_steps=4", f"--run_dir={tmp_path / 'short'}") == 0
    source = f"--ckpt_path={tmp_path / 'short' / 'last.ckpt'}"
    assert lca(*longer, source, f"--run_dir={tmp_path / 'more'}") == 0
    assert lca(*longer, f"--run_dir={tmp_path / 'whole'}") == 0
    ends = [load(tmp_path / name / "last.ckpt") for name in ("more", "whole")]
    for key in ("state_dict", "current_model_state"):
        assert_equal(ends[0][key], ends[1][key])


def test_going_on_without_averaging_is_refused(
    straight: tuple[Path, Probe], wild_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--config", "tiny/pretrain", *small(wild_root, trainer__max_steps=8), f"--run_dir={tmp_path}"]
    assert lca("fit", *words, f"--ckpt_path={straight[0] / 'last.ckpt'}") == 1
    err = capsys.readouterr().err
    assert "overlay/ema" in err and "model.init_from" in err and err.count("\n") == 1


@pytest.mark.parametrize("again", [[], EMA[:2]], ids=["alone", "overlay named again"])
def test_a_test_uses_the_average_without_a_word(
    straight: tuple[Path, Probe], again: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Probe.validated = {}
    assert lca("test", *again, f"--ckpt_path={straight[0] / 'last.ckpt'}", f"--run_dir={tmp_path}") == 0
    assert "WeightAveraging" not in "".join(capsys.readouterr())


def test_impossible_decay(wild_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fit", "--config", "tiny/pretrain", *EMA, *small(wild_root), f"--run_dir={tmp_path}"]
    assert lca(*words, "--trainer.callbacks.init_args.decay=1.0") == 1
    assert "between 0 and 1" in capsys.readouterr().err
