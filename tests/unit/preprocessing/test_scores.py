"""The score that tells photographs from drawings, and scores of the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lca_lightning.errors import ConfigError
from lca_lightning.preprocessing.clips import Clip, PreprocessOptions
from lca_lightning.preprocessing.frames import SourceVideo
from lca_lightning.preprocessing.scores import make_score, score_reason

cv2 = pytest.importorskip("cv2")
from lca_lightning.preprocessing.photographic import PhotographicScore, picture_statistics  # noqa: E402


class Redness:
    """A score of the user's own."""

    name, threshold, reason = "redness", 0.5, "not red enough"

    def score(self, images: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> float:
        pairs = zip(images, masks, strict=True)
        return float(np.mean([image[mask > 127][:, 0].mean() / 255 for image, mask in pairs]))


def drawing(rng: np.random.Generator) -> np.ndarray:
    """A figure of four flat colours with dark outlines."""
    image = np.full((400, 200, 3), 230, np.uint8)
    for top, colour in (
        (20, (240, 200, 170)),
        (110, (60, 90, 200)),
        (220, (200, 60, 60)),
        (320, (40, 40, 50)),
    ):
        cv2.rectangle(image, (30, top), (170, top + 90), colour, -1)
        cv2.rectangle(image, (30, top), (90, top + 90), tuple(int(0.7 * value) for value in colour), -1)
        cv2.rectangle(image, (30, top), (170, top + 90), (10, 10, 10), 3)
    noise = rng.normal(0, 1.0, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def photograph(rng: np.random.Generator) -> np.ndarray:
    """Shading that changes everywhere, texture and sensor noise."""
    rows, columns = np.mgrid[:400, :200] / 200.0
    texture = cv2.GaussianBlur(rng.normal(0, 1, (400, 200, 3)), (0, 0), 2.0) * 40
    shade = (90 + 60 * np.sin(3 * columns) + 30 * np.cos(2 * rows))[..., None] * np.array([1.0, 0.8, 0.7])
    return np.clip(shade + texture + rng.normal(0, 2, (400, 200, 3)), 0, 255).astype(np.uint8)


def person_mask() -> np.ndarray:
    mask = np.zeros((400, 200), np.uint8)
    mask[20:398, 30:170] = 255
    return mask


def compressed(image: np.ndarray, quality: int) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1)


@pytest.mark.parametrize("quality", [None, 60])
def test_drawings_score_low_and_photographs_high(quality: int | None) -> None:
    rng, score, mask = np.random.default_rng(0), PhotographicScore(), person_mask()
    pictures = [drawing(rng), photograph(rng)]
    if quality is not None:
        pictures = [compressed(picture, quality) for picture in pictures]
    drawn, photographed = (score.score([picture], [mask]) for picture in pictures)
    assert drawn < score.threshold - 0.1 and photographed > score.threshold + 0.2


def test_far_away_backgrounds_do_not_count() -> None:
    rng, mask = np.random.default_rng(0), person_mask()
    picture, far = photograph(rng), cv2.dilate(person_mask(), np.ones((31, 31), np.uint8)) == 0
    other = np.where(far[..., None], drawing(rng), picture)
    first, second = picture_statistics(picture, mask), picture_statistics(other, mask)
    assert first is not None and first == second
    assert picture_statistics(picture, np.zeros_like(mask)) is None
    assert PhotographicScore().score([picture], [np.zeros_like(mask)]) == 1.0


def test_statistics_of_known_pictures() -> None:
    flat = np.full((100, 100, 3), 128, np.uint8)
    mask = np.zeros((100, 100), np.uint8)
    mask[20:80, 20:80] = 255
    assert picture_statistics(flat, mask) == {"soft": 0.0, "outline": 0.0, "palette": 0.0}
    ramp = flat.copy()
    ramp[:] = (2 * np.arange(100))[None, :, None]
    found = picture_statistics(ramp, mask)
    assert found is not None and found["soft"] == 1.0 and found["outline"] == 0.0 and found["palette"] > 2
    lined = flat.copy()
    lined[18:82, 18:82][cv2.rectangle(np.zeros((64, 64), np.uint8), (0, 0), (63, 63), 1, 2) > 0] = 0
    found = picture_statistics(lined, mask)
    assert found is not None and found["outline"] == 1.0 and found["soft"] == 0.0
    lined[:, :50] = 128  # half of the line is gone
    found = picture_statistics(lined, mask)
    assert found is not None and found["outline"] == pytest.approx(0.5, abs=0.1)


def test_a_clip_below_the_threshold_is_dropped_with_a_reason(tmp_path: Path) -> None:
    from lca_lightning.datasets.video import VideoWriter

    rng, mask = np.random.default_rng(0), person_mask()
    with VideoWriter(tmp_path / "toon.mp4", 10.0, 200, 400) as video:
        for _ in range(4):
            video.add(drawing(rng))
    clip = Clip("toon", (tmp_path / "toon.mp4",), "toon", None)
    detection = SimpleNamespace(found_T=np.ones(4, bool), frames_T=np.arange(4), mask=lambda index: mask)
    prepared = SimpleNamespace(detections=[detection])
    reason, noted = score_reason(clip, prepared, PreprocessOptions(tmp_path))
    assert reason is not None and reason.startswith("looks drawn or rendered: ")
    assert noted["score_photographic"] < 0.55  # type: ignore[operator]
    for changed in ({"clip_score": "none"}, {"score_threshold": 0.0}):
        assert score_reason(clip, prepared, PreprocessOptions(tmp_path, **changed))[0] is None  # type: ignore[arg-type]
    own = PreprocessOptions(tmp_path, clip_score=f"{__name__}:Redness", score_threshold=0.9)
    reason, noted = score_reason(clip, prepared, own)
    assert reason is not None and "not red enough" in reason and "score_redness" in noted


def test_unknown_scores_are_refused() -> None:
    with pytest.raises(ConfigError, match="choose one of photographic"):
        make_score("prettiness")
    with pytest.raises(ConfigError, match="lacks threshold"):
        make_score("pathlib:Path")


def test_real_people_are_kept(samples: Path) -> None:
    """With the middle of the picture for a mask, which holds flat walls too."""
    score = PhotographicScore()
    for name in ("pose2sim_multiview/cam03.mp4", "sports2d_video/demo.mp4"):
        video = SourceVideo(samples / name)
        frame = next(image for index, image in enumerate(video) if index == 5)
        mask = np.zeros(frame.shape[:2], np.uint8)
        height, width = mask.shape
        mask[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = 255
        assert score.score([frame], [mask]) > score.threshold, name


@pytest.mark.slow
def test_drawn_figures_of_the_benchmark_are_told_from_its_people(tmp_path: Path) -> None:
    pytest.importorskip("mitsuba")
    from lca_lightning.cli import main
    from lca_lightning.datasets.format import Dataset

    score, values = PhotographicScore(), {}
    for kind in ("stylised", "wild"):
        out = tmp_path / kind
        words = ["--kind", kind, "--subjects", "4", "--frames", "2", "--samples", "12", "--size", "384x288"]
        main(["synthesize", "--out", str(out), *words])
        values[kind] = []
        for sequence in Dataset(out).sequences():
            images, masks = sequence.read_frames(next(iter(sequence.cameras)), [0, 1])
            values[kind].append(score.score(list(images), list(masks)))
    print(values)
    assert max(values["stylised"]) < score.threshold < min(values["wild"])
