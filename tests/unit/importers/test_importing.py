"""The frame that all importers share: choosing, splitting, resuming, skipping, refusing."""

from __future__ import annotations

import errno
import json
import os
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lca_lightning import plugins
from lca_lightning.cli.main import main
from lca_lightning.datasets.reader import Dataset
from lca_lightning.datasets.video_writer import VideoWriter
from lca_lightning.errors import ConfigError, DataError, UsageError
from lca_lightning.importers import registry
from lca_lightning.importers.importing import ImportOptions, import_dataset, subject_split
from lca_lightning.importers.picture_changes import PictureChange
from lca_lightning.importers.reading import (
    numbered_members,
    picture_size,
    ply_vertices,
    read_json_file,
    read_labels,
    read_member,
    read_picture,
)
from lca_lightning.importers.registry import importer_class, importer_names
from lca_lightning.importers.selection import choose_cameras, parse_frames, sequence_name
from lca_lightning.importers.source import BrokenTake, Importer, SourceCamera, SourceTake
from lca_lightning.importers.take_writing import TakeOptions
from tests.unit.importers.miniature import look_at, ply

SIZE = (40, 30)


def _camera(name: str, angle: float = 0.0) -> SourceCamera:
    K = np.array([[50.0, 0, 20], [0, 50.0, 15], [0, 0, 1]])
    place = [3 * np.sin(angle), 0.2, 3 * np.cos(angle)]
    return SourceCamera(name, *SIZE, K, look_at(place, np.zeros(3)))


class ToyImporter(Importer):
    """Five takes of three people; a file named in the source says what breaks."""

    name, title, licence, terms_url = "toy", "Toy", "CC0", "https://example.org"
    kind, expects = "studio", "a file toy.json"

    def __init__(self, source: Path | str) -> None:
        super().__init__(source)
        if not (self.source / "toy.json").is_file():
            raise self.not_this_set("it has no toy.json")
        self.broken = json.loads((self.source / "toy.json").read_text())

    def takes(self) -> Iterator[SourceTake | BrokenTake]:
        cameras = tuple(_camera(f"c{i}", 0.7 * i) for i in range(4))
        for number, subject in enumerate(["ada", "ada", "bob", "cyd"]):
            kind = "light_stage" if self.broken.get("kind") == number else ""
            yield SourceTake(f"{subject} take/{number}", subject, cameras, 6, 60.0, kind=kind)
        yield BrokenTake("lost", "its calibration is missing")

    def frames(
        self, take: SourceTake, camera: SourceCamera, indices: Sequence[int]
    ) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        what = self.broken.get(take.id[-1])
        if what == "raises":
            raise OSError(errno.EIO, "Input/output error")
        if what == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        for index in list(indices)[: 2 if what == "short" else None]:
            image = np.full((SIZE[1], SIZE[0], 3), 10 * index, np.uint8)
            mask = np.full((SIZE[1], SIZE[0] - (what == "mask")), 255, np.uint8)
            yield image[:, : SIZE[0] - (what == "size")], None if what == "none" else mask


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    point = EntryPoint("toy", f"{__name__}:ToyImporter", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point])
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "toy.json").write_text("{}")
    return tmp_path / "toy"


def _ids(root: Path) -> list[str]:
    return [sequence.id for sequence in Dataset(root).sequences()]


def test_takes_cameras_frames_and_splits(toy: Path, tmp_path: Path) -> None:
    splits = tmp_path / "splits.json"
    splits.write_text(json.dumps({"bob": "val"}))
    out = tmp_path / "out"
    words = ["--subjects", "ada", "b*", "--cameras", "c0", "c3", "--frames", "1:6:2", "--max-size", "20"]
    main(["import", "toy", str(toy), str(out), *words, "--splits", str(splits), "--test-fraction", "0"])
    found = {sequence.id: sequence for sequence in Dataset(out).sequences()}
    assert list(found) == ["toy-ada-take-0", "toy-ada-take-1", "toy-bob-take-2"]
    assert [sequence.split for sequence in found.values()] == ["train", "train", "val"]
    first = found["toy-ada-take-0"]
    assert list(first.cameras) == ["c0", "c3"] and first.frame_count == 3 and first.fps == 30.0
    camera = first.cameras["c0"]
    assert (camera.width, camera.height) == (20, 15)
    # centres at integers become centres at +0.5, then everything halves
    np.testing.assert_allclose(camera.K_33, [[25, 0, 10.25], [0, 25, 7.75], [0, 0, 1]])
    values = first.read_frames("c3", [0, 1, 2])[0].mean((1, 2, 3))
    np.testing.assert_allclose(values, [10, 30, 50], atol=3)
    assert not first.signals.frame_valid_T.any()
    assert json.loads((out / "skipped.json").read_text()) == [
        {"id": "lost", "reason": "its calibration is missing"}
    ]


