"""Captures are broken one thing at a time: exactly that is found, and nothing on the clean one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lca_lightning.datasets.video import VideoWriter
from lca_lightning.inspection.results import CheckOptions
from tests.unit.inspection.captures import FPS, FRAMES, HEIGHT, WIDTH

ANN, BOB = "ann_take", "bob_take"
Change = Callable[[Path], None]
Found = Callable[..., list[tuple[str, str, str, str]]]


def describe(root: Path, change: Callable[[dict[str, Any]], None], sequence: str = ANN) -> None:
    path = root / "sequences" / sequence / "sequence.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def camera(change: Callable[[dict[str, Any]], None], name: str = "cam1") -> Change:
    return lambda root: describe(root, lambda values: change(values["cameras"][name]))


def signal(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Change:
    def apply(root: Path) -> None:
        path = root / "sequences" / ANN / "signals.safetensors"
        arrays = load_file(path)
        save_file({**arrays, name: np.ascontiguousarray(change(arrays[name].copy()))}, path)

    return apply


def file(relative: str, change: Callable[[Path], object]) -> Change:
    return lambda root: change(root / "sequences" / ANN / relative) and None


def damage(path: Path) -> None:
    """Noise over the middle of a file."""
    content = bytearray(path.read_bytes())
    start, stop = len(content) // 4, 3 * len(content) // 4
    content[start:stop] = np.random.default_rng(0).integers(0, 256, stop - start, np.uint8).tobytes()
    path.write_bytes(content)


def write_gray(path: Path, width: int, height: int, frames: int, value: int = 255, fps: float = FPS) -> None:
    with VideoWriter(path, fps, width, height, gray=True) as writer:
        for _ in range(frames):
            writer.add(np.full((height, width), value, np.uint8))


def set_focal(values: dict[str, Any], focal: float) -> None:
    values["K"][0][0] = values["K"][1][1] = focal


def set_w2c(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    def apply(values: dict[str, Any]) -> None:
        values["w2c"] = change(np.array(values["w2c"])).tolist()

    return camera(apply)


def mirror(w2c_44: np.ndarray) -> np.ndarray:
    return np.diag([-1.0, 1, 1, 1]) @ w2c_44


def rolled(w2c_44: np.ndarray) -> np.ndarray:
    """Half a turn about the line of sight: an upside-down picture."""
    return np.diag([-1.0, -1, 1, 1]) @ w2c_44


def nan_at_start(array: np.ndarray) -> np.ndarray:
    array[0] = np.nan
    return array


def leave_partial(root: Path) -> None:
    (root / "sequences" / ".cid_take.partial-1" / "videos").mkdir(parents=True)


def swap(first: str, second: str) -> Change:
    def apply(root: Path) -> None:
        folder = root / "sequences" / ANN
        content = (folder / first).read_bytes()
        (folder / first).write_bytes((folder / second).read_bytes())
        (folder / second).write_bytes(content)

    return apply


def one(check: str, camera: str = "", severity: str = "error", sequence: str = ANN) -> set[tuple[str, ...]]:
    return {(severity, check, sequence, camera)}


BREAKS: dict[str, tuple[Change, set[tuple[str, ...]]]] = {
    "video of noise": (
        file("videos/cam1.mp4", lambda p: p.write_bytes(b"noise" * 999)),
        one("decoding", "cam1"),
    ),
    "damaged video": (file("videos/cam1.mp4", damage), one("decoding", "cam1")),
    "truncated mask": (
        file("masks/cam1.mkv", lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2])),
        one("frames", "cam1"),
    ),
    "missing video": (file("videos/cam1.mp4", Path.unlink), one("layout", "cam1")),
    "empty mask file": (file("masks/cam1.mkv", lambda p: p.write_bytes(b"")), one("layout", "cam1")),
    "mask of another size": (
        file("masks/cam1.mkv", lambda p: write_gray(p, WIDTH // 2, HEIGHT // 2, FRAMES)),
        one("size", "cam1"),
    ),
    "mask with a frame too few": (
        file("masks/cam1.mkv", lambda p: write_gray(p, WIDTH, HEIGHT, FRAMES - 1)),
        one("frames", "cam1") | one("overlap", "cam1") | one("masks", "cam1", "warning"),
    ),
    "mask of nobody": (
        file("masks/cam1.mkv", lambda p: write_gray(p, WIDTH, HEIGHT, FRAMES, 0)),
        one("masks", "cam1"),
    ),
    "mask at another rate": (
        file("masks/cam1.mkv", lambda p: write_gray(p, WIDTH, HEIGHT, FRAMES, 0, FPS * 1.02)),
        one("frames", "cam1") | one("masks", "cam1"),
    ),
    "masks of two cameras swapped": (
        swap("masks/cam1.mkv", "masks/cam2.mkv"),
        one("overlap", "cam1") | one("overlap", "cam2"),
    ),
    "same video in two cameras": (
        lambda root: (
            shutil.copy(
                root / "sequences" / ANN / "videos" / "cam0.mp4",
                root / "sequences" / ANN / "videos" / "cam1.mp4",
            )
            and None
        ),
        one("duplicates", sequence=""),
    ),
    "stray video": (
        lambda root: (
            shutil.copy(
                root / "sequences" / ANN / "videos" / "cam0.mp4",
                root / "sequences" / ANN / "videos" / "cam9.mp4",
            )
            and None
        ),
        one("layout", severity="warning"),
    ),
    "negative focal length": (camera(lambda values: set_focal(values, -100.0)), one("cameras", "cam1")),
    "half the focal length": (
        camera(lambda values: set_focal(values, values["K"][0][0] / 2)),
        one("overlap", "cam1"),
    ),
    "mirrored camera": (set_w2c(mirror), one("cameras", "cam1")),
    "rolled camera": (set_w2c(rolled), one("overlap", "cam1")),
    "inverted camera": (set_w2c(np.linalg.inv), one("cameras", "cam1")),
    "camera in millimetres": (
        set_w2c(lambda w2c: w2c * np.array([[1, 1, 1, 1000]] * 3 + [[1, 1, 1, 1]])),
        one("cameras", "cam1"),
    ),
    "sheared rotation": (set_w2c(lambda w2c: w2c @ np.diag([1.02, 1, 1, 1])), one("cameras", "cam1")),
    "camera of another resolution": (
        camera(lambda values: values.update(K=(np.array(values["K"]) * [[1.5], [1.5], [1]]).tolist())),
        one("overlap", "cam1"),
    ),
    "camera without a matrix": (
        camera(lambda values: values.pop("K") and None),
        one("cameras", "cam1") | one("layout"),
    ),
    "NaN in a valid frame": (signal("rotations", nan_at_start), one("signals")),
    "a frame of signals too few": (signal("frame_valid", lambda array: array[:-1]), one("frames")),
    "identity of another rig": (signal("identity", lambda array: array[:-1]), one("signals")),
    "body in centimetres": (
        signal("translation", lambda array: array * 100),
        one("cameras", "cam0") | one("cameras", "cam1") | one("cameras", "cam2"),
    ),
    "no fitted body": (
        signal("frame_valid", np.zeros_like),
        one("overlap", severity="warning") | one("signals", sequence=""),
    ),
    "few frames with a body": (
        signal("frame_valid", lambda array: np.arange(len(array)) < 2),
        one("overlap", severity="warning"),
    ),
    "a rig nobody knows": (
        lambda root: (root / "dataset.json").write_text(
            json.dumps({**json.loads((root / "dataset.json").read_text()), "rig": "smurf"})
        ),
        one("signals", sequence=""),
    ),
    "signals missing": (file("signals.safetensors", Path.unlink), one("layout")),
    "signals truncated": (
        file("signals.safetensors", lambda p: p.write_bytes(p.read_bytes()[:100])),
        one("layout"),
    ),
    "sequence.json truncated": (file("sequence.json", lambda p: p.write_text('{"subject": ')), one("layout")),
    "sequence.json missing": (file("sequence.json", Path.unlink), one("layout")),
    "unknown split": (lambda root: describe(root, lambda values: values.update(split="eval")), one("layout")),
    "cameras are a list": (
        lambda root: describe(root, lambda values: values.update(cameras=[])),
        one("layout"),
    ),
    "no subject": (lambda root: describe(root, lambda values: values.update(subject="")), one("layout")),
    "unknown consent": (
        lambda root: describe(root, lambda values: values.update(consent="unknown")),
        one("rights", severity="warning", sequence=""),
    ),
    "subject in two splits": (
        lambda root: describe(root, lambda values: values.update(subject="bob")),
        one("splits", sequence=""),
    ),
    "unfinished sequence": (leave_partial, one("leftovers", severity="note", sequence="")),
    "header without a rig": (
        lambda root: (
            (root / "dataset.json").write_text(
                json.dumps({**json.loads((root / "dataset.json").read_text()), "rig": 3})
            )
            and None
        ),
        one("layout", sequence=""),
    ),
}


def test_nothing_is_found_in_the_clean_capture(clean_capture: Path, found: Found) -> None:
    assert found(clean_capture, CheckOptions(sample=3, full=True)) == []


@pytest.mark.parametrize("name", BREAKS)
def test_exactly_what_is_broken_is_found(name: str, capture: Path, found: Found) -> None:
    change, expected = BREAKS[name]
    if not any(sequence in ("", BOB) for _, _, sequence, _ in expected):
        shutil.rmtree(capture / "sequences" / BOB)
    change(capture)
    assert set(found(capture)) == expected


def test_a_video_that_is_in_two_splits_is_found_also_after_compression(capture: Path, found: Found) -> None:
    ann, bob = (capture / "sequences" / name for name in (ANN, BOB))
    for part in ("videos", "masks"):
        shutil.copy(ann / part / "cam0.mp4" if part == "videos" else ann / part / "cam0.mkv", bob / part)
    arrays = load_file(ann / "signals.safetensors")
    save_file(arrays, bob / "signals.safetensors")
    expected = {("error", "duplicates", "", "")}
    overlaps = {("error", "overlap", BOB, name) for name in ("cam1", "cam2")}
    assert set(found(capture)) - overlaps == expected


def test_repeated_footage_is_found_whatever_stands_behind_it(capture: Path, found: Found) -> None:
    from lca_lightning.datasets.reader import Dataset

    shutil.rmtree(capture / "sequences" / BOB)
    shutil.copytree(capture / "sequences" / ANN, capture / "sequences" / "copy_take")
    describe(capture, lambda values: values.update(subject="dan", split="test"), "copy_take")
    source = Dataset(capture).sequences()[0]
    for name in source.cameras:
        images, masks = source.read_frames(name, range(FRAMES))
        images = np.where(masks[..., None] > 0, images, 255 - images)
        path = capture / "sequences" / "copy_take" / "videos" / f"{name}.mp4"
        with VideoWriter(path, FPS, WIDTH, HEIGHT, quality=28) as writer:
            for image in images:
                writer.add(image)
    assert set(found(capture)) == {("error", "duplicates", "", "")}
