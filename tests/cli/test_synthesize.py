"""``lca synthesize`` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lca_lightning.cli.main import main
from lca_lightning.datasets.format import Dataset
from lca_lightning.synthesis.digest import metadata_digest

pytest.importorskip("mitsuba")

SMALL = ["--size", "64x48", "--samples", "1", "--frames", "2", "--workers", "0"]


def test_the_last_line_says_what_was_written_and_what_to_run_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    main(["synthesize", "--out", str(root), "--subjects", "2", "--test-subjects", "1", *SMALL])
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last.startswith("2 sequences")
    assert f"lca fit --config tiny/pretrain.yaml --data.init_args.root {root}" in last
    assert [sequence.split for sequence in Dataset(root).sequences()] == ["train", "test"]
    main(["synthesize", "--out", str(root), "--subjects", "2", "--test-subjects", "1", *SMALL])
    assert "2 sequences" in capsys.readouterr().out


@pytest.mark.slow
def test_worker_processes_write_the_same_set(tmp_path: Path) -> None:
    arguments = ["--kind", "studio", "--cameras", "2", "--subjects", "2", "--seed", "5", *SMALL[:-2]]
    main(["synthesize", "--out", str(tmp_path / "serial"), *arguments, "--workers", "0"])
    main(["synthesize", "--out", str(tmp_path / "parallel"), *arguments, "--workers", "2"])
    assert metadata_digest(tmp_path / "serial") == metadata_digest(tmp_path / "parallel")
    serial, parallel = (Dataset(tmp_path / name).sequences() for name in ("serial", "parallel"))
    for one, other in zip(serial, parallel, strict=True):
        pictures = (sequence.read_frames("camera01", [1])[0] for sequence in (one, other))
        first, second = (np.asarray(picture, np.float32) for picture in pictures)
        # workers have one thread each, and sums in another order move a path here and there: 0.5 measured
        assert np.abs(first - second).mean() < 2.0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--size", "96"], "HEIGHTxWIDTH"),
        (["--size", "97x64"], "even"),
        (["--subjects", "0"], "subject"),
        (["--kind", "street"], "invalid choice"),
        (["--motion", "nothing.bvh"], "nothing.bvh"),
        (["--environments", "nowhere"], "nowhere"),
        (["--shard", "0/2"], "0/2"),
        (["--shard", "half"], "I/N"),
        (["--val-subjects", "-1"], "val subjects"),
        (["--cameras", "4"], "has one camera"),
    ],
)
def test_wrong_usage_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["synthesize", "--out", str(tmp_path / "data"), "--frames", "2", "--workers", "0", *words])
    assert stop.value.code in (1, 2)
    error = capsys.readouterr().err.strip()
    assert message in error and error.startswith("lca: ") and "Traceback" not in error
    assert not (tmp_path / "data").exists()


def test_sharded_runs_make_the_set_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "data"
    words = ["synthesize", "--out", str(root), "--kind", "stylised", "--subjects", "3", *SMALL]
    main([*words, "--shard", "2/2"])
    assert "1 sequences" in capsys.readouterr().out
    assert [sequence.id for sequence in Dataset(root).sequences()] == ["synthetic-0000-00001"]
    main([*words, "--shard", "1/2"])
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last.startswith("2 sequences") and "lca show-data" in last
    assert [sequence.split for sequence in Dataset(root).sequences()] == ["test"] * 3


def test_people_are_lit_by_the_maps_of_a_folder(tmp_path: Path, samples: Path) -> None:
    root = tmp_path / "data"
    maps = ["--environments", str(samples / "hdri_cc0"), "--subjects", "1", "--fit-noise", "0"]
    main(["synthesize", "--out", str(root), *maps, *SMALL])
    facts = json.loads(next(root.glob("sequences/*/sequence.json")).read_text())["quality"]
    assert facts["environment"] in {path.stem for path in (samples / "hdri_cc0").iterdir()}
    assert facts["fit_noise"] == 0.0 and 20 <= facts["rate_factor"] <= 32
    assert "environments" not in facts and "seconds" not in facts
    assert not list(root.glob("sequences/*/truth.safetensors"))


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    main(["synthesize", "--help"])
    text = capsys.readouterr().out
    for word in ("wild", "studio", "light_stage", "stylised", "lca-synth-tiny", "--shard", "examples:"):
        assert word in text


def test_a_benchmark_fixes_what_it_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["synthesize", "--out", str(tmp_path / "data"), "--benchmark", "lca-synth-tiny", "--seed", "3"])
    assert stop.value.code == 2
    assert "fixes --seed" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
