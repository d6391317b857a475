"""Reading data sets of layout version 1."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from lca_lightning.datasets.records import (
    HOW_TO_GET_DATA,
    SPLITS,
    CameraRecord,
    read_dataset_header,
    read_json,
)
from lca_lightning.datasets.signals import Signals
from lca_lightning.datasets.video import read_frames
from lca_lightning.errors import DataError


class Sequence:
    """One take of one subject: videos and masks per camera, rig values per frame.

    Args:
        folder: The sequence's folder; its name is the id.

    Raises:
        DataError: ``sequence.json`` is missing, truncated or incomplete, or a video is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.id = folder.name
        self.description: dict[str, Any] = read_json(folder / "sequence.json")
        try:
            self.subject = str(self.description["subject"])
            self.split = str(self.description["split"])
            self.fps = float(self.description["fps"])
            self.frame_count = int(self.description["frames"])
            cameras = dict(self.description["cameras"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{folder / 'sequence.json'} lacks a valid {error}; make the sequence again."
            ) from error
        self.cameras = {name: CameraRecord.from_json(name, values) for name, values in cameras.items()}
        self._check()

    def _check(self) -> None:
        if self.split not in SPLITS:
            raise DataError(f"Sequence {self.id} has split {self.split!r}; it must be {', '.join(SPLITS)}.")
        if not self.cameras or self.frame_count < 1 or self.fps <= 0:
            raise DataError(f"Sequence {self.id} needs at least one camera and one frame; make it again.")
        for camera in self.cameras:
            for path in (self.video_path(camera), self.mask_path(camera)):
                if not path.is_file() or path.stat().st_size == 0:
                    raise DataError(f"The file {path} is missing or empty; make sequence {self.id} again.")

    @property
    def quality(self) -> dict[str, Any]:
        """Quality measures that the producer stored; may be empty."""
        return dict(self.description.get("quality") or {})

    def video_path(self, camera: str) -> Path:
        """The colour video of a camera."""
        return self.folder / "videos" / f"{camera}.mp4"

    def mask_path(self, camera: str) -> Path:
        """The mask video of a camera."""
        return self.folder / "masks" / f"{camera}.mkv"

    @cached_property
    def signals(self) -> Signals:
        """Rig values per frame, read at first use.

        Raises:
            DataError: The file is missing, truncated, or disagrees with ``sequence.json``.
        """
        path = self.folder / "signals.safetensors"
        try:
            signals = Signals.from_arrays(load_file(path))
        except KeyError as error:
            raise DataError(f"{path} lacks the array {error}; make sequence {self.id} again.") from error
        except (OSError, SafetensorError) as error:
            raise DataError(f"{path} is missing or truncated; make sequence {self.id} again.") from error
        signals.check(self.id, self.frame_count, list(self.cameras))
        return signals

    def read_frames(self, camera: str, indices: Iterable[int]) -> tuple[np.ndarray, np.ndarray]:
        """Decode frames of one camera with their masks.

        Args:
            camera: Camera name.
            indices: Frame indices, in any order, repetitions allowed.

        Returns:
            Images ``(n, H, W, 3)`` uint8 sRGB and masks ``(n, H, W)`` uint8, in the order asked for.

        Raises:
            DataError: Unknown camera, index outside the sequence, unreadable or wrongly sized video.
        """
        order = [int(index) for index in indices]
        if camera not in self.cameras:
            raise DataError(f"Sequence {self.id} has no camera {camera!r}; it has {', '.join(self.cameras)}.")
        if not order or min(order) < 0 or max(order) >= self.frame_count:
            raise DataError(f"Sequence {self.id} has frames 0 to {self.frame_count - 1}; asked for {order}.")
        images = read_frames(self.video_path(camera), order, fps=self.fps)
        masks = read_frames(self.mask_path(camera), order, fps=self.fps, gray=True)
        return self._stack(camera, images, order), self._stack(camera, masks, order)

    def _stack(self, camera: str, frames: dict[int, np.ndarray], order: list[int]) -> np.ndarray:
        """Cut the padding of odd sizes off and stack."""
        record = self.cameras[camera]
        height, width = frames[order[0]].shape[:2]
        if height - record.height not in (0, record.height % 2) or width - record.width not in (
            0,
            record.width % 2,
        ):
            raise DataError(
                f"A video of camera {camera} of sequence {self.id} is {width}x{height} but sequence.json "
                f"says {record.width}x{record.height}; make the sequence again."
            )
        return np.stack([frames[index][: record.height, : record.width] for index in order])


class Dataset:
    """A folder of sequences.

    Args:
        root: The folder that holds ``dataset.json``.

    Raises:
        DataError: The folder is missing (says how to get data), of another format or version, or empty.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self.header = read_dataset_header(self.root)
        self.kind: str = self.header["kind"]
        self.rig: str = self.header["rig"]
        folders = self.root / "sequences"
        found = sorted(folders.iterdir()) if folders.is_dir() else []
        names = [folder for folder in found if folder.is_dir() and not folder.name.startswith(".")]
        if not names:
            raise DataError(f"The data set {self.root} holds no finished sequence; {HOW_TO_GET_DATA}.")
        self._sequences = [Sequence(folder) for folder in names]

    def sequences(self, split: str | None = None) -> list[Sequence]:
        """Sequences in order of their id.

        Args:
            split: ``"train"``, ``"val"``, ``"test"`` or None for all.

        Returns:
            The sequences; empty when the split has none.
        """
        return [sequence for sequence in self._sequences if split in (None, sequence.split)]
