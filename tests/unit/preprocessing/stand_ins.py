"""In the place of the pipeline: writes tiny sequences, and misbehaves when a clip's name says so."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lca_lightning.errors import DataError
from lca_lightning.preprocessing.clips import Clip, ClipResult, PreprocessOptions

FUNCTION = "tests.unit.preprocessing.stand_ins:process"
FRAMES, JOINTS = 2, 3


def process(
    clip: Clip, options: PreprocessOptions, workers: int, progress: Callable[..., Any] | None
) -> ClipResult:
    """Leaves a line in ``tries.txt`` for every try, then does what the clip's name says."""
    options.out.mkdir(exist_ok=True)
    with open(options.out / "tries.txt", "a") as tries:
        tries.write(clip.id + "\n")
    print("noise on standard output must not disturb the answers")
    if progress is not None:
        progress("detect", 1, 2)
    if clip.id.startswith("exit"):
        os._exit(3)
    if clip.id.startswith("once") and tried(options.out).count(clip.id) == 1:
        os._exit(3)
    if clip.id.startswith("bug"):
        raise ZeroDivisionError("a mistake of ours")
    if clip.id.startswith("full"):
        raise DataError("the disk is full")
    if clip.id.startswith("hang"):
        time.sleep(3600)
    if clip.id.startswith("small"):
        return ClipResult(clip.id, "too small: 3 pixels", {})
    if clip.id.startswith("slow"):
        time.sleep(0.3)
    write(clip, options)
    return ClipResult(clip.id, None, {"valid_frames": FRAMES, "frames": FRAMES})


def tried(out: Path) -> list[str]:
    """Clips in the order of their tries."""
    return (out / "tries.txt").read_text().split()


def write(clip: Clip, options: PreprocessOptions) -> None:
    """A sequence whose pictures depend on the clip's name."""
    from lca_lightning.datasets.format import CameraRecord, SequenceWriter, Signals

    seed = int.from_bytes(clip.id.encode(), "little") % 2**32
    random = np.random.default_rng(seed)
    camera = CameraRecord("a", 32, 32, np.diag([30.0, 30.0, 1.0]), np.eye(4))
    zeros = np.zeros((FRAMES, JOINTS, 3), np.float32)
    signals = Signals(
        np.zeros(4, np.float32), zeros, zeros[:, 0], np.zeros((FRAMES, 5), np.float32),
        np.tile(np.array([0, 0, 1, 0, 0, 0, 1, 0], np.float32), (FRAMES, 1)), np.ones(FRAMES, bool),
        face_boxes={"a": np.full((FRAMES, 4), np.nan, np.float32)},
    )  # fmt: skip
    with SequenceWriter(
        options.out, clip.id, subject=clip.subject, split="train", fps=10.0, cameras=[camera], rig="anny",
        licence="unknown", provenance="stand-in", kind="wild",
    ) as writer:  # fmt: skip
        for _ in range(FRAMES):
            writer.add_frame(
                "a", random.integers(0, 255, (32, 32, 3), np.uint8), np.full((32, 32), 255, np.uint8)
            )
        writer.finish(signals)
