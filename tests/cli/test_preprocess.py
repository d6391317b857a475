"""``lca preprocess`` as a user meets it: usage, refusals, and (slow) a real clip from start to end."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lca_lightning.cli import main


def fails(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stop:
        main(["preprocess", *(str(word) for word in words)])
    assert isinstance(stop.value.code, int)
    captured = capsys.readouterr()
    return stop.value.code, captured.err


def test_help_names_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        main(["preprocess", "--help"])
    except SystemExit as stop:
        assert not stop.code
    text = capsys.readouterr().out
    assert all(
        option in text
        for option in (
            "--calibration", "--up", "--scale",
            "--stride", "--max-side", "--workers", "--people", "--engine", "--address",
            "--clip-minutes", "--retry-failed", "--estimator", "--body-fits", "--clip-score", "@list.txt",
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        ["--out", "x"],
        ["a.mp4"],
        ["a.mp4", "--out", "x", "--stride", "0"],
        ["a.mp4", "--out", "x", "--clip-minutes", "0"],
        ["a.mp4", "--out", "x", "--retries", "-1"],
        ["a.mp4", "--out", "x", "--address", "auto"],
        ["a.mp4", "--out", "x", "--min-height", "-4"],
        ["a.mp4", "--out", "x", "--score-threshold", "7"],
        ["a.mp4", "--out", "x", "--clip-score", "none", "--score-threshold", "nan"],
        ["a.mp4", "--out", "x", "--calibration", "c.toml", "--up", "w"],
        ["a.mp4", "--out", "x", "--calibration", "c.toml", "--scale", "0"],
        ["a.mp4", "--out", "x", "--scale", "2"],
        ["a.mp4", "--out", "x", "--engine", "slurm"],
    ],
)
def test_wrong_usage_exits_with_two(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    status, said = fails(capsys, *words)
    assert status == 2 and "Traceback" not in said


def test_bad_files_exit_with_one_sentence_and_leave_no_data(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("mediapipe")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("hello")
    out = tmp_path / "out"
    for name, expected in (
        ("none.mp4", "does not exist"),
        ("empty.mp4", "empty"),
        ("text.mp4", "cannot be read"),
    ):
        status, said = fails(capsys, tmp_path / name, "--out", out)
        assert status == 1 and expected in said and "Traceback" not in said
    assert not (out / "dataset.json").exists()
    status, said = fails(capsys, tmp_path / "text.mp4", "--out", out, "--calibration", tmp_path / "none.xml")
    assert status == 1 and "does not exist" in said


def test_a_video_without_a_person_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("mediapipe")
    from lca_lightning.datasets.video import VideoWriter

    with VideoWriter(tmp_path / "grey.mp4", 10.0, 64, 64) as video:
        for _ in range(8):
            video.add(np.full((64, 64, 3), 120, np.uint8))
    status, said = fails(capsys, tmp_path / "grey.mp4", "--out", tmp_path / "out")
    assert status == 1 and "no person" in said
    dropped = json.loads((tmp_path / "out" / "dropped.json").read_text())["dropped"]
    assert dropped[0]["clip"] == "grey" and "no person" in dropped[0]["reason"]
    assert not (tmp_path / "out" / "dataset.json").exists()


def test_what_no_clip_can_be_run_with_is_refused_before_the_first(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LCA_WEIGHTS", str(tmp_path))
    (tmp_path / "a.mp4").touch()
    (tmp_path / "list.txt").write_text("# nothing yet\n")
    video, out = tmp_path / "a.mp4", tmp_path / "out"
    for words, said in (
        ((video, "--estimator", "sapiens2"), "hf download facebook/sapiens2-pose-0.4b"),
        ((video, "--estimator", "nobody"), "choose one of mediapipe, sapiens2"),
        ((video, "--estimator-weights", tmp_path), "leave out --estimator-weights"),
        ((video, "--clip-score", "beauty"), "choose one of photographic"),
        ((video, "--body-fits", tmp_path / "none"), "--body-fits does not exist"),
        ((f"@{tmp_path / 'list.txt'}",), "names no video"),
        ((tmp_path / "*.avi",), "Nothing matches"),
    ):
        if "sapiens2" not in words and "nobody" not in words:
            pytest.importorskip("mediapipe")
        status, text = fails(capsys, *words, "--out", out)
        assert status == 1 and said in text and "Traceback" not in text, words
    assert not out.exists()


def test_a_list_is_run_to_its_end_and_summed_up(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("mediapipe")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("hello")
    (tmp_path / "list.txt").write_text("empty.mp4\ntext.mp4\ngone.mp4\n")
    out = tmp_path / "out"
    status, said = fails(capsys, f"@{tmp_path / 'list.txt'}", "--out", out)
    assert status == 1 and "None of the 3 clips can be used" in said and "dropped.json" in said
    summary = json.loads((out / "summary.json").read_text())
    assert summary["dropped"] == 3 and summary["finished"] and summary["clips_per_hour"] > 0
    assert summary["left_out_by_reason"] == {"unreadable or unsuitable input": 3}
    reasons = {e["clip"]: e["reason"] for e in json.loads((out / "dropped.json").read_text())["dropped"]}
    assert "empty" in reasons["empty"] and "does not exist" in reasons["gone"]
    start = (out / "summary.json").stat().st_mtime_ns
    fails(capsys, f"@{tmp_path / 'list.txt'}", "--out", out)
    again = json.loads((out / "summary.json").read_text())
    assert again["clips_per_hour"] is None and (out / "summary.json").stat().st_mtime_ns > start


@pytest.mark.slow
def test_a_killed_run_of_real_clips_continues_to_the_same_bytes(tmp_path: Path, samples: Path) -> None:
    pytest.importorskip("mediapipe")
    for name in ("cam02", "cam03"):
        (tmp_path / f"{name}.mp4").symlink_to(samples / "pose2sim_multiview" / f"{name}.mp4")
    options = ("--stride", "12", "--max-side", "256", "--workers", "1")
    command = [sys.executable, "-m", "lca_lightning.cli.main", "preprocess", str(tmp_path), *options, "--out"]
    killed = subprocess.Popen([*command, str(tmp_path / "killed")])
    while not (tmp_path / "killed" / "sequences" / "cam02").is_dir():
        assert killed.poll() is None
        time.sleep(0.2)
    killed.kill()
    killed.wait()
    for name in ("killed", "straight"):
        main(["preprocess", str(tmp_path), *options, "--out", str(tmp_path / name)])

    def contents(out: Path) -> dict[str, bytes]:
        files = [path for path in out.rglob("*") if path.is_file() and ".preprocess" not in str(path)]
        return {
            str(path.relative_to(out)): path.read_bytes() for path in files if path.name != "summary.json"
        }

    assert contents(tmp_path / "killed") == contents(tmp_path / "straight")


@pytest.mark.slow
def test_a_real_video_becomes_a_data_set_and_two_people_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, samples: Path
) -> None:
    pytest.importorskip("mediapipe")
    from lca_lightning.datasets.format import Dataset
    from lca_lightning.datasets.video import VideoWriter
    from lca_lightning.preprocessing.frames import SourceVideo

    source = samples / "pose2sim_multiview" / "cam03.mp4"
    out = tmp_path / "out"
    main(["preprocess", str(source), "--out", str(out), "--stride", "8", "--max-side", "384"])
    (sequence,) = Dataset(out).sequences()
    assert sequence.frame_count == 13 and sequence.signals.frame_valid_T.mean() > 0.8
    images, masks = sequence.read_frames("cam03", [0, 5])
    assert max(images.shape[1:3]) <= 384 and 0.02 < (masks > 127).mean() < 0.6
    assert (out / "overlays" / "cam03.mp4").is_file()
    main(["preprocess", str(source), "--out", str(out), "--stride", "8"])
    assert "already there" in capsys.readouterr().out
    with VideoWriter(tmp_path / "twins.mp4", 15.0, 1088, 960) as video:
        for index, image in enumerate(SourceVideo(source)):
            if index % 4 == 0:
                half = image[::2, ::2]
                video.add(np.concatenate([half, half], 1))
    status, said = fails(capsys, tmp_path / "twins.mp4", "--out", tmp_path / "twins")
    assert status == 1 and "more than one person" in said


@pytest.mark.slow
def test_a_calibration_of_other_cameras_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, samples: Path
) -> None:
    pytest.importorskip("mediapipe")
    folder = samples / "pose2sim_multiview"
    text = (folder / "Calib.qca.txt").read_text()
    wrong = tmp_path / "wrong.xml"
    wrong.write_text(
        text.replace('serial="cam01"', 'serial="x"')
        .replace('serial="cam04"', 'serial="cam01"')
        .replace('"x"', '"cam04"')
    )
    status, said = fails(
        capsys,
        *sorted(folder.glob("cam*.mp4")),
        "--out",
        tmp_path / "out",
        "--calibration",
        wrong,
        "--stride",
        "10",
    )
    assert status == 1 and "Wrong calibration" in said
