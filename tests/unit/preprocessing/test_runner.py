"""Many clips: crashes, hangs, full disks and kills concern one clip at most, and a run continues exactly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lca_lightning.calibration.camera import CalibratedCamera
from lca_lightning.calibration.own_json import save_calibration
from lca_lightning.errors import DataError, DeviceError, MissingAssetError
from lca_lightning.preprocessing import pipeline
from lca_lightning.preprocessing.clip_process import ClipJob, ClipProcess
from lca_lightning.preprocessing.clip_sources import ClipSource
from lca_lightning.preprocessing.clips import Clip, PreprocessOptions
from lca_lightning.preprocessing.engines import RayEngine
from lca_lightning.preprocessing.ledger import Ledger
from lca_lightning.preprocessing.pipeline import calibrated_cameras
from lca_lightning.preprocessing.run_report import RunReport, category
from lca_lightning.preprocessing.runner import RunSettings, _Run, preprocess
from tests.unit.calibration.files import write_easymocap
from tests.unit.preprocessing.stand_ins import FUNCTION, process, tried
from tests.unit.preprocessing.test_sources import write_video

ROOT = Path(__file__).parents[3]


def source(folder: Path, *names: str) -> ClipSource:
    """Clips of empty files with these names."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / f"{name}.mp4").touch()
    return ClipSource([folder / f"{name}.mp4" for name in names])


def run(clips: ClipSource, out: Path, **settings: object) -> RunReport:
    values = {"workers": 2, "minutes": 0.5, **settings}
    return preprocess(clips, PreprocessOptions(out), RunSettings(**values), function=FUNCTION)  # type: ignore[arg-type]


def contents(out: Path) -> dict[str, bytes]:
    """Every file of the data set itself."""
    files = [out / "dataset.json", *sorted((out / "sequences").rglob("*"))]
    return {str(file.relative_to(out)): file.read_bytes() for file in files if file.is_file()}


def listed(out: Path, name: str) -> dict[str, str]:
    entries = json.loads((out / f"{name}.json").read_text())[name]
    return {entry["clip"]: entry["reason"] for entry in entries}


def test_one_bad_clip_never_takes_the_others_along(tmp_path: Path) -> None:
    names = ("a", "exit", "once", "bug", "small", "b")
    clips, out = source(tmp_path / "raw", *names), tmp_path / "out"
    report = run(clips, out)
    assert report.written == 3 and sorted(contents(out)) and (out / "sequences" / "once").is_dir()
    aside = listed(out, "set_aside")
    assert set(aside) == {"exit", "bug"} and all("3 times" in reason for reason in aside.values())
    assert "exit status 3" in aside["exit"] and "ZeroDivisionError" in aside["bug"]
    assert listed(out, "dropped") == {"small": "too small: 3 pixels"}
    summary = json.loads((out / "summary.json").read_text())
    assert summary["left_out_by_reason"] == {"crashed": 2, "too small": 1} and summary["finished"]
    assert any("crashed" in line and line.endswith("2") for line in report.table())
    before, tries = contents(out), len(tried(out))
    assert tried(out).count("once") == 2 and tried(out).count("exit") == 3

    again = run(clips, out)
    assert (again.already_there, again.written, len(again.left_out)) == (3, 0, 3)
    assert len(tried(out)) == tries and contents(out) == before
    run(clips, out, retry_failed=True, retries=0)
    assert sorted(tried(out)[tries:]) == ["bug", "exit", "small"] and contents(out) == before


def test_a_clip_that_hangs_is_killed_at_its_limit_and_set_aside(tmp_path: Path) -> None:
    clips, out = source(tmp_path / "raw", "hang", "a", "b"), tmp_path / "out"
    start = time.monotonic()
    report = run(clips, out, minutes=0.05)
    assert time.monotonic() - start < 20 and report.written == 2
    assert "longer than 0.05 minutes" in listed(out, "set_aside")["hang"]
    assert tried(out).count("hang") == 1
    assert run(clips, out).written == 0 and tried(out).count("hang") == 1


def test_what_every_clip_would_meet_stops_the_run_and_says_so(tmp_path: Path) -> None:
    clips, out = source(tmp_path / "raw", "full", "a"), tmp_path / "out"
    with pytest.raises(DataError, match="disk is full"):
        run(clips, out, workers=1)
    assert not json.loads((out / "summary.json").read_text())["finished"]
    assert Ledger(out).read("full") is None


