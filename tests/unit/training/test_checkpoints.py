"""The checkpoint block, safe reading, and weights-only initialisation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from lca_lightning.errors import CheckpointError, ConfigError
from lca_lightning.training import checkpoints


@dataclass
class Sizes:
    width: int = 4
    views: tuple[int, ...] = (1, 2)
    folder: Path = Path("somewhere")


def save(path: Path, model: nn.Module, **changes: object) -> Path:
    """Write a checkpoint of a model as a run would."""
    block = checkpoints.make_block(
        rig="anny", anchors=8, backbone="random-tiny", model=Sizes(), config="a: 1\n"
    )
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": state, checkpoints.BLOCK: {**block, **changes}}, path)
    return path


def test_block_loads_without_unpickling(tmp_path: Path) -> None:
    block = checkpoints.read_checkpoint(save(tmp_path / "a.ckpt", nn.Linear(1, 1)))["lca"]
    assert block["model"] == {"width": 4, "views": [1, 2], "folder": "somewhere"}
    assert block["format"] == "lca-checkpoint" and block["config"] == "a: 1\n"


def test_code_in_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple:
            return (Path(tmp_path / "owned").touch, ())

    torch.save({"lca": Payload()}, tmp_path / "bad.ckpt")
    with pytest.raises(CheckpointError, match="not a checkpoint of lca-lightning"):
        checkpoints.read_checkpoint(tmp_path / "bad.ckpt")
    assert not (tmp_path / "owned").exists()


def test_truncated_checkpoint(tmp_path: Path) -> None:
    path = save(tmp_path / "a.ckpt", nn.Linear(64, 64))
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoints.read_checkpoint(path)


def test_initialise_reports_and_copies(tmp_path: Path) -> None:
    theirs = nn.ModuleDict({"same": nn.Linear(2, 2), "wide": nn.Linear(2, 3), "old": nn.Linear(1, 1)})
    ours = nn.ModuleDict({"same": nn.Linear(2, 2), "wide": nn.Linear(2, 5), "new": nn.Linear(1, 1)})
    untouched = ours["wide"].weight.clone()
    report = checkpoints.initialise(ours, save(tmp_path / "a.ckpt", theirs), "anny")
    assert torch.equal(ours["same"].weight, theirs["same"].weight)
    assert torch.equal(ours["wide"].weight, untouched)
    assert report.matched == ("same.weight", "same.bias")
    assert report.missing == ("new.weight", "new.bias")
    assert report.unexpected == ("old.weight", "old.bias")
    assert report.resized == ("wide.weight", "wide.bias")
    assert str(report).startswith("2 tensors matched; 2 missing (new.weight, new.bias); 2 unexpected")


def test_a_report_warns_where_most_of_the_model_starts_anew() -> None:
    matched, resized = ("a", "b"), ("c", "d", "e")
    assert "STARTS ANEW" in str(checkpoints.MatchReport(matched, (), (), resized))
    assert "STARTS ANEW" in str(checkpoints.MatchReport(matched, resized, (), ()))
    assert "STARTS ANEW" not in str(checkpoints.MatchReport(matched, ("c",), resized, ("d",), resized))


def test_fresh_parts_start_anew_though_the_checkpoint_has_them(tmp_path: Path) -> None:
    def model(hidden: int) -> nn.ModuleDict:
        head = nn.Sequential(nn.Linear(3, hidden), nn.Linear(hidden, 2))
        return nn.ModuleDict({"encoder": nn.Linear(2, 3), "head": head, "other": nn.Linear(3, 1)})

    theirs, ours, wider = model(4), model(4), model(5)
    path = save(tmp_path / "a.ckpt", theirs)
    for subject, resized in ((ours, 0), (wider, 3)):
        before = {name: tensor.clone() for name, tensor in subject.state_dict().items()}
        report = checkpoints.initialise(subject, path, "anny", fresh=["head"])
        for name, tensor in subject.state_dict().items():
            source = before if name.startswith("head.") else theirs.state_dict()
            assert torch.equal(tensor, source[name]), name
        assert len(report.fresh) == 4 and not report.resized and not report.unexpected and not report.missing
        assert str(report).endswith("4 fresh (head)")
        assert len(checkpoints.initialise(subject, path, "anny").resized) == resized


def test_a_fresh_part_that_does_not_exist_is_named_with_those_that_do(tmp_path: Path) -> None:
    model = nn.ModuleDict({"encoder": nn.Linear(2, 2), "head": nn.Linear(2, 2), "nothing": nn.Identity()})
    path = save(tmp_path / "a.ckpt", model)
    for name in ("heads", "nothing"):
        with pytest.raises(ConfigError, match=f"model.fresh names '{name}', .* choose from encoder, head"):
            checkpoints.initialise(model, path, "anny", fresh=["encoder", name])


def test_initialise_refuses_what_does_not_belong(tmp_path: Path) -> None:
    model = nn.ModuleDict({"layer": nn.Linear(2, 2)})
    with pytest.raises(CheckpointError, match="trained on the rig 'mhr'"):
        checkpoints.initialise(model, save(tmp_path / "a.ckpt", model, rig="mhr"), "anny")
    with pytest.raises(CheckpointError, match="Nothing in .* fits"):
        checkpoints.initialise(model, save(tmp_path / "b.ckpt", nn.Linear(7, 7)), "anny")


def test_check_shapes_names_the_first_difference() -> None:
    ours, theirs = {"a": torch.zeros(2), "b": torch.zeros(3)}, {"a": torch.zeros(2), "b": torch.zeros(4)}
    checkpoints.check_shapes(ours, ours, "x")
    with pytest.raises(CheckpointError, match=r"b is \(4,\) there and \(3,\) here"):
        checkpoints.check_shapes(ours, theirs, "x")
    with pytest.raises(CheckpointError, match="c is .* there and nothing here"):
        checkpoints.check_shapes(ours, {**ours, "c": torch.zeros(1)}, "x")
