"""``lca synthesize`` as a user runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lca_lightning.cli.main import main
from lca_lightning.datasets.format import Dataset

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
    serial, parallel = (Dataset(tmp_path / name).sequences() for name in ("serial", "parallel"))
    for one, other in zip(serial, parallel, strict=True):
        for first, second in zip(
            one.read_frames("camera01", [1]), other.read_frames("camera01", [1]), strict=True
        ):
            assert (first == second).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--size", "96"], "HEIGHTxWIDTH"),
        (["--size", "97x64"], "even"),
        (["--subjects", "0"], "subject"),
        (["--kind", "street"], "invalid choice"),
        (["--motion", "nothing.bvh"], "nothing.bvh"),
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
