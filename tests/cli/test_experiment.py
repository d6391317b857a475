"""``lca experiment``: whole runs of a few steps, stopped, killed, and with something changed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from lca_lightning.experiments.code_copy import PACKAGES
from tests.cli.commands import SMALL_DATA, SMALL_MODEL, lca

STEPS = 4


@pytest.fixture
def benchmark(tmp_path: Path, wild_root: Path, studio_root: Path) -> Path:
    """A folder as `lca synthesize --benchmark` makes it, of tiny captures."""
    root = tmp_path / "data"
    shutil.copytree(wild_root, root / "wild")
    shutil.copytree(studio_root, root / "studio")
    return root


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """Two rows: in the wild alone, and then in the studio."""
    return write_experiment(tmp_path / "mine.yaml")


def write_experiment(path: Path, steps: int = STEPS, **overrides: object) -> Path:
    small = {f"model.avatar.{name}": yaml.safe_load(str(value)) for name, value in SMALL_MODEL.items()}
    small |= {f"data.init_args.{name}": yaml.safe_load(str(value)) for name, value in SMALL_DATA.items()}
    small |= {
        "model.losses.perceptual_weight": 0,
        "model.optimizer.warmup_steps": 1,
        "trainer.log_every_n_steps": 1,
    }
    small |= {
        "last_checkpoint.every_n_steps": 1,
        "trainer.val_check_interval": 1000,
        "image_grids.every_n_steps": 0,
    }
    content = {
        "title": "Mine",
        "source": "Ours",
        "data": "lca-synth",
        "seeds": [0],
        "scales": {"tiny": {"steps": steps, "overrides": {**small, **overrides}}},
        "sets": {"wild": {"title": "Wild", "recipe": "pretrain", "part": "wild"}},
        "tests": {"views2": {"title": "2 views", "views": 2}},
        "columns": {"PSNR": "psnr"},
        "curves": ["train/loss"],
        "rows": {
            "wild": {"title": "Wild", "stages": [{"recipe": "pretrain"}]},
            "both": {
                "title": "Both",
                "stages": [{"recipe": "pretrain", "share": "1/2"}, {"recipe": "posttrain", "share": "1/2"}],
            },
        },
        "compare": [{"line": "both", "score": "psnr"}],
    }
    path.write_text(yaml.safe_dump(content))
    return path


def words(experiment: Path, benchmark: Path, out: Path, *more: str) -> list[str]:
    return [str(experiment), "--data", str(benchmark), "--out", str(out), "--device", "cpu", *more]


def plan_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, str]:
    """State of each job, by its title, as ``--dry-run`` prints it."""
    capsys.readouterr()
    assert lca("experiment", *arguments, "--dry-run") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if ": " in line and ", seed" in line]
    parts = [re.split(r" {2,}", line) for line in lines]
    return {title.split(", seed")[0]: state for _, state, title in parts}


def test_the_plan_names_what_is_missing_and_runs_nothing(
    capsys: pytest.CaptureFixture[str], experiment: Path, benchmark: Path, tmp_path: Path
) -> None:
    states = plan_of(capsys, *words(experiment, benchmark, tmp_path / "out"))
    assert set(states.values()) == {"missing"} and len(states) == 5
    assert not (tmp_path / "out" / "stages").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table9"], "There is no experiment 'table9'"),
        ([], "Name an experiment"),
        (["table1", "--seeds", "one"], "--seeds takes numbers"),
        (["table1", "--jobs", "0"], "--jobs must be at least 1"),
    ],
)
def test_wrong_usage_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], message: str
) -> None:
    assert lca("experiment", *arguments, "--out", str(tmp_path)) == 2
    assert message in capsys.readouterr().err


def test_a_part_that_the_benchmark_lacks_is_named(
    capsys: pytest.CaptureFixture[str], experiment: Path, tmp_path: Path
) -> None:
    content = yaml.safe_load(experiment.read_text())
    content["sets"]["wild"]["part"] = "wlid"
    experiment.write_text(yaml.safe_dump(content))
    assert lca("experiment", str(experiment), "--out", str(tmp_path / "out"), "--dry-run") == 1
    message = capsys.readouterr().err
    assert "lca-synth-tiny has no part 'wlid'; it has wild, studio, light_stage, stylised." in message


def test_a_folder_without_the_data_says_how_to_make_them(
    capsys: pytest.CaptureFixture[str], experiment: Path, tmp_path: Path
) -> None:
    for more in ([], ["--dry-run"]):
        assert lca("experiment", *words(experiment, tmp_path / "none", tmp_path / "out", *more)) == 1
        assert "lca synthesize --benchmark lca-synth-tiny --out" in capsys.readouterr().err


@pytest.mark.slow
def test_a_whole_table_and_nothing_stale_is_reused(
    capsys: pytest.CaptureFixture[str], experiment: Path, benchmark: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = words(experiment, benchmark, out, "--jobs", "2", "--store", str(tmp_path / "results"))
    assert lca("experiment", *arguments) == 0
    results = json.loads((out / "mine" / "tiny" / "results.json").read_text())
    assert all(line["sets"]["wild"]["scores"]["psnr"]["mean"] > 0 for line in results["lines"])
    assert len(results["comparisons"]) == 1 and set(results["curves"]["train/loss"]) == {"wild", "both"}
    assert results["curves"]["train/loss"]["both"]["steps"][-1] == STEPS - 1
    assert (out / "mine" / "tiny" / "train_loss.svg").is_file()
    assert (tmp_path / "results" / "tiny" / "mine.json").is_file()
    assert (
        lca("experiment", "--write-docs", str(tmp_path / "p.md"), "--results", str(tmp_path / "results")) == 0
    )
    assert "### Mine" in (tmp_path / "p.md").read_text()

    assert set(plan_of(capsys, *arguments).values()) == {"done"}
    before = {path: path.stat().st_mtime_ns for path in out.rglob("last.ckpt")}
    assert lca("experiment", *arguments) == 0  # a second call has nothing to do
    assert {path: path.stat().st_mtime_ns for path in out.rglob("last.ckpt")} == before

    part = ("--rows", "wild", "--seeds", "0")
    assert lca("experiment", *arguments, *part) == 0  # a part of the table leaves the rest in it
    again = json.loads((tmp_path / "results" / "tiny" / "mine.json").read_text())
    assert (again["lines"], again["comparisons"]) == (results["lines"], results["comparisons"])

    write_experiment(experiment, **{"model.optimizer.learning_rate": 1.0e-4})
    states = plan_of(capsys, *arguments)
    assert states["wild: pretrain"] == "stale (configuration changed)"
    assert states["both: posttrain"].startswith("stale (configuration")
    assert not {"done", "missing"} & set(states.values())
    write_experiment(experiment)
    assert set(plan_of(capsys, *arguments).values()) == {"done"}

    take = next((benchmark / "studio" / "sequences").iterdir()) / "sequence.json"
    take.write_text(take.read_text() + "\n")
    states = plan_of(capsys, *arguments)
    assert states["both: posttrain"] == "stale (data changed)"
    assert states["both: test wild, views2"] == "stale (stage before changed)"
    assert states["wild: pretrain"] == states["wild: test wild, views2"] == states["both: pretrain"] == "done"


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_weights(experiment: Path, benchmark: Path, tmp_path: Path) -> None:
    only = ("--rows", "wild", "--jobs", "64")  # one thread each: several add in the order they are done
    # kernels compiled in a process and those it loads from numba's cache may round the last bit differently
    assert lca("experiment", *words(experiment, benchmark, tmp_path / "warm", *only)) == 0
    for name in ("straight", "killed"):
        shutil.copytree(tmp_path / "warm" / "code", tmp_path / name / "code")
    write_experiment(experiment, steps=60)
    assert lca("experiment", *words(experiment, benchmark, tmp_path / "straight", *only)) == 0
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "lca_lightning.cli.main", "experiment"]
    for number in (signal.SIGKILL, signal.SIGINT):
        process = subprocess.Popen(
            [*command, *words(experiment, benchmark, out, *only)], start_new_session=True
        )
        wait_for_step(out, process)
        process.send_signal(number)
        process.wait(120)
        wait_for_children(out)
    assert lca("experiment", *words(experiment, benchmark, out, *only)) == 0
    (first,), (second,) = (
        (list((root / "stages").glob("*/last.ckpt"))) for root in (tmp_path / "straight", out)
    )
    weights = [torch.load(path, weights_only=True)["state_dict"] for path in (first, second)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    results = [
        json.loads((root / "mine/tiny/results.json").read_text()) for root in (tmp_path / "straight", out)
    ]
    psnr = [result["lines"][1]["sets"]["wild"]["scores"]["psnr"]["mean"] for result in results]
    assert psnr[0] == pytest.approx(psnr[1], abs=1e-3)


def wait_for_step(out: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until the training has written a checkpoint since this call."""
    began = time.time()
    while time.time() - began < 180 and process.poll() is None:
        if any(path.stat().st_mtime > began for path in out.glob("stages/*/last.ckpt")):
            return
        time.sleep(0.05)
    raise AssertionError(f"no checkpoint; the process has status {process.poll()}")


