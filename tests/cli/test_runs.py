"""`lca runs` on folders of all kinds: whole, half written, damaged, of other versions."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from lca_lightning.training.run_record import this_process, time_text, write_run
from tests.cli.commands import lca

RUN = b'{"format": "lca-run", '
RESULT = {"set": "studio", "views": 4, "task": "all", "protocol": "masked"}


def write(folder: Path, *, psnr: float | None = None, **record: Any) -> Path:
    """A run directory as `lca fit` leaves it, in outline."""
    folder.mkdir(parents=True)
    scores = {"last": {"step": 4, "val/psnr": 17.0}, "best": {"step": 2, "val/psnr": 18.0, "val/l1": 0.2}}
    known = {"status": "finished", "recipe": "tiny/pretrain", "steps": 4, "total_steps": 8}
    write_run(folder, {**known, "scores": scores, "heartbeat": time_text(), **record})
    (folder / "config.yaml").write_text("trainer:\n  max_steps: 8\n")
    (folder / "last.ckpt").write_bytes(bytes(2500))
    if psnr is not None:
        write_test(folder, [{**RESULT, "scores": {"psnr": psnr, "lpips": 0.1}}])
    return folder


def write_test(folder: Path, results: list[Any]) -> None:
    """What `lca test` leaves."""
    (folder / "test").mkdir(parents=True, exist_ok=True)
    (folder / "test" / "metrics.json").write_text(json.dumps({"format": "lca-metrics", "results": results}))


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    """What `--json` prints."""
    assert lca("runs", "--json", *words) == 0
    return json.loads(capsys.readouterr().out)


def test_the_table_says_what_is_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "tiny" / "pretrain" / "20250101-000000", psnr=18.125)
    write(tmp_path / "killed", status="running", process={**this_process(), "birth": "x", "pid": 2**22 + 7})
    assert lca("runs", str(tmp_path)) == 0
    head, *rows, last = capsys.readouterr().out.splitlines()
    assert head.split() == ["RUN", "STATUS", "STEP", "RECIPE", "VAL", "BEST", "TEST", "AGE", "SIZE"]
    cells = {row.split()[0].rpartition("/")[2]: row.split() for row in rows}
    assert cells["20250101-000000"][1:6] == ["finished", "4/8", "tiny/pretrain", "17.00", "18.00"]
    assert "psnr 18.12, lpips 0.1" in "\n".join(rows) and cells["20250101-000000"][-1] == "kB"
    assert cells["killed"][1] == "stopped" and cells["killed"][6] == "-"
    assert last == f"2 runs. Next: lca fit --ckpt_path {tmp_path / 'killed'}/last.ckpt"


def test_what_to_do_next_can_be_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (write(tmp_path / "fallen", status="failed") / "last.ckpt").unlink()
    assert lca("runs", str(tmp_path)) == 0
    assert capsys.readouterr().out.endswith("1 run.\n")
    write(tmp_path / "whole", heartbeat="2020-01-01T00:00:00Z")
    assert lca("runs", str(tmp_path)) == 0
    assert capsys.readouterr().out.endswith(f"lca test --ckpt_path {tmp_path / 'whole'}/last.ckpt\n")


def test_json_has_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "run", psnr=20.0)
    (run,) = listed(capsys, str(tmp_path / "run"))
    assert run["path"] == str(tmp_path / "run") and (run["step"], run["total_steps"]) == (4, 8)
    assert run["best"] == {"step": 2, "val/psnr": 18.0, "val/l1": 0.2} and run["age_seconds"] < 60
    assert run["test"] == {"psnr": 20.0, "lpips": 0.1} and run["tests"][0]["set"] == "studio"
    assert 2500 < run["size_bytes"] < 5000


def test_sorting_puts_the_best_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, psnr, steps in (("b", 19.0, 5), ("c", 21.0, 9), ("a", None, 7)):
        write(tmp_path / name, psnr=psnr, steps=steps, scores={"best": {"val/l1": 0.1 * steps}})
    order = {"psnr": "cba", "test/psnr": "cba", "step": "cab", "l1": "bac", "val/l1": "bac", "lpips": None}
    for score, names in order.items():
        found = "".join(Path(run["path"]).name for run in listed(capsys, str(tmp_path), "--sort", score))
        assert found == names or (names is None and found[-1] == "a")
    for name, value in (("b", 0.03), ("c", 0.01)):
        write_test(tmp_path / name, [{**RESULT, "scores": {"psnr": 20.0, "l1_full": value, "ssim": value}}])
    for score, names in {"l1_full": "cba", "ssim": "bca"}.items():
        assert [Path(run["path"]).name for run in listed(capsys, str(tmp_path), "--sort", score)] == [*names]
    for name, psnr in (("b", 19.0), ("c", 21.0)):
        write_test(tmp_path / name, [{**RESULT, "scores": {"psnr": psnr, "lpips": 0.1}}])
    write(tmp_path / "d", scores={"best": {"val/psnr": 40.0}})
    assert listed(capsys, str(tmp_path), "--sort", "psnr")[0]["path"].endswith("c")
    assert listed(capsys, str(tmp_path), "--sort", "val/psnr")[0]["path"].endswith("d")
    assert lca("runs", str(tmp_path), "--sort", "beauty") == 2
    assert "'beauty'; sort by age, l1, lpips, psnr, size, step" in capsys.readouterr().err


def test_several_sets_and_views_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries = [("studio", 1, "all", 10.0), ("studio", 8, "all", 12.0), ("wild", 8, "all", 14.0)]
    entries += [("studio", 9, "novel_view", 99.0)]
    write_test(
        write(tmp_path / "run"),
        [dict(zip(("set", "views", "task"), e, strict=False)) | {"scores": {"psnr": e[3]}} for e in entries],
    )
    (run,) = listed(capsys, str(tmp_path))
    assert run["test"] == {"studio/psnr": 12.0, "wild/psnr": 14.0}


def test_runs_without_a_record_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of earlier versions, and those that died before their first word."""
    old = tmp_path / "old"
    (old / "test").mkdir(parents=True)
    (old / "config.yaml").write_text("seed_everything: 0\ntrainer:\n  devices: 1\n  max_steps: 2000\n")
    (old / "test" / "metrics.json").write_text(json.dumps({"protocols": {"masked": {"psnr": 11.0}}}))
    (tmp_path / "begun" / "tensorboard").mkdir(parents=True)
    (tmp_path / "begun" / "config.yaml").write_text("")
    (tmp_path / "no run").mkdir()
    (tmp_path / "no run" / "config.yaml").write_text("")
    runs = {Path(run["path"]).name: run for run in listed(capsys, str(tmp_path))}
    assert set(runs) == {"old", "begun"}
    assert runs["old"]["total_steps"] == 2000 and runs["old"]["test"] == {"psnr": 11.0}
    assert runs["old"]["status"] == runs["begun"]["status"] == "unknown"


