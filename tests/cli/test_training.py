"""`lca fit | test | predict` from end to end on a capture of seconds: files, resume, initialisation."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.cli.commands import SMALL_DATA, Recorder, lca, small
from tests.distributed import processes
from tests.tiny_capture import FRAMES

RECORD = "--trainer.callbacks+=tests.cli.commands.Recorder"


def load(path: Path) -> dict:
    """A checkpoint, read without unpickling anything but tensors and plain values."""
    return torch.load(path, weights_only=True)


def test_fit_leaves_a_complete_run(pretrained: Path) -> None:
    assert {"config.yaml", "last.ckpt", "best.ckpt", "tensorboard", "images"} <= set(os.listdir(pretrained))
    assert not list(pretrained.rglob("*.partial"))
    config = yaml.safe_load((pretrained / "config.yaml").read_text())
    assert config["model"]["avatar"]["width"] == 16 and "ckpt_path" not in config
    events = EventAccumulator(str(pretrained / "tensorboard"))
    events.Reload()
    scalars = set(events.Tags()["scalars"])
    assert {"train/loss", "train/animated/l1", "train/canonical/mask", "train/learning_rate"} <= scalars
    assert {"train/images_per_second", "val/psnr", "val/l1"} <= scalars
    assert {"train/grid", "validation/grid"} <= set(events.Tags()["images"])


def test_checkpoint_carries_what_is_needed_and_nothing_frozen(pretrained: Path) -> None:
    checkpoint = load(pretrained / "last.ckpt")
    block = checkpoint["lca"]
    assert (block["format"], block["version"], block["rig"], block["anchors"]) == (
        "lca-checkpoint",
        1,
        "anny",
        64,
    )
    assert block["model"]["width"] == 16 and block["backbone"] == "random-tiny"
    assert block["config"] == (pretrained / "config.yaml").read_text()
    assert checkpoint["global_step"] == 4
    frozen = ("backbone", "perceptual", "lpips", "rig.", "anchors.")
    assert not [name for name in checkpoint["state_dict"] if any(part in name for part in frozen)]


def test_test_needs_only_the_checkpoint(
    pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert lca("test", "--ckpt_path", str(pretrained / "best.ckpt")) == 0
    assert str(pretrained / "test") in capsys.readouterr().out
    metrics = json.loads((pretrained / "test" / "metrics.json").read_text())
    [everything, _] = metrics["results"]
    assert {"psnr", "l1", "lpips"} <= set(everything["scores"])
    assert everything["subjects"] == 1 and metrics["checkpoint"] == str(pretrained / "best.ckpt")
    rows = list(csv.DictReader((pretrained / "test" / "metrics.csv").open()))
    assert len(rows) == everything["frames"] > 0
    mean = sum(float(row["masked/psnr"]) for row in rows) / len(rows)
    assert everything["scores"]["psnr"] == pytest.approx(mean, abs=1e-6)
    assert not list(tmp_path.iterdir())


def test_test_on_other_data_in_another_place(pretrained: Path, studio_root: Path, tmp_path: Path) -> None:
    root = f"--data.init_args.root={studio_root}"
    words = ["--ckpt_path", str(pretrained / "last.ckpt"), root, "--run_dir", str(tmp_path / "other")]
    assert lca("test", *words) == 0
    rows = list(csv.DictReader((tmp_path / "other" / "test" / "metrics.csv").open()))
    assert {row["frame"].split("/")[1] for row in rows} == {"cam0", "cam1", "cam2"}


def test_untrained_model_can_be_tested(wild_root: Path, tmp_path: Path) -> None:
    words = ["--config", "tiny/pretrain", *small(wild_root), "--run_dir", str(tmp_path)]
    assert lca("test", *words) == 0
    assert json.loads((tmp_path / "test" / "metrics.json").read_text())["checkpoint"] is None


def test_predict_writes_a_picture_per_frame(pretrained: Path, wild_root: Path) -> None:
    assert lca("predict", "--ckpt_path", str(pretrained / "last.ckpt")) == 0
    pictures = sorted((pretrained / "predictions").rglob("*.png"))
    assert 0 < len(pictures) <= FRAMES
    assert Image.open(pictures[0]).size == (48, 64)


def test_validate(pretrained: Path) -> None:
    assert lca("validate", "--ckpt_path", str(pretrained / "last.ckpt")) == 0


def test_interrupted_and_resumed_equals_straight(
    studio_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = ["fit", "--config", "tiny/posttrain.yaml", *small(studio_root), RECORD]
    Recorder.steps.clear()
    assert lca(*recipe, "--run_dir", str(tmp_path / "straight")) == 0
    straight = list(Recorder.steps)
    Recorder.steps.clear()
    stop = [
        "--trainer.callbacks+=tests.cli.commands.InterruptAt",
        "--trainer.callbacks.init_args.step=3",
        "--last_checkpoint.every_n_steps=2",
    ]
    assert lca(*recipe, *stop, "--run_dir", str(tmp_path / "stopped")) == 130
    assert "interrupted" in capsys.readouterr().err
    assert load(tmp_path / "stopped" / "last.ckpt")["global_step"] == 2
    assert load(tmp_path / "stopped" / "interrupted.ckpt")["global_step"] == 3
    for name in ("last.ckpt", "interrupted.ckpt"):
        Recorder.steps.clear()
        done = load(tmp_path / "stopped" / name)["global_step"]
        resumed = ["--run_dir", str(tmp_path / name), "--ckpt_path", str(tmp_path / "stopped" / name)]
        assert lca(*recipe, *resumed) == 0
        assert Recorder.steps == straight[done:]
        ends = [load(tmp_path / run / "last.ckpt") for run in ("straight", name)]
        for key, tensor in ends[0]["state_dict"].items():
            assert torch.equal(tensor, ends[1]["state_dict"][key]), key
        states = [end["optimizer_states"][0]["state"] for end in ends]
        assert all(torch.equal(states[0][i]["exp_avg_sq"], states[1][i]["exp_avg_sq"]) for i in states[0])


@pytest.fixture(scope="module", params=[1, 2], ids=["one batch a step", "two batches a step"])
def uninterrupted(
    request: pytest.FixtureRequest, studio_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[str], Path, list[tuple[int, str, float]]]:
    """Words, run directory and steps of a run of four steps, without and with accumulated gradients."""
    options = {"trainer__accumulate_grad_batches": request.param, "image_grids__every_n_steps": 0}
    words = ["fit", "--config", "tiny/posttrain.yaml", *small(studio_root, **options), RECORD]
    directory = tmp_path_factory.mktemp("uninterrupted")
    Recorder.steps.clear()
    assert lca(*words, "--run_dir", str(directory)) == 0
    return words, directory, list(Recorder.steps)


@pytest.mark.parametrize(
    ("step", "number"), [(1, signal.SIGTERM), (2, signal.SIGINT), (3, signal.SIGUSR1)], ids=["1", "2", "3"]
)
def test_a_signal_in_any_step_loses_nothing(
    uninterrupted: tuple[list[str], Path, list[tuple[int, str, float]]],
    step: int,
    number: signal.Signals,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words, whole, steps = uninterrupted
    at = ["--trainer.callbacks+=tests.distributed.recording.SignalAt"]
    at += [f"--trainer.callbacks.init_args.{key}" for key in (f"step={step - 1}", f"number={int(number)}")]
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    Recorder.steps.clear()
    assert lca(*words, *at, "--run_dir", str(tmp_path / "stopped")) == 128 + number
    assert f"lca fit --ckpt_path {tmp_path / 'stopped' / 'last.ckpt'}" in "".join(capsys.readouterr())
    assert load(tmp_path / "stopped" / "last.ckpt")["global_step"] == step
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == handlers
    assert not (tmp_path / "stopped" / "interrupted.ckpt").exists()
    source = ["--ckpt_path", str(tmp_path / "stopped" / "last.ckpt")]
    assert lca(*words, *source, "--run_dir", str(tmp_path / "again")) == 0
    assert Recorder.steps == steps  # those before the signal, then those after it
    ends = [load(directory / "last.ckpt")["state_dict"] for directory in (whole, tmp_path / "again")]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_resume_alone_continues_in_its_run_and_keeps_new_options(wild_root: Path, tmp_path: Path) -> None:
    first = small(wild_root, trainer__max_steps=1, trainer__val_check_interval=1)
    assert lca("fit", "--config", "tiny/pretrain", *first, "--run_dir", str(tmp_path / "run")) == 0
    words = ["--ckpt_path", str(tmp_path / "run" / "last.ckpt"), "--trainer.max_steps=2"]
    assert lca("fit", *words, "--model.optimizer.weight_decay=0.5") == 0
    checkpoint = load(tmp_path / "run" / "last.ckpt")
    config = yaml.safe_load(checkpoint["lca"]["config"])
    assert checkpoint["global_step"] == 2
    assert config["model"]["optimizer"]["weight_decay"] == 0.5 and config["model"]["avatar"]["width"] == 16


def test_post_training_starts_from_weights_only(
    pretrained: Path, studio_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = small(studio_root, trainer__max_steps=1, model__optimizer__layer_decay=0.0)
    source = f"--model.init_from={pretrained / 'last.ckpt'}"
    run = ["--run_dir", str(tmp_path)]
    assert lca("fit", "--config", "tiny/posttrain", *options, source, *run) == 0
    assert " tensors matched; 0 missing; 0 unexpected; 0 resized" in capsys.readouterr().out
    before, after = (load(folder / "last.ckpt") for folder in (pretrained, tmp_path))
    assert after["global_step"] == 1
    for name, tensor in before["state_dict"].items():
        same = torch.equal(tensor, after["state_dict"][name])
        assert same == (name.startswith(("model.encoder", "model.tokenizer", "model.anchor"))), name


def test_a_resumed_post_training_needs_its_first_weights_no_more(
    pretrained: Path, studio_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = tmp_path / "pretrained.ckpt"
    shutil.copy(pretrained / "last.ckpt", first)
    words = ["--config", "tiny/posttrain", *small(studio_root, trainer__max_steps=1)]
    both = [f"--model.init_from={first}", f"--ckpt_path={tmp_path / 'run' / 'last.ckpt'}"]
    assert lca("fit", *words, both[0], "--run_dir", str(tmp_path / "run")) == 0
    first.unlink()
    capsys.readouterr()
    assert lca("fit", *words, *both, "--trainer.max_steps=2") == 0  # as a job does that is queued again
    out = capsys.readouterr().out
    assert "model.init_from was read when that run began" in out and "matched" not in out
    assert load(tmp_path / "run" / "last.ckpt")["global_step"] == 2
    assert lca("test", both[1]) == 0
    assert lca("fit", *words, both[0], "--run_dir", str(tmp_path / "new")) == 1
    assert "model.init_from names" in capsys.readouterr().err


def test_a_checkpoint_of_many_machines_is_tested_on_this_one(pretrained: Path, tmp_path: Path) -> None:
    checkpoint = load(pretrained / "last.ckpt")
    config = yaml.safe_load(checkpoint["lca"]["config"])
    config["trainer"] |= {"accelerator": "cuda", "num_nodes": 8, "devices": 8, "strategy": "ddp"}
    checkpoint["lca"]["config"] = yaml.safe_dump(config)
    torch.save(checkpoint, tmp_path / "last.ckpt")
    assert lca("test", f"--ckpt_path={tmp_path / 'last.ckpt'}", f"--run_dir={tmp_path}") == 0


def test_a_schedule_longer_than_the_run_is_refused(
    wild_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--config", "tiny/pretrain", *small(wild_root), "--run_dir", str(tmp_path / "run")]
    assert lca("fit", *words, "--model.optimizer.warmup_steps=5") == 1
    err = capsys.readouterr().err
    assert "model.optimizer.warmup_steps (5)" in err and "trainer.max_steps (4)" in err
    assert err.count("\n") == 1 and not (tmp_path / "run").exists()


def test_runs_are_filed_by_recipe_and_job(
    wild_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LCA_DATA", str(wild_root))
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("SLURM_NTASKS", "1")
    words = [word for word in small(Path(), trainer__max_steps=1) if "init_args.root" not in word]
    assert lca("fit", "--config", "tiny/pretrain", *words, "--trainer.plugins=LightningEnvironment") == 0
    assert (tmp_path / "runs" / "tiny" / "pretrain" / "4711" / "last.ckpt").is_file()
    assert SMALL_DATA


def test_a_resumed_run_takes_the_rates_it_is_given(
    pretrained: Path, wild_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    words = ["fit", "--config", "tiny/pretrain.yaml", *small(wild_root, trainer__max_steps=6)]
    words += ["--ckpt_path", str(pretrained / "last.ckpt"), "--run_dir", str(run)]
    options = {"learning_rate": 1e-7, "weight_decay": 0.3, "betas": "[0.8,0.9]", "final_fraction": 1.0}
    assert lca(*words, *(f"--model.optimizer.{name}={value}" for name, value in options.items())) == 0
    groups = load(run / "last.ckpt")["optimizer_states"][0]["param_groups"]
    assert [group["lr"] for group in groups] == [1e-7, 1e-7]
    assert [group["weight_decay"] for group in groups] == [0.0, 0.3]
    assert all(tuple(group["betas"]) == (0.8, 0.9) for group in groups)
    capsys.readouterr()
    assert lca(*words, "--model.optimizer.layer_decay=0.5") == 1
    assert "model.optimizer.layer_decay" in capsys.readouterr().err


def test_an_endless_run_needs_a_schedule(
    wild_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"trainer__max_steps": -1, "trainer__max_epochs": -1}
    words = ["fit", "--config", "tiny/pretrain.yaml", *small(wild_root, **options)]
    assert lca(*words, "--run_dir", str(tmp_path / "run")) == 1
    assert "model.optimizer.total_steps" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_of_a_run_loses_nothing(
    wild_root: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """A terminal's Ctrl-C and a scheduler's SIGTERM reach the loading processes too."""
    run = tmp_path / "run"
    options = {
        "data__init_args__num_workers": 2,
        "trainer__max_steps": 9999,
        "trainer__val_check_interval": 9999,
    }
    words = ["fit", "--config", "tiny/pretrain.yaml", *small(wild_root, **options), "--run_dir", str(run)]
    process = processes.start(*words)
    deadline = time.monotonic() + 120.0
    while not (run / "images").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, number)
    status, output = processes.finish(process)
    assert status % 256 == 128 + number, output
    assert (run / "last.ckpt").is_file() and not (run / "interrupted.ckpt").exists()
    assert output.count("Stopping after this step") == (number == signal.SIGINT)