def test_a_killed_run_leaves_no_process_and_continues_to_the_same_bytes(tmp_path: Path) -> None:
    names = [f"slow{index}" for index in range(6)]
    clips, straight, killed = source(tmp_path / "raw", *names), tmp_path / "straight", tmp_path / "killed"
    code = (
        "import sys; from pathlib import Path\n"
        "from tests.unit.preprocessing.test_runner import run, source\n"
        f"run(source(Path(sys.argv[1]), *{names!r}), Path(sys.argv[2]), workers=1)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "raw"), str(killed)], cwd=ROOT, start_new_session=True
    )
    while len(list((killed / "sequences").glob("slow*"))) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = {path.name: path.stat().st_mtime_ns for path in (killed / "sequences").glob("slow*")}
    time.sleep(0.5)
    now = {path.name: path.stat().st_mtime_ns for path in (killed / "sequences").glob("slow*")}
    assert now == done  # the orphaned child was gone at once
    run(clips, killed)
    run(clips, straight)
    assert contents(killed) == contents(straight) and len(done) < 6
    assert all((killed / "sequences" / name).stat().st_mtime_ns == value for name, value in done.items())
    assert not list((killed / "sequences").glob(".*"))


def test_dropped_clips_are_judged_again_when_options_or_files_change(tmp_path: Path) -> None:
    clips, out = source(tmp_path / "raw", "small", "a"), tmp_path / "out"
    run(clips, out)
    run(clips, out)
    assert tried(out).count("small") == 1
    settings = RunSettings(workers=1)
    preprocess(clips, PreprocessOptions(out, minimum_height=50.0), settings, function=FUNCTION)
    assert tried(out).count("small") == 2
    (tmp_path / "raw" / "small.mp4").write_bytes(b"a better copy")
    preprocess(clips, PreprocessOptions(out, minimum_height=50.0), settings, function=FUNCTION)
    assert tried(out).count("small") == 3
    other = source(tmp_path / "other", "a")
    report = run(other, out)
    assert report.by_category() == {"name taken": 1} and "rename" in report.left_out[0].reason


def test_a_dropped_clip_is_judged_again_when_its_calibration_changes(tmp_path: Path) -> None:
    folder, out = tmp_path / "small", tmp_path / "out"
    source(folder, "left", "right")
    toml, colmap = tmp_path / "Calib.toml", tmp_path / "colmap"
    model = colmap / "sparse" / "0" / "cameras.txt"
    model.parent.mkdir(parents=True)

    def tries(calibration: Path) -> int:
        run(ClipSource([folder], calibration), out)
        return len(tried(out))

    assert tries(toml) == tries(toml) == 1
    toml.write_text("a")
    assert tries(toml) == tries(toml) == 2
    model.write_text("a")
    assert tries(colmap) == tries(colmap) == 3
    model.write_text("better")
    assert tries(colmap) == tries(colmap) == 4


def test_a_child_shows_progress_and_serves_clip_after_clip(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    job = ClipJob(PreprocessOptions(tmp_path), minutes=0.5, function=FUNCTION)
    process = ClipProcess(job, lambda *values: seen.append(values))
    try:
        for name in ("a", "b"):
            outcome = process.run(Clip(name, (tmp_path / "x.mp4",), name, None))
            assert outcome.result is not None and outcome.result.id == name and not outcome.failure
        assert seen == [("detect", 1, 2)] * 2
    finally:
        process.close()


def test_lists_patterns_and_numbers_of_clips(tmp_path: Path) -> None:
    for name in ("raw/x/front.mp4", "raw/y/front.mp4", "raw/y/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "list.txt").write_text(
        "# mine\nraw/x/front.mp4\n\nraw/y/front.mp4\nraw/./x/front.mp4\nmissing.mp4\n"
    )
    clips = ClipSource([f"@{tmp_path / 'list.txt'}"])
    assert len(clips) == 3 and [clip.id for clip in clips] == ["front", "front-2", "missing"]
    assert all(clip.videos[0].is_absolute() for clip in clips)
    pattern = ClipSource([str(tmp_path / "raw" / "*" / "*")])
    assert [clip.videos[0].parent.name for clip in pattern] == ["x", "y"]
    for wrong, said in (("@none.txt", "does not exist"), (str(tmp_path / "*.avi"), "Nothing matches")):
        with pytest.raises(DataError, match=said):
            ClipSource([wrong])


def test_a_million_names_are_listed_in_seconds(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(
        "".join(f"/videos/{i // 1000}/{i % 1000}.mp4\n" for i in range(100_000))
    )
    start = time.process_time()
    clips = ClipSource([f"@{tmp_path / 'list.txt'}"])
    first = next(iter(clips))
    assert len(clips) == 100_000 and first.id == "0" and time.process_time() - start < 0.5
    names = {clip.id for clip in clips}
    assert len(names) == 100_000 and time.process_time() - start < 10


def test_a_calibration_that_cannot_be_used_ends_the_run_before_its_clips(tmp_path: Path) -> None:
    clips = ClipSource([write_video(tmp_path / "left.mp4")], tmp_path / "calib.json")
    options = PreprocessOptions(tmp_path / "out")
    with pytest.raises(DataError, match="does not exist"):
        preprocess(clips, options)
    K, eye = np.array([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]]), np.eye(4)
    save_calibration(tmp_path / "calib.json", [CalibratedCamera("right", 64, 48, K, np.zeros(8), eye)])
    with pytest.raises(DataError, match="No camera in .* is called 'left'"):
        preprocess(clips, options)
    assert not (tmp_path / "out").exists()


def test_a_calibration_is_read_with_its_axis_scale_and_the_videos_sizes(tmp_path: Path) -> None:
    eye = np.eye(4)
    eye[:3, 3] = [0, 0, 4]
    K = np.array([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]])
    camera = CalibratedCamera("left", 64, 48, K, np.zeros(8), eye)
    write_easymocap(tmp_path / "calib", [camera], sizes=False)
    (clip,) = ClipSource([write_video(tmp_path / "left.mp4")], tmp_path / "calib")
    cameras = {}
    for up in ("y", "z"):
        (cameras[up],) = calibrated_cameras(clip, PreprocessOptions(tmp_path, up=up, scale=0.5)) or []
        assert (cameras[up].width, cameras[up].height) == (64, 48)
        assert np.linalg.norm(cameras[up].w2c_44[:3, 3]) == pytest.approx(2.0)
    turned = cameras["z"].w2c_44[:3, :3] @ [0, 1, 0]
    np.testing.assert_allclose(turned, cameras["y"].w2c_44[:3, :3] @ [0, 0, 1], atol=1e-9)


