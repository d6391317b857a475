"""Who is in a clip: made-up sightings, a made-up detector, and the choice of the main person."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("cv2")
from lca_lightning.preprocessing.clip_detection import (
    ClipDetections,
    cache_name,
    crowded_frames,
    detect_track,
    sample_people,
)
from lca_lightning.preprocessing.landmarks import FrameDetection, PersonBox, empty_detection
from lca_lightning.preprocessing.people import Sighting, Track, find_people, link_tracks, person_scale
from lca_lightning.preprocessing.pipeline import choose_main
from tests.unit.preprocessing.views import standing_body


class FakeDetector:
    """Sees people painted as grey levels: level 100 + n is person n, as tall as the painted rectangle."""

    def people(self, image: np.ndarray) -> list[PersonBox]:
        boxes = []
        for level in np.unique(image[..., 0]):
            if level < 100:
                continue
            rows, columns = np.nonzero(image[..., 0] == level)
            center = (float(columns.mean()), float(rows.mean()))
            boxes.append(PersonBox(center, 1.25 * float(np.ptp(rows)), 0.0, 0.9))
        return boxes

    def body(self, image: np.ndarray, box: PersonBox) -> tuple[FrameDetection, PersonBox] | None:
        column, row = (int(np.clip(v, 0, n - 1)) for v, n in zip(box.center, image.shape[1::-1], strict=True))
        level = image[row, column, 0]
        if level < 100:
            return None
        mask = np.where(image[..., 0] == level, 255, 0).astype(np.uint8)
        rows, columns = np.nonzero(mask)
        stature = float(np.ptp(rows))
        center = (float(columns.mean()), float(rows.mean()))
        body = standing_body(stature, center)
        empty = empty_detection(1, 1)
        found = FrameDetection(body, np.zeros((33, 3)), empty.hands_2P3, empty.face_P3, mask)
        return found, PersonBox(center, 1.25 * stature, 0.0, 0.9)

    def hands(self, image: np.ndarray, body: np.ndarray) -> np.ndarray:
        return np.full((2, 21, 3), np.nan)

    def face(self, image: np.ndarray, body: np.ndarray) -> np.ndarray:
        return np.full((478, 3), np.nan)


def picture(*people: tuple[int, int, int]) -> np.ndarray:
    """People as (left edge, height, level)."""
    image = np.zeros((300, 400, 3), np.uint8)
    for left, height, level in people:
        image[280 - height : 280, left : left + int(0.4 * height)] = level
    return image


def test_everybody_is_found_once_and_the_largest_first() -> None:
    found = find_people(FakeDetector(), picture((20, 120, 100), (200, 200, 101)))
    assert [round(person.scale / 10) for person in found] == [22, 13]
    assert find_people(FakeDetector(), picture()) == []


def test_people_are_linked_over_time_and_crowds_marked() -> None:
    video = [picture((10 + 3 * t, 200, 100), *([(300, 180, 101)] if 4 <= t < 8 else [])) for t in range(12)]
    tracks = sample_people(FakeDetector(), video, every=2)
    assert [len(track.sightings) for track in tracks] == [6, 2]
    crowded = crowded_frames(tracks[0], tracks, 12, 2)
    assert crowded[4:7].all() and not crowded[:3].any() and not crowded[8:].any()
    bystander = [picture((10, 200, 100), (300, 90, 101)) for _ in range(4)]
    tracks = sample_people(FakeDetector(), bystander, every=2)
    assert len(tracks) == 2 and not crowded_frames(tracks[0], tracks, 4, 2).any()


def track_of(frames: range, left: float, scale: float) -> Track:
    body = standing_body(scale, (left, 150.0))
    box = PersonBox((left, 150.0), scale, 0, 1)
    return Track({frame: Sighting(body, box, scale) for frame in frames})


def test_a_jump_starts_another_track() -> None:
    body, far = standing_body(100, (50, 150)), standing_body(100, (300, 150))
    box = PersonBox((50, 150), 125, 0, 1)
    sampled = {0: [Sighting(body, box, 100)], 5: [Sighting(far, box, 100)]}
    assert len(link_tracks(sampled)) == 2


def test_main_person_is_the_most_present_unless_never_alone() -> None:
    busy, early = track_of(range(4, 20), 50, 100), track_of(range(0, 16), 300, 90)
    assert choose_main([busy, early], 20, 1, "main") is busy
    lonely = choose_main([track_of(range(8, 20), 50, 100), early], 20, 1, "single")
    assert lonely is early
    alone = track_of(range(0, 20), 50, 100)
    assert choose_main([alone], 20, 1, "single") is alone


def test_detections_follow_the_person_skip_gaps_and_survive_the_disk(tmp_path) -> None:
    frames = [picture((10 + 4 * t, 200, 100)) if t != 5 else picture() for t in range(10)]

    class Video(list):
        width, height, fps = 400, 300, 30.0

    tracks = sample_people(FakeDetector(), frames, every=3)
    found = detect_track(FakeDetector(), Video(frames), tracks[0], np.zeros(10, bool), 1, 3)
    assert found.found_T.sum() == 9 and not found.found_T[5]
    assert found.mask(2).max() == 255 and found.mask(5).max() == 0
    found.save(tmp_path / "cache" / "a.npz")
    again = ClipDetections.load(tmp_path / "cache" / "a.npz")
    assert np.array_equal(again.body_TP3, found.body_TP3, equal_nan=True)
    assert (again.mask(9) == found.mask(9)).all() and again.fps == 30.0 and again.width == 400
    every_other = detect_track(FakeDetector(), Video(frames), tracks[0], np.zeros(10, bool), 2, 3)
    assert every_other.frames_T.tolist() == [0, 2, 4, 6, 8]


def test_cache_names_change_with_file_and_settings(tmp_path) -> None:
    path = tmp_path / "v.mp4"
    path.write_bytes(b"1")
    first = cache_name(path, 1, "single")
    assert first == cache_name(path, 1, "single") != cache_name(path, 2, "single")
    path.write_bytes(b"12")
    assert cache_name(path, 1, "single") != first


def test_scale_does_not_shrink_when_bent() -> None:
    body = standing_body(200, (0, 0))
    bent = body.copy()
    bent[:, 1] *= 0.5
    bent[:, 0] *= 4
    assert person_scale(bent) > 0.8 * person_scale(body)
