"""``lca pack`` as a user runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lca_lightning.cli.main import main
from lca_lightning.datasets.reader import open_dataset
from tests.unit.datasets.packable import write_people

pytest.importorskip("litdata")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people(tmp_path_factory.mktemp("people") / "data")


def test_the_last_line_says_what_was_written_and_what_comes_next(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pack"
    main(["pack", str(people), str(out), "--frames-per-item", "5"])
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last.startswith(f"5 sequences are in {out} as 10 items in 1 files")
    assert f"next: train on them with --data.init_args.root {out}" in last
    assert len(open_dataset(out)) == 10


def test_what_is_left_out_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str], people: Path) -> None:
    data = write_people(tmp_path / "data")
    (data / "sequences/bob_take/videos/cam0.mp4").write_bytes(b"")
    main(["pack", str(data), str(tmp_path / "pack")])
    shown = capsys.readouterr()
    assert "left out bob_take: The file" in shown.err and "4 sequences (1 left out)" in shown.out


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["nowhere", "out"], 1, "There is no data set folder nowhere"),
        (["DATA", "s3:/typo/pack", "--jobs", "0"], 2, "jobs must be positive"),
        (["DATA", "http://host/pack"], 2, "s3://BUCKET/PREFIX"),
        (["DATA", "DATA"], 1, "exists already"),
    ],
)
def test_wrong_usage_and_bad_input_get_one_sentence(
    people: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, message: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["pack", *(str(people) if word == "DATA" else word for word in arguments)])
    assert stop.value.code == status
    assert message in capsys.readouterr().err
