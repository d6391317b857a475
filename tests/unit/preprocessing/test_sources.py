"""Videos and photos a user brings, good and broken; clips planned from them; what is dropped and why."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest

from lca_lightning.errors import DataError, UsageError
from lca_lightning.preprocessing.clip_sources import ClipSource
from lca_lightning.preprocessing.clips import LONGEST_NAME, safe_name
from lca_lightning.preprocessing.frames import SourceVideo

pytest.importorskip("cv2")
from lca_lightning.preprocessing.photos import load_photo
from lca_lightning.preprocessing.quality import ClipQuality, drop_reason


def write_video(path: Path, frames: int = 30, codec: str = "mpeg4", faststart: bool = False) -> Path:
    options = {"movflags": "faststart"} if faststart else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        noise = np.random.default_rng(0)
        for index in range(frames):
            image = noise.integers(0, 255, (48, 64, 3), dtype=np.uint8)
            image[:, :32] = index * 8
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_frames_come_in_order(tmp_path: Path) -> None:
    video = SourceVideo(write_video(tmp_path / "a.mp4"))
    means = [float(image[:, :24].mean()) for image in video]
    assert (video.width, video.height, video.fps, len(means)) == (64, 48, 25.0, 30)
    assert np.all(np.diff(means) > 0)


def test_broken_videos_are_refused_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        SourceVideo(tmp_path / "none.mp4")
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(DataError, match="empty"):
        SourceVideo(tmp_path / "empty.mp4")
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(DataError, match="cannot be read as a video"):
        SourceVideo(tmp_path / "text.mp4")
    whole = write_video(tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="truncated"):
        SourceVideo(tmp_path / "cut.mp4")


def test_a_video_that_breaks_off_is_refused(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mp4", faststart=True).read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: int(len(whole) * 0.6)])
    with pytest.raises(DataError, match=r"truncated"):
        list(SourceVideo(cut))


def test_clips_are_planned_from_files_and_folders(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.MOV", "notes.txt"):
        (tmp_path / name).touch()
    clips = list(ClipSource([tmp_path], None, None))
    assert [clip.id for clip in clips] == ["a", "b"] and clips[0].subject == "a"
    (other := tmp_path / "other" / "b.mp4").parent.mkdir()
    other.touch()
    clips = list(ClipSource([tmp_path / "b.mp4", tmp_path / "b.mp4", other], None, "Jo Doe"))
    assert [clip.id for clip in clips] == ["b", "b-2"] and clips[1].videos == (other,)
    (capture,) = list(ClipSource([tmp_path], tmp_path / "c.xml", "Jo Doe"))
    assert len(capture.videos) == 2 and capture.subject == "Jo_Doe" and capture.id == safe_name(tmp_path.name)
    with pytest.raises(DataError, match="does not exist"):
        ClipSource([tmp_path / "c.mp4"], None, None)
    with pytest.raises(UsageError):
        ClipSource([], None, None)
    (tmp_path / "void").mkdir()
    with pytest.raises(DataError, match="holds no video"):
        ClipSource([tmp_path / "void"], None, None)


def test_long_names_are_shortened_and_stay_apart(tmp_path: Path) -> None:
    """A name as long as the file system allows leaves no room for the endings of what is called after it."""
    for ending in "ab":
        (tmp_path / f"{'x' * 240}{ending}.mp4").touch()
    first, second = (clip.id for clip in ClipSource([tmp_path], None, None))
    assert first != second and max(len(first), len(second)) <= LONGEST_NAME
    assert safe_name("y" * LONGEST_NAME) == "y" * LONGEST_NAME


def test_unreadable_photos_are_refused_and_good_ones_turned_upright(tmp_path: Path) -> None:
    from PIL import Image

    with pytest.raises(DataError, match="does not exist"):
        load_photo(tmp_path / "none.jpg")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(DataError, match="empty"):
        load_photo(tmp_path / "empty.jpg")
    (tmp_path / "bad.jpg").write_text("no picture")
    with pytest.raises(DataError, match="cannot be read"):
        load_photo(tmp_path / "bad.jpg")
    with pytest.raises(DataError, match="uint8"):
        load_photo(np.zeros((4, 4, 3)))
    picture = Image.new("RGB", (40, 20))
    exif = Image.Exif()
    exif[274] = 6  # the camera was turned by a quarter
    exif.get_ifd(0x8769)[41989] = 26
    picture.save(tmp_path / "turned.jpg", exif=exif)
    name, image, focal = load_photo(tmp_path / "turned.jpg")
    assert name == "turned.jpg" and image.shape == (40, 20, 3) and focal == pytest.approx(26 / 43.27)


class Prepared:
    """What ``drop_reason`` reads of a clip."""

    def __init__(self, crowd: np.ndarray) -> None:
        self.detections = [type("Detection", (), {"crowd_T": crowd})()]


def quality(error: float = 5.0, overlap: float = 0.8, height: float = 500.0, valid: int = 20) -> ClipQuality:
    shape = (1, 20)
    good = np.arange(20) < valid
    return ClipQuality(np.full(shape, error), np.full(shape, overlap), np.full(shape, height), good)


@pytest.mark.parametrize(
    ("made", "crowd", "single", "said"),
    [
        (quality(), 0, True, None),
        (quality(valid=2), 18, True, "more than one person"),
        (quality(), 18, False, None),
        (quality(height=60), 0, True, "too small"),
        (quality(error=40), 0, True, "badly fitted"),
        (quality(overlap=0.2), 0, True, "badly fitted"),
        (quality(valid=3), 0, True, "too short"),
        (quality(error=np.nan), 0, True, "no person"),
    ],
)
def test_reasons_to_drop_a_clip(made: ClipQuality, crowd: int, single: bool, said: str | None) -> None:
    reason = drop_reason(Prepared(np.arange(20) < crowd), made, 120.0, single)  # type: ignore[arg-type]
    assert (reason is None) if said is None else (reason is not None and said in reason)


def test_dropped_clips_are_listed(tmp_path: Path) -> None:
    summary = quality().summary()
    assert json.loads(json.dumps(summary))["valid_frames"] == 20 and summary["reprojection_px_median"] == 5.0


def test_without_the_extra_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from lca_lightning.errors import MissingAssetError
    from lca_lightning.preprocessing import detection

    monkeypatch.setattr(detection.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingAssetError, match=r"lca-lightning\[mediapipe\]"):
        detection.PersonDetector()


def test_mediapipe_is_imported_in_one_file_only() -> None:
    folder = Path(__file__).parents[3] / "src" / "lca_lightning"
    importing = [
        path.name
        for path in folder.rglob("*.py")
        if any(
            line.strip().startswith(("import mediapipe", "from mediapipe"))
            for line in path.read_text().splitlines()
        )
    ]
    assert importing == ["detection.py"]
