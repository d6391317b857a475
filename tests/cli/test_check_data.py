"""``lca check-data``, ``show-data`` and ``migrate-data`` as a user meets them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from lca_lightning.rig.anny import AnnyRig
from tests.cli.commands import lca
from tests.unit.inspection.captures import write_moving_capture

QUICK = ("--sample", "2", "--no-sync", "--jobs", "0")


@pytest.fixture(scope="module")
def clean(rig: AnnyRig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "capture"
    return write_moving_capture(root, rig, {"ann": "train", "bob": "test"}, cameras=2, frames=6)


@pytest.fixture
def capture(clean: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clean, tmp_path / "capture"))


def make_draft(root: Path) -> None:
    header = json.loads((root / "dataset.json").read_text())
    for key in ("consent", "axes", "cameras", "pixel_center"):
        del header[key]
    (root / "dataset.json").write_text(json.dumps({**header, "color_space": "srgb"}))
    for path in root.glob("sequences/*/sequence.json"):
        values = json.loads(path.read_text())
        del values["consent"], values["color"]
        path.write_text(json.dumps(values))


@pytest.mark.parametrize("verb", ["check-data", "show-data", "migrate-data"])
def test_help_is_there(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert lca(verb, "--help") == 0
    assert "DIR" in capsys.readouterr().out


def test_a_clean_capture_passes_and_both_reports_are_written(
    clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, values = tmp_path / "report.html", tmp_path / "findings.json"
    assert lca("check-data", str(clean), *QUICK, "--report", str(report), "--json", str(values)) == 0
    said = capsys.readouterr().out
    assert "2 sequences: 0 errors, 0 warnings, 0 notes" in said and "can be used" in said
    assert said.splitlines()[-1].count("no error was found in the frames looked at; --full decodes all") == 1
    assert report.stat().st_size > 5000 and json.loads(values.read_text())["counts"]["error"] == 0


def test_errors_end_with_status_one_and_are_listed(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (capture / "sequences" / "ann_take" / "videos" / "cam1.mp4").unlink()
    assert lca("check-data", str(capture), *QUICK) == 1
    captured = capsys.readouterr()
    assert "2 sequences: 1 error, 0 warnings, 0 notes" in captured.out
    assert "error: ann_take/cam1: the video videos/cam1.mp4 is missing or empty" in captured.out
    assert captured.err.strip().splitlines()[-1].startswith(f"lca: {capture} has 1 error;")
    assert "Traceback" not in captured.err


def test_without_any_fitted_body_nothing_can_be_trained_on(
    capture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in capture.glob("sequences/*/signals.safetensors"):
        values = load_file(path)
        save_file({**values, "frame_valid": np.zeros_like(values["frame_valid"])}, path)
    assert lca("check-data", str(capture), *QUICK) == 1
    said = capsys.readouterr().out
    assert "cannot be trained on: no frame has a fitted body" in said and "--fit pictures" in said


def test_an_interruption_leaves_no_traceback(capture: Path) -> None:
    command = [sys.executable, "-m", "lca_lightning.cli.main", "check-data", str(capture), "--jobs", "1"]
    # a shell's background jobs ignore interruptions, and so would what they start
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    finally:
        signal.signal(signal.SIGINT, before)
    workers: list[int] = []
    while child.poll() is None and not workers:
        time.sleep(0.02)
        workers = workers_of(child.pid)
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)  # so that nothing can be finished before the interruption
    time.sleep(0.5)
    os.killpg(child.pid, signal.SIGINT)
    said = child.communicate(timeout=30)[1]
    assert child.returncode == 130 and "interrupted" in said and "Traceback" not in said


def workers_of(process: int) -> list[int]:
    """Children of a process that multiprocessing spawned for work."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(c) for c in children if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]


def test_a_process_finds_the_same(capture: Path, tmp_path: Path) -> None:
    (capture / "sequences" / "bob_take" / "masks" / "cam0.mkv").write_bytes(b"\0" * 4000)
    found = []
    for jobs in ("0", "1"):
        path = tmp_path / f"{jobs}.json"
        assert lca("check-data", str(capture), *QUICK[:-1], jobs, "--json", str(path)) == 1
        found.append(json.loads(path.read_text()))
    assert found[0] == found[1] and found[0]["counts"]["error"] == 1


def test_damage_anywhere_never_ends_the_inspection(capture: Path) -> None:
    generator = np.random.default_rng(0)
    files = sorted(path for path in capture.rglob("*") if path.is_file() and path.name != "dataset.json")
    for path in files:
        content = bytearray(path.read_bytes())
        for place in generator.integers(0, len(content), 1 + len(content) // 40):
            content[place] = generator.integers(0, 256)
        path.write_bytes(content)
    assert lca("check-data", str(capture), *QUICK) == 1
    for path in files:
        path.write_bytes(path.read_bytes()[: int(generator.integers(0, 200))])
    assert lca("check-data", str(capture), *QUICK) == 1


@pytest.mark.parametrize(
    "words",
    [("--sample", "0"), ("--jobs", "-1"), ("--minimum-iou", "2"), ("--time-limit", "0"), ("--nonsense",)],
)
def test_wrong_usage_exits_with_two(clean: Path, words: tuple[str, ...]) -> None:
    assert lca("check-data", str(clean), *words) == 2


def test_no_data_set_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("check-data", "show-data", "migrate-data"):
        out = ("--out", str(tmp_path / "sheet.png")) if verb == "show-data" else ()
        assert lca(verb, str(tmp_path / "nothing"), *out) == 1
        assert "Traceback" not in capsys.readouterr().err


def test_reports_that_cannot_be_written_are_refused_first(clean: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for option in ("--report", "--json"):
        assert lca("check-data", str(clean), *QUICK, option, str(tmp_path / "file" / "report")) == 1


def test_drafts_are_read_migrated_once_and_then_clean(
    capture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_draft(capture)
    assert lca("check-data", str(capture), *QUICK) == 0
    said = capsys.readouterr().out
    assert (
        "the layout is the draft of version 1" in said
        and "the consent of 2 of 2 sequences is unknown" in said
    )
    before = (capture / "dataset.json").read_text()
    assert lca("migrate-data", str(capture), "--dry-run") == 0
    assert "3 files" in capsys.readouterr().out and (capture / "dataset.json").read_text() == before
    assert lca("migrate-data", str(capture)) == 0
    assert "draft -> 1" in capsys.readouterr().out
    assert lca("migrate-data", str(capture)) == 0
    assert "nothing changed" in capsys.readouterr().out
    assert lca("check-data", str(capture), *QUICK) == 0
    assert "draft of version" not in capsys.readouterr().out


def test_newer_layouts_are_refused_by_all(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header = json.loads((capture / "dataset.json").read_text())
    (capture / "dataset.json").write_text(json.dumps({**header, "version": 2}))
    for verb in ("check-data", "migrate-data"):
        assert lca(verb, str(capture)) == 1
        assert "install a newer lca-lightning" in capsys.readouterr().err
    assert lca("show-data", str(capture), "--out", str(capture / "sheet.png")) == 1


def test_a_contact_sheet_is_written(clean: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.jpg"
    assert (
        lca("show-data", str(clean), "--out", str(sheet), "--frames", "3", "--height", "96", "--overlay") == 0
    )
    with Image.open(sheet) as image:
        assert image.format == "JPEG" and image.size[1] > 2 * 96
    assert lca("show-data", str(clean), "--out", str(tmp_path / "sheet.txt")) == 2
    assert lca("show-data", str(clean), "--out", str(sheet), "--frames", "0") == 2