@pytest.mark.parametrize("name", ["run.json", "test/metrics.json", "config.yaml"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[1]",
        RUN + b'"version": 9, "status": {}, "steps": "many", "scores": [1], "recipe": 3}',
        RUN + b'"scores": {"best": {"val/psnr": NaN, "x": null}, "last": 3}, "heartbeat": {}}',
        RUN + b'"steps": true, "total_steps": 1e9, "status": "running", "process": {"pid": "x"}}',
        b'{"protocols": {"masked": [1]}}',
        b'{"results": {"a": 1}}',
        b'{"results": [1, {"scores": null}, {"task": "all", "scores": {"psnr": "high", "ssim": false}}]}',
    ],
)
def test_damaged_files_do_no_harm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes
) -> None:
    (write(tmp_path / "run", psnr=1.0) / name).write_bytes(content)
    assert lca("runs", str(tmp_path), "--sort", "size") == 0
    assert capsys.readouterr().out.count("\n") == 3
    assert len(listed(capsys, str(tmp_path))) == 1


def test_a_hundred_runs_take_less_than_a_second(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(100):
        folder = write(tmp_path / f"run{number}", psnr=float(number))
        (folder / "images").mkdir()
        for picture in range(20):
            (folder / "images" / f"{picture}.png").write_bytes(b"png")
    times = []
    for _ in range(3):  # the machine may be busy
        start = time.perf_counter()
        assert lca("runs", str(tmp_path), "--sort", "psnr") == 0
        times.append(time.perf_counter() - start)
    assert min(times) < 1.0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith(f"{tmp_path}/run99 ") and lines[-1].startswith("100 runs.")


def test_no_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert lca("runs") == 0
    assert "no runs in runs; `lca fit" in capsys.readouterr().out
    assert listed(capsys) == []
    assert lca("runs", "elsewhere") == 2
    assert "There is no folder elsewhere" in capsys.readouterr().err


def test_data_sets_are_not_searched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "data" / "sequences" / "run")
    assert len(listed(capsys, str(tmp_path))) == 1
    (tmp_path / "data" / "dataset.json").write_text("{}")
    assert listed(capsys, str(tmp_path)) == []