def test_a_sequence_that_another_run_wrote_meanwhile_is_there_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clip,) = source(tmp_path / "raw", "a")
    options = PreprocessOptions(tmp_path / "out")

    def slower(*_: object) -> None:
        process(clip, options, 1, None)
        raise DataError("exists already; remove it")

    monkeypatch.setattr(pipeline, "_process", slower)
    result = pipeline.process_clip(clip, options)
    assert result.reason is None and result.summary == {"already_there": True}
    again = RunReport(1)
    run_ = _Run(None, Ledger(options.out), options, RunSettings(), again, None)  # type: ignore[arg-type]
    run_._judged(clip, result)
    assert (again.written, again.already_there, again.left_out) == (0, 1, [])


def test_a_clip_seen_by_several_cameras_is_one(tmp_path: Path) -> None:
    source(tmp_path / "raw", "left", "right")
    clips = ClipSource([tmp_path / "raw"], tmp_path / "calib.xml", "Jo Doe")
    (clip,) = clips
    assert len(clips) == 1 and len(clip.videos) == 2 and clip.subject == "Jo_Doe"
    assert Clip.from_json(json.loads(json.dumps(clip.to_json()))) == clip


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("too small: the person is 3 pixels tall", "too small"),
        ("/data/x.mp4 cannot be read as a video: it is truncated", "unreadable or unsuitable input"),
        ("The cameras run at other rates", "unreadable or unsuitable input"),
    ],
)
def test_reasons_are_counted_by_their_first_words(reason: str, words: str) -> None:
    assert category(reason) == words


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    ray = pytest.importorskip("ray")
    ray.init(
        num_cpus=2, include_dashboard=False, object_store_memory=80 * 1024 * 1024,
        log_to_driver=False, configure_logging=False,
    )  # fmt: skip
    yield
    ray.shutdown()


def test_ray_writes_the_same_bytes_and_survives_the_same_clips(tmp_path: Path, local_ray: None) -> None:
    names = ("a", "exit", "hang", "once", "small", "b")
    clips = source(tmp_path / "raw", *names)
    report = run(clips, tmp_path / "ray", engine="ray", minutes=0.1)
    local = run(source(tmp_path / "raw", "a", "once", "b"), tmp_path / "local")
    assert report.written == local.written == 3 and contents(tmp_path / "ray") == contents(tmp_path / "local")
    assert report.by_category() == {"crashed": 1, "timed out": 1, "too small": 1}
    assert tried(tmp_path / "ray").count("exit") == 3
    assert run(clips, tmp_path / "ray", engine="ray").already_there == 3


def test_a_lost_ray_worker_is_a_crash_of_its_clip(tmp_path: Path, local_ray: None) -> None:
    job = ClipJob(PreprocessOptions(tmp_path), minutes=0.5, function=FUNCTION)
    engine = RayEngine(job, 2)
    try:
        clip = Clip("hang", (tmp_path / "x.mp4",), "hang", None)
        engine.submit(clip)
        (reference,) = engine._running
        while not (tmp_path / "tries.txt").exists():
            time.sleep(0.05)
        engine._ray.cancel(reference, force=True)
        while not (done := engine.finished(1.0)):
            pass
        assert done[0][0] == clip and done[0][1].failure == "crashed" and "Ray" in done[0][1].detail
    finally:
        engine.close()


def test_without_ray_or_its_cluster_one_sentence_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ClipJob(PreprocessOptions(tmp_path))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingAssetError, match=r"pip install 'lca-lightning\[ray\]'"):
        RayEngine(job, 1)
    monkeypatch.undo()
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)

    def nobody(**_: object) -> None:
        raise ConnectionError("Could not find any running Ray instance.\nand more")

    monkeypatch.setattr(ray, "init", nobody)
    with pytest.raises(DeviceError, match="ray start --head"):
        RayEngine(job, 1, "auto")