def test_a_second_run_continues_and_overwrite_starts_again(toy: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (toy / "toy.json").write_text(json.dumps({"2": "raises"}))
    first = import_dataset("toy", toy, out, ImportOptions())
    assert len(first.written) == 3 and [take.id for take in first.skipped] == ["lost", "bob take/2"]
    stamp = (out / "sequences" / "toy-ada-take-0" / "sequence.json").stat().st_mtime_ns
    (toy / "toy.json").write_text("{}")
    second = import_dataset("toy", toy, out, ImportOptions())
    assert [take.id for take in second.written] == ["toy-bob-take-2"] and len(second.kept) == 3
    assert (out / "sequences" / "toy-ada-take-0" / "sequence.json").stat().st_mtime_ns == stamp
    third = import_dataset("toy", toy, out, ImportOptions(overwrite=True))
    assert len(third.written) == 4 and not third.kept
    assert len(_ids(out)) == 4


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("mask", "The mask of frame 0"),
        ("size", "do not belong together"),
        ("short", "2 of 6 frames"),
        ("none", "without masks"),
        ("raises", "Input/output error"),
    ],
)
def test_a_broken_take_is_skipped_with_its_reason(toy: Path, tmp_path: Path, what: str, says: str) -> None:
    (toy / "toy.json").write_text(json.dumps({"1": what}))
    main(["import", "toy", str(toy), str(tmp_path / "out")])
    assert _ids(tmp_path / "out") == ["toy-ada-take-0", "toy-bob-take-2", "toy-cyd-take-3"]
    reasons = {
        entry["id"]: entry["reason"] for entry in json.loads((tmp_path / "out/skipped.json").read_text())
    }
    assert says in reasons["ada take/1"]
    assert not list((tmp_path / "out" / "sequences").glob(".*"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG])
def test_a_full_disk_ends_everything_with_one_sentence(
    number: int,
    toy: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, added = tmp_path / "out", 0
    add = VideoWriter.add

    def full(self: VideoWriter, image: np.ndarray) -> None:
        nonlocal added
        added += 1
        if added > 60:
            error = OSError(number, os.strerror(number))
            raise self._cannot_write(error) from error
        add(self, image)

    monkeypatch.setattr(VideoWriter, "add", full)
    with pytest.raises(SystemExit) as stop:
        main(["import", "toy", str(toy), str(out)])
    assert stop.value.code == 1 and "disk is full" in capsys.readouterr().err
    assert _ids(out) == ["toy-ada-take-0"] and not list((out / "sequences").glob(".*"))
    monkeypatch.undo()


def test_takes_of_another_kind_need_another_folder(toy: Path, tmp_path: Path) -> None:
    (toy / "toy.json").write_text(json.dumps({"kind": 2}))
    result = import_dataset("toy", toy, tmp_path / "out", ImportOptions())
    assert len(result.written) == 3
    assert "import it into another folder" in next(t.reason for t in result.skipped if t.id == "bob take/2")


@pytest.mark.slow
def test_processes_write_what_one_process_writes(tmp_path: Path) -> None:
    from tests.unit.importers.codec_studio_sets import write_goliath
    from tests.unit.importers.miniature import ring

    square = np.array([[[-0.3, -0.3, 0], [0.3, -0.3, 0.0], [0, 0.4, 0]]] * 2)
    faces = np.array([[0, 1, 2]])
    eyes = ring(["1", "2"], (167, 256), np.zeros(3), 1.5)
    for capture in ("ClothedBody", "MinimalBody"):
        write_goliath(tmp_path / "set", capture, eyes, square, faces)
    main(["import", "goliath", str(tmp_path / "set"), str(tmp_path / "one")])
    main(["import", "goliath", str(tmp_path / "set"), str(tmp_path / "two"), "--workers", "2"])
    for first, second in zip(
        Dataset(tmp_path / "one").sequences(), Dataset(tmp_path / "two").sequences(), strict=True
    ):
        assert first.description == second.description
        np.testing.assert_array_equal(
            first.read_frames("cam1", [0, 1])[0], second.read_frames("cam1", [0, 1])[0]
        )


@pytest.mark.parametrize("name", sorted(registry._OURS))
def test_a_wrong_folder_is_told_what_was_expected(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(f"lca_lightning.importers.{name}")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.txt").write_text("sun")
    for source in (tmp_path / "photos", tmp_path / "nowhere"):
        with pytest.raises(SystemExit) as stop:
            main(["import", name, str(source), str(tmp_path / "out")])
        said = capsys.readouterr().err
        assert stop.value.code in (1, 2) and "expects" in said and "Traceback" not in said
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nosuch", "a", "b"], "lca import --list"),
        (["golaith", "a", "b"], "did you mean 'goliath'"),
        (["goliath"], "NAME, SRC and OUT"),
        (["goliath", "a", "b", "--frames", "1-3"], "START:STOP"),
        (["goliath", "a", "b", "--workers", "0"], "--workers must be at least 1"),
        (["goliath", "a", "b", "--max-size", "3"], "at least 16"),
        (["goliath", "a", "b", "--body-model", "none.npz"], "no body model file"),
    ],
)
def test_wrong_usage_is_named(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["import", *words])
    assert stop.value.code == 2 and says in capsys.readouterr().err


