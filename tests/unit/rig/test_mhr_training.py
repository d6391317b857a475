"""A model on the MHR rig, from data to avatar file, with a small stand-in for its asset."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lca_lightning import load_avatar
from lca_lightning.avatar.create import create_avatar, model_from_checkpoint
from lca_lightning.avatar.io import save_avatar
from lca_lightning.batch import References
from lca_lightning.errors import MissingAssetError
from lca_lightning.rig.anny import AnnyRig
from lca_lightning.rig.mhr import MHRRig
from lca_lightning.training.checkpoints import read_checkpoint
from tests.cli.commands import lca, small
from tests.mhr_stand_in import save_stand_in
from tests.tiny_capture import write_capture

SUBJECTS = {"ann": "train", "bob": "test"}


@pytest.fixture(scope="module")
def asset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_stand_in(tmp_path_factory.mktemp("asset") / "mhr_model.pt")


@pytest.fixture(scope="module")
def root(asset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_capture(tmp_path_factory.mktemp("data"), MHRRig(asset), SUBJECTS, 1, "wild")


@pytest.fixture(scope="module")
def checkpoint(root: Path, asset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run")
    rig = [f"--model.avatar.rig_asset={asset}", "--model.avatar.rig=mhr"]
    rig.append("--model.augmentation.flip_probability=0")  # the stand-in's identity has no mirror image
    assert lca("fit", "--config", "tiny/pretrain.yaml", *small(root), *rig, "--run_dir", str(run)) == 0
    return run / "last.ckpt"


def test_a_trained_checkpoint_says_its_rig_and_makes_avatars(
    checkpoint: Path, asset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = read_checkpoint(checkpoint)
    assert loaded["lca"]["rig"] == "mhr" and loaded["global_step"] > 0
    model = model_from_checkpoint(loaded, str(checkpoint))
    assert isinstance(model.rig, MHRRig)
    generator = torch.Generator().manual_seed(0)
    references = References(
        torch.rand(1, 1, 3, 64, 48, generator=generator), torch.rand(1, 1, 3, 32, 32, generator=generator),
        torch.ones(1, 1, dtype=torch.bool), torch.ones(1, 1, dtype=torch.bool),
    )  # fmt: skip
    identity = 0.1 * torch.randn(model.rig.identity_size, generator=generator)
    path = tmp_path / "a.lca"
    save_avatar(create_avatar(model, references, identity), path)
    again = load_avatar(path)
    assert again.rig.name == "mhr" and torch.equal(again.identity_I, identity)
    asset.rename(tmp_path / "moved.pt")
    try:
        with pytest.raises(MissingAssetError, match="give its path as model.avatar.rig_asset"):
            load_avatar(path)
        monkeypatch.setenv("LCA_MHR", str(tmp_path / "moved.pt"))
        assert load_avatar(path).rig.joint_names == model.rig.joint_names
    finally:
        (tmp_path / "moved.pt").rename(asset)


def test_a_model_of_another_rig_refuses_the_checkpoint_and_the_data(
    checkpoint: Path,
    root: Path,
    asset: Path,
    rig: AnnyRig,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = ["fit", "--config", "tiny/pretrain.yaml", f"--run_dir={tmp_path}/run"]
    assert lca(*run, *small(root)) == 1
    message = capsys.readouterr().err
    assert "data.init_args.root" in message and "model.avatar.rig is 'anny'; set it to mhr" in message
    anny = write_capture(tmp_path / "anny", rig, SUBJECTS, 1, "wild")
    assert lca(*run, *small(anny), f"--model.init_from={checkpoint}") == 1
    assert "was trained on the rig 'mhr', the model uses 'anny'" in capsys.readouterr().err
    words = [*small(anny), "--model.avatar.rig=mhr", f"--model.avatar.rig_asset={asset}"]
    assert lca(*run, *words) == 1
    assert "set it to anny" in capsys.readouterr().err
