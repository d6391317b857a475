"""Weights & Biases by configuration: where it is installed, and a clear word where it is not."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import yaml
from jsonargparse import Namespace

from lca_lightning.cli.run_loggers import prepare_loggers, refusals_of_loggers
from lca_lightning.errors import MissingAssetError
from tests.cli.commands import lca, small

WANDB = ["--config", "overlay/wandb"]


@pytest.fixture
def without_wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which the extra is not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "wandb" else find(name, *a)
    )


def named(**arguments: str) -> Namespace:
    """A logger as the parser gives it."""
    path = "lightning.pytorch.loggers.WandbLogger"
    return Namespace(class_path=path, init_args=Namespace(**arguments))


@pytest.mark.usefixtures("without_wandb")
def test_a_missing_package_is_named(
    wild_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--config", "tiny/pretrain", *WANDB, *small(wild_root), "--run_dir", str(tmp_path / "run")]
    assert lca("fit", *words) == 1
    err = capsys.readouterr().err
    assert "pip install 'lca-lightning[wandb]'" in err and err.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("without_wandb")
def test_other_loggers_do_not_need_it(tmp_path: Path) -> None:
    other = Namespace(class_path="lightning.pytorch.loggers.CSVLogger", init_args=Namespace(save_dir="x"))
    for loggers in (None, True, False, other, [other]):
        prepare_loggers(loggers, tmp_path)
    assert other.init_args.save_dir == "x"
    with pytest.raises(MissingAssetError, match="wandb"):
        prepare_loggers([other, named()], tmp_path)


def test_a_run_without_a_login_is_told_the_way_out() -> None:
    refusal = type("UsageError", (Exception,), {"__module__": "wandb.errors.errors"})
    with (
        pytest.raises(MissingAssetError, match=r"\(No API key configured\); run `wandb login`.*offline=true"),
        refusals_of_loggers(),
    ):
        raise refusal("No API key configured.\nUse `wandb login`.")
    with pytest.raises(ValueError, match="our own"), refusals_of_loggers():
        raise ValueError("our own")


def test_files_go_to_the_run_and_curves_go_on(tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="Weights & Biases is not installed")
    first, again, chosen = named(), named(), named(name="mine", id="known")
    for logger in (first, again, chosen):
        prepare_loggers(logger, tmp_path / "tiny" / "run")
    assert first.init_args.save_dir == str(tmp_path / "tiny" / "run") and first.init_args.name == "tiny/run"
    assert first.init_args.id != again.init_args.id
    before = first.init_args.id
    prepare_loggers(first, tmp_path / "elsewhere")
    assert first.init_args.id == before and first.init_args.save_dir == str(tmp_path / "elsewhere")
    assert (chosen.init_args.name, chosen.init_args.id) == ("mine", "known")


@pytest.mark.slow
def test_a_run_with_weights_and_biases(
    wild_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb", reason="Weights & Biases is not installed")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = tmp_path / "run"
    offline = ["--trainer.logger.init_args.offline=true", "--run_dir", str(run)]
    assert lca("fit", "--config", "tiny/pretrain", *WANDB, *small(wild_root), *offline) == 0
    (folder,) = (run / "wandb").glob("offline-run-*")
    assert list(folder.glob("run-*.wandb")) and list(folder.glob("files/media/images/train/grid_*.png"))
    assert list(folder.glob("files/media/images/validation/turntable_*.png"))
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (
        config["trainer"]["logger"]["init_args"]["id"] in folder.name and not (run / "tensorboard").exists()
    )
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "wandb" else find(name, *a)
    )
    assert lca("test", "--ckpt_path", str(run / "last.ckpt")) == 0  # on a machine that lacks the package
    assert len(list((run / "wandb").glob("offline-run-*"))) == 1
    wandb.finish()  # or the next one in this process would go on with it