def test_the_list_names_licences_and_what_is_unverified(capsys: pytest.CaptureFixture[str]) -> None:
    main(["import", "--list"])
    said = capsys.readouterr().out
    for line in ("goliath ", "CC-BY-NC-4.0", "[unverified on real data]", "generic "):
        assert line in said


def test_other_packages_bring_importers(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("theirs", f"{__name__}:ToyImporter", registry.ENTRY_POINT_GROUP),
        EntryPoint("goliath", f"{__name__}:ToyImporter", registry.ENTRY_POINT_GROUP),
        EntryPoint("gone", "no_such_package:Importer", registry.ENTRY_POINT_GROUP),
        EntryPoint("wrong", "pathlib:Path", registry.ENTRY_POINT_GROUP),
    ]
    monkeypatch.setattr(plugins, "entry_points", lambda group: points)
    assert {"theirs", "gone", "goliath"} <= set(importer_names())
    assert importer_class("theirs") is ToyImporter
    assert importer_class("goliath").title == "Goliath-4"  # ours keep their names
    with pytest.raises(ConfigError, match="no_such_package"):
        importer_class("gone")
    with pytest.raises(ConfigError, match="no subclass"):
        importer_class("wrong")


def test_splits_depend_on_the_name_alone_and_are_nested() -> None:
    names = [f"person{i}" for i in range(2000)]
    tenth = {name for name in names if subject_split(name, 0.1) == "test"}
    fifth = {name for name in names if subject_split(name, 0.2) == "test"}
    assert tenth < fifth and abs(len(tenth) / 2000 - 0.1) < 0.02 and abs(len(fifth) / 2000 - 0.2) < 0.03


def test_a_number_of_cameras_spreads_them() -> None:
    cameras = [_camera(f"c{i}", angle) for i, angle in enumerate([0, 0.1, 0.2, np.pi, np.pi + 0.1, 1.6])]
    assert [camera.name for camera in choose_cameras(cameras, ["3"])] == ["c0", "c3", "c5"]
    assert [camera.name for camera in choose_cameras(cameras, ["c[12]"])] == ["c1", "c2"]
    with pytest.raises(DataError, match="no camera x9"):
        choose_cameras(cameras, ["x9"])


def test_frames_are_read_as_python_does() -> None:
    assert list(range(10))[parse_frames("2::3")] == [2, 5, 8]
    for text in ("5", "a:b", "1:2:0", "1:2:3:4"):
        with pytest.raises(UsageError, match="--frames"):
            parse_frames(text)
    assert sequence_name("zju_mocap", "Core View/313") == "zju_mocap-Core-View-313"


@pytest.mark.parametrize("bend", [(0.2, -0.05, 0.001, -0.002), (-0.25, 0.1, 0.0, 0.0, 0.02)])
def test_pictures_lose_their_lens(bend: tuple[float, ...]) -> None:
    """A straight edge photographed through a lens is straight again, where the stored camera puts it."""
    from lca_lightning.calibration.lens import distort_points

    size = (320, 240)
    K = np.array([[300.0, 0, 155], [0, 310.0, 122], [0, 0, 1]])  # centres at integers
    camera = SourceCamera("c", *size, K, np.eye(4), np.array(bend))
    change = PictureChange(camera, 0.0, 160)
    edge = np.stack([np.linspace(-0.6, 0.6, 4000), np.full(4000, 0.25)], -1)
    bent = distort_points(edge, np.array(bend)) @ K[:2, :2].T + K[:2, 2]
    mask = np.zeros((size[1], size[0]), np.uint8)
    for x, y in bent:
        if 0 <= round(x) < size[0] and 0 <= round(y) < size[1]:
            mask[round(y) :, round(x)] = 255
    image = np.repeat(mask[..., None], 3, -1)
    shown, seen = change.apply(image, mask)
    assert shown.shape == (120, 160, 3) and seen.shape == (120, 160)
    row = 0.25 * change.record.K_33[1, 1] + change.record.K_33[1, 2]  # where the edge must lie now
    first = (seen[:, 20:140] > 127).argmax(0)
    np.testing.assert_allclose(first, row, atol=1.2)