def wait_for_children(out: Path) -> None:
    """A child that outlived a killed parent would still hold its folder."""
    import fcntl

    (lock,) = out.glob("stages/*/.lock")
    began = time.time()
    with lock.open("r+") as file:
        while time.time() - began < 120:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError:
                time.sleep(0.2)
    raise AssertionError("a child still runs")


@pytest.mark.slow
def test_the_time_limit_stops_cleanly(
    capsys: pytest.CaptureFixture[str], experiment: Path, benchmark: Path, tmp_path: Path
) -> None:
    write_experiment(experiment, steps=5000)
    out = tmp_path / "out"
    assert lca("experiment", *words(experiment, benchmark, out, "--rows", "wild", "--time_limit", "0.6")) == 0
    assert "The time is over; everything is kept." in capsys.readouterr().out
    assert (
        plan_of(capsys, *words(experiment, benchmark, out, "--rows", "wild"))["wild: pretrain"] == "stopped"
    )


@pytest.mark.slow
def test_slices_of_a_training_are_put_together(experiment: Path, benchmark: Path, tmp_path: Path) -> None:
    write_experiment(experiment, steps=2, **{"last_checkpoint.slice_minutes": 1.0e-6})
    out = tmp_path / "out"
    assert lca("experiment", *words(experiment, benchmark, out, "--rows", "wild")) == 0
    (stage,) = (out / "stages").iterdir()
    run = json.loads((stage / "run.json").read_text())
    assert [start["step"] for start in run["starts"]] == [0, 1] and run["steps"] == 2
    assert torch.load(stage / "last.ckpt", weights_only=True)["global_step"] == 2
    results = json.loads((out / "mine/tiny/results.json").read_text())
    assert next(line for line in results["lines"] if line["row"] == "wild")["sets"]["wild"]["scores"]


