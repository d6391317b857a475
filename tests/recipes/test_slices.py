"""A run in slices with checkpoints in shards is the straight run; its weights alone serve all else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lca_lightning.training.checkpoints import read_checkpoint
from tests.cli.commands import lca, small

STEPS = 3


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, studio_root: Path) -> tuple[Path, Path]:
    """The straight run, and the same in slices of one step."""
    folder = tmp_path_factory.mktemp("slices")
    words = ["fit", "--config", "tiny/posttrain", *small(studio_root, trainer__max_steps=STEPS)]
    assert lca(*words, f"--run_dir={folder / 'straight'}") == 0
    run = folder / "sliced"
    slices = ["--config", "overlay/slices", "--last_checkpoint.slice_minutes=1e-6"]
    slices += ["--last_checkpoint.shard_mib=0.01", "--last_checkpoint.every_n_minutes=0"]
    assert lca(*words[:3], *slices, *words[3:], f"--run_dir={run}") == 0
    for step in range(1, STEPS):
        assert read_checkpoint(run / "last.ckpt")["global_step"] == step
        assert lca("fit", f"--ckpt_path={run / 'last.ckpt'}") == 0
    return folder / "straight", run


def test_slices_and_shards_change_nothing(runs: tuple[Path, Path]) -> None:
    straight, sliced = (read_checkpoint(run / "last.ckpt") for run in runs)
    assert sliced["global_step"] == straight["global_step"] == STEPS
    for name, tensor in straight["state_dict"].items():
        assert torch.equal(tensor, sliced["state_dict"][name]), name
    pieces = list((runs[1] / "last.ckpt.shards").iterdir())
    assert len(pieces) > 2 and max(piece.stat().st_size for piece in pieces) <= 0.01 * 2**20
    assert not (runs[1] / "interrupted.ckpt").exists() and not (runs[0] / "weights.ckpt").exists()


def test_a_finished_run_and_an_ended_slice_say_different_things(
    runs: tuple[Path, Path], tmp_path: Path, studio_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fit", "--config", "tiny/posttrain", *small(studio_root), "--last_checkpoint.slice_minutes=1e-6"]
    assert lca(*words, f"--run_dir={tmp_path}") == 0
    said = capsys.readouterr().out
    assert f"ended at step 1 of 4: wrote {tmp_path / 'last.ckpt'}. To go on: lca fit --ckpt_path" in said
    assert "Next: lca test" not in said


def test_the_weights_alone_are_enough_for_everything_but_going_on(
    runs: tuple[Path, Path], tmp_path: Path, studio_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = runs[1] / "weights.ckpt"
    assert "optimizer_states" not in read_checkpoint(weights)
    assert lca("test", f"--ckpt_path={weights}", f"--run_dir={tmp_path / 'test'}") == 0
    words = ["fit", "--config", "tiny/posttrain", *small(studio_root, trainer__max_steps=1)]
    words += [
        f"--model.init_from={weights}",
        "--model.fresh=[pose_decoder]",
        "--model.avatar.decoder_hidden=16",
    ]
    assert (
        lca(*words, "--model.fresh=[pose_decoder,canonical_decoder]", f"--run_dir={tmp_path / 'next'}") == 0
    )
    said = capsys.readouterr().out
    assert "fresh (canonical_decoder, pose_decoder)" in said and "0 resized" in said
    assert lca("fit", f"--ckpt_path={weights}") == 1
    assert "holds weights only" in capsys.readouterr().err
    assert lca(*words, "--model.fresh=[decoder]", f"--run_dir={tmp_path / 'none'}") == 1
    error = capsys.readouterr().err
    assert "'decoder'" in error and "tokenizer, encoder, canonical_decoder, pose_decoder" in error


def test_a_missing_shard_is_one_sentence_everywhere(
    runs: tuple[Path, Path], tmp_path: Path, studio_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = tmp_path / "last.ckpt"
    alone.write_text((runs[1] / "last.ckpt").read_text())
    fit = ["fit", "--config", "tiny/posttrain", *small(studio_root), f"--run_dir={tmp_path / 'run'}"]
    for words in (
        ["fit", f"--ckpt_path={alone}"],
        ["test", f"--ckpt_path={alone}"],
        [*fit, f"--model.init_from={alone}"],
    ):
        assert lca(*words) == 1
        error = capsys.readouterr().err
        assert "last.ckpt.shards/000-" in error and "is missing; copy the folder" in error
        assert len(error.strip().splitlines()) == 1
