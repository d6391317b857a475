"""A small data set to pack: counted frames, so that every frame of every copy can be told."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lca_lightning.datasets.format import CameraRecord, Dataset, SequenceWriter, Signals
from tests.unit.datasets.conftest import counter_frame

FRAMES, HEIGHT, WIDTH = 10, 64, 96
SPLITS = {"ann": "train", "bob": "train", "eve": "val", "dan": "train", "zoe": "test"}


def record(name: str) -> CameraRecord:
    return CameraRecord(name, WIDTH, HEIGHT, np.array([[90.0, 0, 48], [0, 90, 32], [0, 0, 1]]), np.eye(4))


def signals(frames: int) -> Signals:
    counted = np.arange(frames, dtype=np.float32)
    return Signals(
        identity_I=np.arange(4, dtype=np.float32),
        rotations_TJ3=np.tile(counted[:, None, None], (1, 5, 3)) / 100,
        translation_T3=np.tile(counted[:, None], (1, 3)),
        expression_TE=np.zeros((frames, 2), np.float32),
        gaze_T8=np.zeros((frames, 8), np.float32),
        frame_valid_T=np.ones(frames, bool),
    )


def write_sequence(
    root: Path, name: str, split: str = "train", frames: int = FRAMES, cameras: int = 1, first: int = 0
) -> None:
    """Frames ``first``, ``first + 1``, ... of the counted pattern, with a mask that moves."""
    records = [record(f"cam{number}") for number in range(cameras)]
    options = dict(subject=name, split=split, fps=25, rig="anny", licence="CC0", provenance="a test")
    with SequenceWriter(root, f"{name}_take", cameras=records, kind="wild", **options) as writer:
        for camera in records:
            for frame in range(frames):
                mask = np.zeros((HEIGHT, WIDTH), np.uint8)
                mask[10:60, 5 + frame : 50 + frame] = 255
                writer.add_frame(camera.name, counter_frame(first + frame), mask)
        writer.finish(signals(frames))


def write_people(root: Path) -> Path:
    """Five people; the first is seen by two cameras."""
    for number, (name, split) in enumerate(SPLITS.items()):
        write_sequence(root, name, split, cameras=2 if number == 0 else 1, first=16 * number)
    return root


def equal_sequences(ours: object, theirs: object) -> bool:
    """Whether two sequences show the same pictures and have the same signals."""
    same = np.array_equal(ours.signals.translation_T3, theirs.signals.translation_T3)
    for camera in theirs.cameras:
        for mine, other in zip(
            ours.read_frames(camera, range(ours.frame_count)),
            theirs.read_frames(camera, range(theirs.frame_count)),
            strict=True,
        ):
            same = same and np.array_equal(mine, other)
    return same


def resident_bytes() -> int:
    """Memory of this process."""
    text = Path("/proc/self/statm").read_text().split()[1]
    return int(text) * 4096


__all__ = ["Dataset", "equal_sequences", "resident_bytes", "write_people", "write_sequence"]