def test_archives_never_touch_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "cam.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../escape/000001.png", b"x")
        archive.writestr("cam/000002.png", b"y")
    members = numbered_members(path, "png")
    assert read_member(path, members[1]) == b"x" and sorted(members) == [1, 2]
    assert [entry.name for entry in tmp_path.iterdir()] == ["cam.zip"]
    with pytest.raises(DataError, match="holds no"):
        read_member(path, "other.png")


def test_meshes_are_read_and_cut_ones_refused() -> None:
    points = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_array_equal(ply_vertices(ply(points)), points)
    rows = "\n".join(" ".join(map(str, row)) for row in points.tolist())
    text = "ply\nformat ascii 1.0\nelement vertex 5\nproperty float x\nproperty float y\nproperty float z\n"
    np.testing.assert_allclose(ply_vertices(f"{text}end_header\n{rows}\n".encode()), points, rtol=1e-6)
    with pytest.raises(DataError, match="complete PLY"):
        ply_vertices(ply(points)[:-8], "a.ply")


def test_options_travel_to_processes() -> None:
    import pickle

    options = ImportOptions(take=TakeOptions(frames=slice(0, 4, 2)))
    assert pickle.loads(pickle.dumps(options)) == options


def test_nobody_gets_into_two_splits_over_several_runs(toy: Path, tmp_path: Path) -> None:
    """Takes of one person come at different times, and the second run asks for another split."""
    out = tmp_path / "out"
    import_dataset("toy", toy, out, ImportOptions(test_fraction=0.0))
    shutil.rmtree(out / "sequences" / "toy-ada-take-1")
    splits = tmp_path / "splits.json"
    splits.write_text(json.dumps({"ada": "test"}))
    second = import_dataset("toy", toy, out, ImportOptions(splits=splits))
    assert not second.written
    assert [take.reason for take in second.skipped if "ada is in train already" in take.reason]
    third = import_dataset("toy", toy, out, ImportOptions(splits=splits, overwrite=True))
    assert len(third.written) == 4
    assert {s.split for s in Dataset(out).sequences() if s.subject == "ada"} == {"test"}


def test_takes_whose_names_become_alike_are_not_taken_for_one(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    takes = ToyImporter.takes

    def alike(self: ToyImporter) -> Iterator[SourceTake | BrokenTake]:
        for take in takes(self):
            yield replace(take, id=f"ada{'/ '[take.id[-1] == '1']}x") if "ada" in take.id else take

    monkeypatch.setattr(ToyImporter, "takes", alike)
    result = import_dataset("toy", toy, tmp_path / "out", ImportOptions())
    assert len(result.written) == 3 and any("as that of ada/x is" in take.reason for take in result.skipped)


def _huge_png() -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0"))


@pytest.mark.parametrize("read", [read_picture, read_labels, picture_size])
def test_pictures_that_claim_to_be_huge_are_refused(read: Callable[..., object]) -> None:
    with pytest.raises(DataError, match="bomb.png"):
        read(_huge_png(), "bomb.png")


def test_files_that_are_shorter_or_deeper_than_they_say_are_refused(tmp_path: Path) -> None:
    head = "ply\nformat ascii 1.0\nelement vertex {}\nproperty float x\nproperty float y\nproperty float z\n"
    for count in (2, -1):
        with pytest.raises(DataError, match="a.ply"):
            ply_vertices(f"{head.format(count)}end_header\n1 2 3\n".encode(), "a.ply")
    (tmp_path / "deep.json").write_text("[" * 100000)
    with pytest.raises(DataError, match="deep.json"):
        read_json_file(tmp_path / "deep.json")


def test_an_unforeseen_error_costs_one_take(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = ToyImporter.frames

    def failing(self: ToyImporter, take: SourceTake, *rest: object) -> object:
        if take.subject == "bob":
            raise RuntimeError("a codec gave up")
        return frames(self, take, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(ToyImporter, "frames", failing)
    result = import_dataset("toy", toy, tmp_path / "out", ImportOptions())
    assert len(result.written) == 3
    assert [take.reason for take in result.skipped if "a codec gave up" in take.reason]


def test_pictures_of_sixteen_bits_keep_their_upper_eight(tmp_path: Path) -> None:
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "mask.png")
    assert read_picture(tmp_path / "mask.png", mode="L").tolist() == [[0, 1, 128, 255]]
    Image.fromarray(values // 257).save(tmp_path / "low.png")
    assert read_picture(tmp_path / "low.png", mode="L").tolist() == [[0, 1, 128, 255]]
