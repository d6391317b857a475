"""Writing sequences of layout version 1: a temporary folder, renamed when everything is in it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from safetensors.numpy import save

from lca_lightning.datasets.records import (
    SPLITS,
    CameraRecord,
    Signals,
    cannot_write,
    check_name,
    write_dataset_header,
)
from lca_lightning.datasets.video import VideoWriter
from lca_lightning.errors import DataError


def sequence_exists(root: Path | str, sequence_id: str) -> bool:
    """Whether a finished sequence of that id is in the data set (unfinished ones have another name)."""
    return (Path(root) / "sequences" / sequence_id / "sequence.json").is_file()


def mask_box(mask_HW: np.ndarray) -> np.ndarray:
    """Bounding box of the mask where it is at least half.

    Args:
        mask_HW: uint8, 255 on the person.

    Returns:
        ``(4,)`` float32 left, top, right, bottom in pixels (right and bottom are outer edges); NaN when
        the mask is empty.
    """
    person = mask_HW >= 128
    rows, columns = np.flatnonzero(person.any(1)), np.flatnonzero(person.any(0))
    if not len(rows):
        return np.full(4, np.nan, np.float32)
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)


class SequenceWriter:
    """Writes one sequence; nothing appears under its name before :meth:`finish` has succeeded.

    A context manager: an exception inside removes everything written so far.

    Args:
        root: The data set's folder; its ``dataset.json`` is written when missing.
        sequence_id: Folder name of the sequence.
        subject: Name of the person; sequences of the same person share it.
        split: ``"train"``, ``"val"`` or ``"test"``.
        fps: Frames per second.
        cameras: Calibrated cameras, free of distortion.
        rig: Name of the rig.
        licence: Licence of the footage.
        provenance: Where the footage comes from.
        kind: ``"wild"`` or ``"studio"``.
        quality: x264's rate factor of the colour videos; lower is better and larger.
        overwrite: Replace a finished sequence of the same id.

    Raises:
        DataError: The sequence exists already, a name or value is not allowed, or the folder is not writable.
    """

    def __init__(
        self,
        root: Path | str,
        sequence_id: str,
        *,
        subject: str,
        split: str,
        fps: float,
        cameras: list[CameraRecord] | tuple[CameraRecord, ...],
        rig: str,
        licence: str,
        provenance: str,
        kind: str,
        quality: int = 18,
        overwrite: bool = False,
    ) -> None:
        check_name("sequence", sequence_id)
        names = [camera.name for camera in cameras]
        if split not in SPLITS:
            raise DataError(f"Sequence {sequence_id} has split {split!r}; it must be {', '.join(SPLITS)}.")
        if not names or len(set(names)) != len(names):
            raise DataError(f"Sequence {sequence_id} needs cameras with distinct names, got {names}.")
        self.root, self.id, self.fps = Path(root), sequence_id, float(fps)
        self.cameras = {camera.name: camera for camera in cameras}
        self._folder = self.root / "sequences" / sequence_id
        if self._folder.exists() and not overwrite:
            raise DataError(f"{self._folder} exists already; remove it or choose another output folder.")
        write_dataset_header(self.root, kind=kind, rig=rig, licence=licence, provenance=provenance)
        self._description: dict[str, Any] = {"subject": subject, "split": split, "fps": self.fps}
        self._description.update(licence=licence, provenance=provenance)
        self._person_boxes: dict[str, list[np.ndarray]] = {name: [] for name in names}
        self._partial = self._folder.with_name(f".{sequence_id}.partial-{os.getpid()}")
        self._remove_leftovers()
        self._videos, self._masks = {}, {}
        try:
            for camera in cameras:
                size = (self.fps, camera.width, camera.height)
                self._videos[camera.name] = VideoWriter(
                    self._path("videos", camera.name), *size, quality=quality
                )
                self._masks[camera.name] = VideoWriter(self._path("masks", camera.name), *size, gray=True)
        except DataError:
            self.abort()
            raise
        self._finished = False

    def _path(self, folder: str, camera: str) -> Path:
        return self._partial / folder / f"{camera}.{'mp4' if folder == 'videos' else 'mkv'}"

    def _remove_leftovers(self) -> None:
        """Remove what a killed process left of this sequence."""
        for leftover in self._folder.parent.glob(f".{self.id}.partial-*"):
            process = leftover.name.rsplit("-", 1)[1]
            if not (process.isdigit() and process != str(os.getpid()) and _is_running(int(process))):
                shutil.rmtree(leftover, ignore_errors=True)

    def add_frame(self, camera: str, image_HW3: np.ndarray, mask_HW: np.ndarray) -> None:
        """Append the next frame of one camera.

        Args:
            camera: Camera name.
            image_HW3: uint8 sRGB.
            mask_HW: uint8, 255 on the person, soft edges allowed.

        Raises:
            DataError: Unknown camera, wrong size or type, or a full disk.
        """
        if camera not in self.cameras:
            raise DataError(f"Sequence {self.id} has no camera {camera!r}; it has {', '.join(self.cameras)}.")
        self._videos[camera].add(image_HW3)
        self._masks[camera].add(mask_HW)
        self._person_boxes[camera].append(mask_box(mask_HW))

    def finish(self, signals: Signals, quality: dict[str, Any] | None = None) -> Path:
        """Write the rig values, close the videos and give the sequence its name.

        Args:
            signals: Rig values of every frame; person boxes are filled in from the masks.
            quality: Plain values that describe how good the data is.

        Returns:
            The sequence's folder.

        Raises:
            DataError: Frame counts disagree, valid frames hold NaN, or the disk is full.
        """
        frames = len(signals.frame_valid_T)
        for name, added in self._person_boxes.items():
            if len(added) != frames:
                raise DataError(f"Camera {name} of sequence {self.id} got {len(added)} of {frames} frames.")
        boxes = {name: np.stack(values) for name, values in self._person_boxes.items()}
        complete = Signals(**{**signals.__dict__, "person_boxes": boxes})
        complete.check(self.id, frames, list(self.cameras))
        description = {**self._description, "frames": frames, "undistorted": True}
        description["cameras"] = {name: camera.to_json() for name, camera in self.cameras.items()}
        description["quality"] = quality or {}
        for writer in (*self._videos.values(), *self._masks.values()):
            writer.close()
        try:
            (self._partial / "signals.safetensors").write_bytes(save(complete.to_arrays()))
            text = json.dumps(description, indent=2, allow_nan=False) + "\n"
            (self._partial / "sequence.json").write_text(text, encoding="utf-8")
            shutil.rmtree(self._folder, ignore_errors=True)
            self._partial.rename(self._folder)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"The quality values of sequence {self.id} must be finite plain values."
            ) from error
        except OSError as error:
            raise cannot_write(self._folder, error) from error
        self._finished = True
        return self._folder

    def abort(self) -> None:
        """Stop and remove everything written so far."""
        for writer in (*self._videos.values(), *self._masks.values()):
            writer.abort()
        shutil.rmtree(self._partial, ignore_errors=True)

    def __enter__(self) -> SequenceWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._finished:
            return
        self.abort()
        if kind is None:
            raise DataError(f"Sequence {self.id} was not written because finish() was never called.")


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
