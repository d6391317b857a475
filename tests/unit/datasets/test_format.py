from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from lca_lightning.datasets.format import (
    CameraRecord,
    Dataset,
    SequenceWriter,
    Signals,
    mask_box,
    sequence_exists,
    write_dataset_header,
)
from lca_lightning.errors import DataError

FRAMES, HEIGHT, WIDTH = 12, 64, 96


def camera(name: str = "front", width: int = WIDTH, height: int = HEIGHT) -> CameraRecord:
    return CameraRecord(name, width, height, np.array([[90.0, 0, 48], [0, 90, 32], [0, 0, 1]]), np.eye(4))


def make_signals(frames: int = FRAMES) -> Signals:
    generator = np.random.default_rng(0)
    valid = np.ones(frames, bool)
    valid[3] = False
    rotations = generator.normal(size=(frames, 5, 3)).astype(np.float32)
    rotations[3] = np.nan
    return Signals(
        identity_I=np.arange(4, dtype=np.float32),
        rotations_TJ3=rotations,
        translation_T3=generator.normal(size=(frames, 3)).astype(np.float32),
        expression_TE=np.zeros((frames, 2), np.float32),
        gaze_T8=np.zeros((frames, 8), np.float32),
        frame_valid_T=valid,
        face_boxes={"front": np.full((frames, 4), np.nan, np.float32)},
    )


