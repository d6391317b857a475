"""Tiny data sets of a moving square person; the square's colour tells the sequence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lca_lightning.datasets.format import CameraRecord, SequenceWriter, Signals

FRAMES, HEIGHT, WIDTH, JOINTS, EXPRESSIONS = 20, 120, 160, 6, 3
INVALID = 5
MakeDataset = Callable[..., Path]


def write_sequence(
    root: Path, name: str, *, subject: str, split: str = "train", cameras: int = 1, color: int = 200
) -> None:
    """A bright square that moves to the right in front of a dark wall; frame 5 is marked as unusable."""
    kind = "studio" if cameras > 1 else "wild"
    K_33 = np.array([[150.0, 0, WIDTH / 2], [0, 150, HEIGHT / 2], [0, 0, 1]])
    records = []
    for index in range(cameras):
        w2c_44 = np.eye(4)
        w2c_44[0, 3], w2c_44[2, 3] = index, 3
        records.append(CameraRecord(f"cam{index}", WIDTH, HEIGHT, K_33, w2c_44))
    arguments = dict(subject=subject, split=split, fps=25, rig="anny", licence="CC0", provenance="test")
    with SequenceWriter(root, name, cameras=records, kind=kind, **arguments) as writer:
        for index, record in enumerate(records):
            for frame in range(FRAMES):
                image = np.full((HEIGHT, WIDTH, 3), 20, np.uint8)
                mask = np.zeros((HEIGHT, WIDTH), np.uint8)
                place = (slice(30, 90), slice(20 + 2 * frame + 5 * index, 50 + 2 * frame + 5 * index))
                image[place], mask[place] = color, 255
                writer.add_frame(record.name, image, mask)
        writer.finish(make_signals(len(name), records))


def make_signals(identity: int, records: list[CameraRecord]) -> Signals:
    frame_T = np.arange(FRAMES, dtype=np.float32)
    faces = np.stack([30 + 2 * frame_T, np.full(FRAMES, 32), 40 + 2 * frame_T, np.full(FRAMES, 44)], 1)
    faces[::2] = np.nan
    valid = np.ones(FRAMES, bool)
    valid[INVALID] = False
    return Signals(
        identity_I=np.full(4, identity, np.float32),
        rotations_TJ3=np.broadcast_to(frame_T[:, None, None], (FRAMES, JOINTS, 3)).copy(),
        translation_T3=np.stack([frame_T] * 3, 1),
        expression_TE=np.zeros((FRAMES, EXPRESSIONS), np.float32),
        gaze_T8=np.zeros((FRAMES, 8), np.float32),
        frame_valid_T=valid,
        face_boxes={records[0].name: faces},
    )


@pytest.fixture(scope="session")
def wild_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three training sequences of two subjects, two test subjects."""
    root = tmp_path_factory.mktemp("wild")
    for name, subject, split in (
        ("a1", "ann", "train"),
        ("a2", "ann", "train"),
        ("b1", "bob", "train"),
        ("x1", "xia", "test"),
        ("y1", "yan", "test"),
    ):
        write_sequence(root, name, subject=subject, split=split, color=250 if subject == "yan" else 120)
    return root


@pytest.fixture(scope="session")
def studio_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One subject, four cameras, no test sequence: a real capture in small."""
    root = tmp_path_factory.mktemp("studio")
    write_sequence(root, "take", subject="ann", cameras=4)
    return root