@pytest.mark.slow
def test_a_failing_training_shows_its_last_lines_and_others_go_on(
    capsys: pytest.CaptureFixture[str], experiment: Path, benchmark: Path, tmp_path: Path
) -> None:
    content = yaml.safe_load(experiment.read_text())
    content["rows"]["both"]["stages"][1]["overrides"] = {"model.optimizer.warmup_steps": 1000}
    experiment.write_text(yaml.safe_dump(content))
    assert lca("experiment", *words(experiment, benchmark, tmp_path / "out", "--jobs", "2")) == 1
    error = capsys.readouterr().err
    assert "both: posttrain, seed 0 ended with status" in error and "warmup_steps (1000) is longer" in error
    results = json.loads((tmp_path / "out/mine/tiny/results.json").read_text())
    lines = {line["row"]: line["sets"]["wild"]["scores"] for line in results["lines"]}
    assert lines["wild"] and not lines["both"]


@pytest.mark.slow
def test_changed_code_makes_results_stale(
    experiment: Path, benchmark: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = words(experiment, benchmark, out, "--rows", "wild")
    assert lca("experiment", *arguments) == 0
    (copy,) = (out / "code").iterdir()
    assert sorted(path.name for path in copy.iterdir()) == sorted([*PACKAGES, "revision.json"])
    changed = tmp_path / "changed"
    shutil.copytree(copy, changed)
    environment = {**os.environ, "PYTHONPATH": str(changed)}
    command = [sys.executable, "-m", "lca_lightning.cli.main", "experiment", *arguments, "--dry-run"]
    for file, change, state in [
        ("lca_lightning/model/decoders.py", "\n# a remark\n", "done"),
        ("lca_lightning/export/ply.py", "\nANOTHER = 1\n", "done"),
        ("lca_lightning/model/decoders.py", "\nANOTHER = 1\n", "stale (code changed)"),
    ]:
        with (changed / file).open("a") as source:
            source.write(change)
        text = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        assert state in next(line for line in text.splitlines() if "wild: pretrain" in line)
    pinned = subprocess.run(
        [*command, "--code", copy.name], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert "stale" not in pinned