def make_mask(index: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    mask[20:50, 10 + index : 40 + index] = 255
    return mask


def writer(root, sequence_id="one", cameras=None, **changes) -> SequenceWriter:
    arguments = dict(subject="ann", split="train", fps=30, rig="anny", licence="CC0", provenance="a test")
    arguments.update(kind="studio", cameras=cameras or [camera()], **changes)
    return SequenceWriter(root, sequence_id, **arguments)


def write(root, counter, sequence_id="one", cameras=None, **changes) -> None:
    with writer(root, sequence_id, cameras, **changes) as out:
        for record in cameras or [camera()]:
            for index in range(FRAMES):
                image = counter.frame(index)[: record.height, : record.width]
                out.add_frame(record.name, image, make_mask(index, record.height, record.width))
        out.finish(make_signals(), quality={"iou": 0.9})


def test_round_trip(tmp_path, counter):
    write(tmp_path, counter, cameras=[camera(), camera("odd", 95, 63)], split="test")
    dataset = Dataset(tmp_path)
    assert (dataset.kind, dataset.rig) == ("studio", "anny")
    assert dataset.sequences("train") == []
    (sequence,) = dataset.sequences("test")
    assert (sequence.id, sequence.subject, sequence.fps, sequence.frame_count) == ("one", "ann", 30, FRAMES)
    assert sequence.quality == {"iou": 0.9} and sequence.description["undistorted"] is True
    for name, array in make_signals().to_arrays().items():
        np.testing.assert_array_equal(sequence.signals.to_arrays()[name], array)
    np.testing.assert_array_equal(sequence.signals.person_boxes["front"][4], [14, 20, 44, 50])
    np.testing.assert_array_equal(sequence.cameras["front"].K_33, camera().K_33)
    images, masks = sequence.read_frames("odd", [9, 0, 9])
    assert images.shape == (3, 63, 95, 3) and masks.shape == (3, 63, 95)
    assert [counter.read(image[:, :94]) for image in images] == [9, 0, 9]
    np.testing.assert_array_equal(masks[0], make_mask(9, 63, 95))
    json.loads((tmp_path / "sequences/one/sequence.json").read_text())


def test_nothing_appears_before_finish_and_nothing_stays_after_a_failure(tmp_path, counter):
    with pytest.raises(RuntimeError), writer(tmp_path) as out:
        out.add_frame("front", counter.frame(0), make_mask(0))
        assert not sequence_exists(tmp_path, "one")
        raise RuntimeError
    with pytest.raises(DataError, match="finish\\(\\) was never called"), writer(tmp_path):
        pass
    with pytest.raises(DataError, match="got 1 of 12 frames"), writer(tmp_path) as out:
        out.add_frame("front", counter.frame(0), make_mask(0))
        out.finish(make_signals())
    with pytest.raises(DataError, match="must be uint8 of shape"), writer(tmp_path) as out:
        out.add_frame("front", counter.frame(0)[:5], make_mask(0))
    assert list((tmp_path / "sequences").iterdir()) == []
    with pytest.raises(DataError, match="no finished sequence; make one with `lca synthesize --out DIR`"):
        Dataset(tmp_path)


def test_existing_sequences_are_kept(tmp_path, counter):
    write(tmp_path, counter)
    assert sequence_exists(tmp_path, "one") and not sequence_exists(tmp_path, "two")
    with pytest.raises(DataError, match="exists already"):
        writer(tmp_path)
    write(tmp_path, counter, subject="eve", overwrite=True)
    assert Dataset(tmp_path).sequences()[0].subject == "eve"


def test_leftovers_of_dead_processes_are_removed(tmp_path, counter):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    running = tmp_path / "sequences" / f".one.partial-{os.getppid()}"
    for folder in (tmp_path / "sequences" / f".one.partial-{dead.pid}", running):
        (folder / "videos").mkdir(parents=True)
    write(tmp_path, counter)
    assert sorted(path.name for path in (tmp_path / "sequences").iterdir()) == sorted(["one", running.name])
    assert [sequence.id for sequence in Dataset(tmp_path).sequences()] == ["one"]


def test_a_full_disk_gives_one_sentence_and_leaves_nothing(tmp_path):
    program = """
import resource, signal, sys, numpy as np
from lca_lightning.datasets.format import CameraRecord, SequenceWriter
from lca_lightning.errors import DataError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
camera = CameraRecord("front", 128, 128, np.eye(3), np.eye(4))
try:
    with SequenceWriter(sys.argv[1], "one", subject="a", split="train", fps=30, cameras=[camera], rig="anny",
                        licence="CC0", provenance="test", kind="wild") as writer:
        for _ in range(40):
            writer.add_frame("front", np.roll(noise, 1, 0), noise[..., 0])
except DataError as error:
    print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True
    )
    assert "cannot be written (" in result.stdout and "free some space" in result.stdout
    assert [path.name for path in tmp_path.rglob("*")] in (
        ["dataset.json", "sequences"],
        ["sequences", "dataset.json"],
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rotations_TJ3": np.full((FRAMES, 5, 3), np.nan)}, "NaN or infinite rotations_TJ3"),
        ({"identity_I": np.array([np.nan])}, "infinite identity_I"),
        ({"gaze_T8": np.zeros((FRAMES, 6))}, r"gaze_T8 .* must have shape \(12, 8\), got \(12, 6\)"),
        ({"face_boxes": {"back": np.zeros((FRAMES, 4))}}, "unknown camera back"),
    ],
)
def test_bad_signals_are_refused(change, message):
    with pytest.raises(DataError, match=message):
        replace(make_signals(), **change).check("one", FRAMES, ["front"])


def test_missing_wrong_and_damaged_data_sets(tmp_path, counter):
    with pytest.raises(DataError, match="no data set folder .* `lca preprocess VIDEO --out DIR`"):
        Dataset(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no dataset.json"):
        Dataset(tmp_path)
    write(tmp_path, counter)
    with pytest.raises(DataError, match="holds data of rig 'anny', not 'mhr'"):
        write_dataset_header(tmp_path, kind="studio", rig="mhr", licence="", provenance="")
    folder = tmp_path / "sequences" / "one"
    for name, message in (("signals.safetensors", "missing or truncated"), ("sequence.json", "truncated")):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError, match=message):
            assert Dataset(tmp_path).sequences()[0].signals
        (folder / name).write_bytes(whole)
    sequence = Dataset(tmp_path).sequences()[0]
    with pytest.raises(DataError, match="no camera 'back'; it has front"):
        sequence.read_frames("back", [0])
    with pytest.raises(DataError, match="frames 0 to 11"):
        sequence.read_frames("front", [12])
    (folder / "masks/front.mkv").write_bytes(b"")
    with pytest.raises(DataError, match="missing or empty"):
        Dataset(tmp_path).sequences()
    header = json.loads((tmp_path / "dataset.json").read_text())
    (tmp_path / "dataset.json").write_text(json.dumps({**header, "version": 2}))
    with pytest.raises(DataError, match="layout version 2 but this program reads version 1"):
        Dataset(tmp_path)


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "a b", "../up"])
def test_unsafe_names_are_refused(tmp_path, name):
    with pytest.raises(DataError, match="may hold only"):
        writer(tmp_path, name)


def test_mask_box():
    np.testing.assert_array_equal(mask_box(make_mask(0)), [10, 20, 40, 50])
    assert np.isnan(mask_box(np.full((4, 4), 127, np.uint8))).all()
