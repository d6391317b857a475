"""Wrong use of the training commands: one sentence, the way out, exit status 1 or 2, nothing written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.cli import LightningCLI

from lca_lightning.cli.lightning_cli import LCALightningCLI
from tests.cli.commands import lca, small


@pytest.mark.parametrize("name", ["_parse_ckpt_path", "_prepare_subcommand_kwargs", "_run_subcommand"])
def test_what_we_override_still_exists_upstream(name: str) -> None:
    assert callable(getattr(LightningCLI, name))
    assert name in vars(LCALightningCLI)


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["--config", "tiny/postrain.yaml"], 2, "did you mean 'tiny/posttrain'"),
        (["--config", "tiny/pretrain", "--model.avatar.widht=8"], 2, "did you mean 'model.avatar.width'"),
        (["--config", "tiny/pretrain", "--trainer.max_step=8"], 2, "did you mean 'trainer.max_steps'"),
        (["--config", "tiny/pretrain", "--data.init_args.rot=x"], 2, "did you mean 'data.init_args.root'"),
        (["--config", "tiny/pretrain", "--data=NoSuchModule"], 2, "NoSuchModule"),
        (["--config", "tiny/pretrain", "--trainer.max_steps=many"], 2, "trainer.max_steps"),
        (["--trainer.max_steps=3"], 2, "--config"),
        (["--config", "tiny/pretrain", "--data.init_args.root=nowhere"], 1, "lca synthesize"),
        (["--ckpt_path", "gone.ckpt"], 1, "No checkpoint at gone.ckpt"),
    ],
)
def test_one_sentence(
    words: list[str],
    status: int,
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LCA_DATA", raising=False)
    assert lca("fit", *words) == status
    err = capsys.readouterr().err
    assert text in err and err.count("\n") == 1 and "Traceback" not in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "key", "nearest"),
    [
        ("model: {optimizer: {learning_rat: 0.1}}", "learning_rat'", "model.optimizer.learning_rate"),
        ("modell: {}", "modell'", "model"),
        ("modell:", "modell'", "model"),
    ],
)
def test_unknown_key_in_a_recipe_file(
    text: str, key: str, nearest: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(text + "\n")
    assert lca("fit", "--config", "tiny/pretrain", "--config", str(recipe)) == 2
    err = capsys.readouterr().err
    assert key in err and f"did you mean '{nearest}'" in err


def test_precision_and_device(wild_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fit", "--config", "tiny/pretrain", *small(wild_root), "--run_dir", str(tmp_path / "run")]
    assert lca(*words, "--trainer.precision=bf16-mixed") == 1
    assert "needs CUDA" in capsys.readouterr().err
    if not torch.cuda.is_available():
        assert lca(*words, "--trainer.accelerator=cuda") == 1
        assert "no CUDA device" in capsys.readouterr().err
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lca_lightning.cli.consistency.runs_on_cuda", lambda _: True)
        assert lca(*words, "--trainer.precision=16-mixed") == 1
        assert "use bf16-mixed" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_impossible_model(wild_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fit", "--config", "tiny/pretrain", *small(wild_root), "--run_dir", str(tmp_path / "run")]
    assert lca(*words, "--model.avatar.width=30") == 1
    assert "multiple of" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def tampered(source: Path, target: Path, **changes: object) -> str:
    """Copy a checkpoint with changes in its block."""
    checkpoint = torch.load(source, weights_only=True)
    checkpoint["lca"].update(changes)
    torch.save(checkpoint, target)
    return str(target)


def test_foreign_checkpoints(pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.ckpt"
    torch.save({"state_dict": {}}, other)
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    source = pretrained / "last.ckpt"
    cases = [
        (str(other), "not written by lca-lightning"),
        (str(tmp_path / "text.ckpt"), "not a checkpoint"),
        (tampered(source, tmp_path / "new.ckpt", version=99), "checkpoint version 99"),
        (tampered(source, tmp_path / "rig.ckpt", rig="mhr"), "rig 'mhr'"),
    ]
    for path, text in cases:
        assert lca("test", "--ckpt_path", path, "--run_dir", str(tmp_path / "run")) == 1
        err = capsys.readouterr().err
        assert text in err and err.count("\n") == 1, err


def test_checkpoint_of_another_size(
    pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--ckpt_path", str(pretrained / "last.ckpt"), "--run_dir", str(tmp_path)]
    assert lca("test", *words, "--model.avatar.width=24") == 1
    assert "does not fit the model" in capsys.readouterr().err


class BadPixel(pl.Callback):
    """A target picture that is not a picture, in one batch.

    Args:
        batch: Which.
    """

    def __init__(self, batch: int) -> None:
        self.batch = batch

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Put NaN into one pixel."""
        if batch_idx == self.batch:
            batch.targets.images_BT3HW[0, 0, 0, 3, 4] = float("nan")


def test_one_bad_picture_costs_one_step(
    wild_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = ["--trainer.callbacks+=tests.cli.test_training_errors.BadPixel", "--trainer.callbacks.batch=1"]
    words = ["--config", "tiny/pretrain", *small(wild_root), *bad, "--run_dir", str(tmp_path)]
    assert lca("fit", *words) == 0
    out = capsys.readouterr().out
    assert "Warning: step 1 is skipped: loss term canonical/l1, animated/l1 is not finite (frame ann_" in out
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 4 and not (tmp_path / "nonfinite").exists()
    assert all(torch.isfinite(tensor).all() for tensor in checkpoint["state_dict"].values())
    assert all(state["step"] == 3 for state in checkpoint["optimizer_states"][0]["state"].values())


def test_a_learning_rate_that_destroys_the_model_stops_the_run_and_leaves_the_batch(
    wild_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = small(
        wild_root, trainer__max_steps=9, trainer__val_check_interval=9, model__optimizer__learning_rate=1e30
    )
    run = ["--run_dir", str(tmp_path / "run"), "--model.optimizer.nonfinite_patience=2"]
    assert lca("fit", "--config", "tiny/pretrain", *options, *run) == 1
    file = tmp_path / "run" / "nonfinite" / "step0000002_rank0.pt"
    err = capsys.readouterr().err.splitlines()[-1]
    assert "Training stopped at step 2 after 2 steps in a row" in err and "Traceback" not in err
    assert "holds" in err and "learning_rate" in err and err.endswith(f"{file}.")
    saved = torch.load(file, weights_only=True)
    assert saved["frames"][0][0] in err and saved["targets"]["images_BT3HW"].isfinite().all()
    assert file.with_suffix(".png").is_file()


def test_patience_must_be_positive(wild_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--config", "tiny/pretrain", *small(wild_root), "--model.optimizer.nonfinite_patience=0"]
    assert lca("fit", *words) == 1
    assert "nonfinite_patience must be at least 1" in capsys.readouterr().err
