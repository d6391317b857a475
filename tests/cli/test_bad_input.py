"""Bad files, places and numbers: one sentence with the way out, nothing half-written."""

from __future__ import annotations

import contextlib
import errno
import pickle
import resource
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from lca_lightning.cli.lightning_cli import _writer_threads_leave_reporting_to_us
from lca_lightning.datasets.pictures import write_png
from lca_lightning.datasets.video import VideoError, VideoWriter
from lca_lightning.errors import CheckpointError, DataError
from lca_lightning.motion.bvh import load_bvh
from lca_lightning.preprocessing.photos import load_photo
from lca_lightning.training.checkpoint_writing import AtomicCheckpointIO
from lca_lightning.training.checkpoints import read_checkpoint
from lca_lightning.writing import refuse_unwritable, write_text
from tests.cli.commands import lca, small


def the_sentence(capsys: pytest.CaptureFixture[str]) -> str:
    """What the command wrote to stderr, which must be one line without surprise."""
    text = capsys.readouterr().err
    assert text.count("\n") == 1 and "unexpected" not in text and "Traceback" not in text, text
    return text


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "No command was given"),
        (
            ["animate", "a.lca", "--motion", "m.bvh", "--out", "o.mp4", "--fps", "0"],
            "frame rate must lie between",
        ),
        (["animate", "a.lca", "--motion", "m.bvh", "--out", "o.mp4", "--size", "99999x64"], "to 8192x8192"),
        (["create", "--ckpt_path", "a.ckpt", "--images", "a.jpg", "--out", "a.png"], "must end in .lca"),
        (["export", "a.lca", "--out", "a.ply", "--frame", "3"], "give --motion FILE"),
    ],
)
def test_wrong_usage(words: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert lca(*words) == 2
    assert text in the_sentence(capsys)


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--model.init_from={folder}/other.ckpt", "not written by lca-lightning; use"),
        ("--model.avatar.renderer=vulkan", "choose one of auto, gsplat"),
        ("--trainer.accelerator=banana", "use auto, cpu or cuda"),
        ("--trainer.max_steps=-5", "non-negative integer"),
        ("--run_dir={folder}/other.ckpt/run", "is a file, not a folder; choose another place"),
    ],
)
def test_refused_before_anything_is_written(
    option: str, text: str, wild_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"epoch": 3}, tmp_path / "other.ckpt")
    words = [*small(wild_root), f"--run_dir={tmp_path}/run", option.format(folder=tmp_path)]
    assert lca("fit", "--config", "tiny/pretrain", *words) == 1
    assert text in the_sentence(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["other.ckpt"]


@pytest.mark.parametrize(
    ("content", "text"), [("", "is empty; `lca recipes"), ("a: 1\nb: [1,\n", "not YAML; look at line 3")]
)
def test_recipes_that_say_nothing(
    content: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text(content)
    assert lca("fit", "--config", str(tmp_path / "mine.yaml")) == 1
    assert text in the_sentence(capsys)


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may grow beyond a size: the system call fails in the middle, as on a disk that fills up."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 5_000, 3_000_000])
def test_full_disk_leaves_the_last_checkpoint(tmp_path: Path, size: int) -> None:
    target = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, target)
    with largest_file(size), pytest.raises(DataError, match="File too large.; free some space"):
        AtomicCheckpointIO().save_checkpoint({"step": 2, "weights": torch.zeros(1_000_000)}, target)
    assert torch.load(target, weights_only=True) == {"step": 1}
    assert list(tmp_path.iterdir()) == [target]


def test_full_disk_during_a_run(wild_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"trainer__max_steps": 1, "trainer__limit_val_batches": 0, "trainer__val_check_interval": 1}
    words = [*small(wild_root, **options), "--trainer.enable_progress_bar=false"]
    with largest_file(50_000):
        assert lca("fit", "--config", "tiny/pretrain", *words, f"--run_dir={tmp_path}") == 1
    assert "last.ckpt (File too large)" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*ckpt*"))


def test_the_thread_that_writes_the_curves_stays_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    reported = []
    monkeypatch.setattr(threading, "excepthook", lambda failure: reported.append(failure.exc_type))

    def fail(error: Exception) -> None:
        raise error

    with _writer_threads_leave_reporting_to_us():
        for error in (OSError(errno.ENOSPC, "full"), KeyError("real bug")):
            thread = threading.Thread(target=fail, args=(error,))
            thread.start()
            thread.join()
    assert reported == [KeyError]


def test_places_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "file", "x")
    with pytest.raises(DataError, match="file is a file, not a folder"):
        write_text(tmp_path / "file" / "inside.txt", "x")
    with pytest.raises(DataError, match="file is a file, not a folder; choose another place"):
        refuse_unwritable(tmp_path / "file" / "inside.txt")
    refuse_unwritable(tmp_path / "new" / "inside.txt")
    assert not (tmp_path / "new").exists()
    (tmp_path / "taken.mp4").mkdir()
    with pytest.raises(VideoError, match="a folder has that name"):
        VideoWriter(tmp_path / "taken.mp4", 10, 32, 32)

    def read_only(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "touch", read_only)
    with pytest.raises(VideoError, match="Read-only file system.; free some space or choose another folder"):
        VideoWriter(tmp_path / "out.mp4", 10, 32, 32)


class Payload:
    """Would make a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


def test_code_in_a_checkpoint_stays_asleep(tmp_path: Path) -> None:
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps(Payload(tmp_path / "woken")))
    torch.save({"lca": Payload(tmp_path / "woken")}, tmp_path / "zipped.ckpt")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("plain.ckpt", "zipped.ckpt"):
            with pytest.raises(CheckpointError, match="use a .ckpt of `lca fit`"):
                read_checkpoint(tmp_path / name)
    assert not (tmp_path / "woken").exists()


def test_every_complaint_about_a_motion_says_what_to_do(tmp_path: Path) -> None:
    hierarchy = "HIERARCHY\nROOT hips\n{\nOFFSET 0 0 0\nCHANNELS 1 Xrotation\n}\nMOTION\n"
    for tail in ("Frames: 2\nFrame Time: 0\n1\n2\n", "Frames: 2\nFrame Time: 0.1\n1\n1 2\n", "Frames: two\n"):
        (tmp_path / "a.bvh").write_text(hierarchy + tail)
        with pytest.raises(DataError, match="a.bvh, line .*; export it again"):
            load_bvh(tmp_path / "a.bvh")


@pytest.mark.parametrize("size", [(1, 1), (8, 3000)])
def test_photo_too_small_to_show_anybody(size: tuple[int, int], tmp_path: Path) -> None:
    write_png(np.zeros((*size, 3), np.uint8), tmp_path / "one.png")
    with pytest.raises(DataError, match="one.png is only .* pixels; give a photo of at least 16x16"):
        load_photo(tmp_path / "one.png")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("short.mp4", "too short: it has 3 usable frames, at least 8 are needed"),
        ("short.mkv", "no person"),  # does not say how many frames it has
    ],
)
def test_clip_of_too_few_frames(
    name: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mediapipe")
    with VideoWriter(tmp_path / name, 10, 64, 64) as writer:
        for _ in range(3):
            writer.add(np.zeros((64, 64, 3), np.uint8))
    assert lca("preprocess", str(tmp_path / name), "--out", str(tmp_path / "data")) == 1
    assert text in capsys.readouterr().err
    left = {path.name for path in (tmp_path / "data").iterdir()}
    assert "dropped.json" in left and not left & {"sequences", "dataset.json"}
