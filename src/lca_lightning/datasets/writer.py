"""Writing sequences of layout version 1: a temporary folder, renamed when everything is in it."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from safetensors.numpy import save

from lca_lightning.datasets.linear_light import linear_to_srgb8
from lca_lightning.datasets.records import (
    COLORS,
    CONSENTS,
    LAYERS,
    SPLITS,
    CameraRecord,
    cannot_write,
    check_choice,
    check_name,
    write_dataset_header,
)
from lca_lightning.datasets.sharpness import mask_box, person_sharpness
from lca_lightning.datasets.signals import Signals
from lca_lightning.datasets.video import VideoWriter
from lca_lightning.errors import DataError


def sequence_exists(root: Path | str, sequence_id: str) -> bool:
    """Whether a finished sequence of that id is in the data set (unfinished ones have another name)."""
    return (Path(root) / "sequences" / sequence_id / "sequence.json").is_file()


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
        kind: Of the data set, see :func:`.write_dataset_header`.
        consent: Of the data set and of this footage, see :func:`.write_dataset_header`.
        color: ``"srgb"`` takes uint8 pictures for H.264; ``"linear"`` takes uint16 pictures of linear light
            and keeps every bit.
        linear_white: Radiance of the value 65535 in linear pictures.
        layers: Names of true values beside each picture: ``"albedo"``, ``"normal"``.
        quality: x264's rate factor of the colour videos; lower is better and larger.
        keyframe_interval: Pictures per group of the colour videos; 1 reads any frame at the cost of one.
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
        consent: str = "unknown",
        color: str = "srgb",
        linear_white: float = 1.0,
        layers: tuple[str, ...] = (),
        quality: int = 18,
        keyframe_interval: int = 1,
        overwrite: bool = False,
    ) -> None:
        check_name("sequence", sequence_id)
        names = [camera.name for camera in cameras]
        check_choice(f"split of sequence {sequence_id}", split, SPLITS)
        check_choice(f"color of sequence {sequence_id}", color, COLORS)
        check_choice(f"consent of sequence {sequence_id}", consent, CONSENTS)
        for layer in layers:
            check_choice(f"layers of sequence {sequence_id}", layer, LAYERS)
        if not names or len(set(names)) != len(names):
            raise DataError(f"Sequence {sequence_id} needs cameras with distinct names, got {names}.")
        if not linear_white > 0:
            raise DataError(
                f"The linear_white of sequence {sequence_id} must be positive, got {linear_white}."
            )
        self.root, self.id, self.fps = Path(root), sequence_id, float(fps)
        self.cameras = {camera.name: camera for camera in cameras}
        self._folder = self.root / "sequences" / sequence_id
        if self._folder.exists() and not overwrite:
            raise DataError(f"{self._folder} exists already; remove it or choose another output folder.")
        write_dataset_header(
            self.root, kind=kind, rig=rig, licence=licence, provenance=provenance, consent=consent
        )
        self._description: dict[str, Any] = {"subject": subject, "split": split, "fps": self.fps}
        self._description.update(licence=licence, provenance=provenance, consent=consent, color=color)
        if color == "linear":
            self._description["linear_white"] = float(linear_white)
        if layers:
            self._description["layers"] = list(layers)
        self._person_boxes: dict[str, list[np.ndarray]] = {name: [] for name in names}
        self._sharpness: dict[str, list[float]] = {name: [] for name in names}
        self._linear_white, self._layers = float(linear_white), tuple(layers)
        self._partial = self._folder.with_name(f".{sequence_id}.partial-{os.getpid()}")
        self._remove_leftovers()
        self._files: dict[str, dict[str, VideoWriter]] = {}
        self._linear, self._quality, self._keyframe_interval = color == "linear", quality, keyframe_interval
        try:
            self._partial.mkdir(parents=True)
        except OSError as error:
            raise cannot_write(self._folder, error) from error
        self._finished = False

    def _open(self, camera: CameraRecord) -> dict[str, VideoWriter]:
        """Files of a camera, opened at its first frame: an encoder takes memory for many pictures."""
        size = (self.fps, camera.width, camera.height)
        files: dict[str, VideoWriter] = {}
        self._files[camera.name] = files
        videos = self._partial / "videos"
        if self._linear:
            files["videos"] = VideoWriter(videos / f"{camera.name}.mkv", *size, deep=True)
        else:
            files["videos"] = VideoWriter(
                videos / f"{camera.name}.mp4",
                *size,
                quality=self._quality,
                keyframe_interval=self._keyframe_interval,
            )
        files["masks"] = VideoWriter(self._partial / "masks" / f"{camera.name}.mkv", *size, gray=True)
        for layer in self._layers:
            path = self._partial / "layers" / layer / f"{camera.name}.mkv"
            files[layer] = VideoWriter(path, *size, deep=True)
        return files

    def _remove_leftovers(self) -> None:
        """Remove what a killed process left of this sequence."""
        for leftover in self._folder.parent.glob(f".{self.id}.partial-*"):
            process = leftover.name.rsplit("-", 1)[1]
            if not (process.isdigit() and process != str(os.getpid()) and _is_running(int(process))):
                shutil.rmtree(leftover, ignore_errors=True)

    def add_frame(
        self,
        camera: str,
        image_HW3: np.ndarray,
        mask_HW: np.ndarray,
        layers: dict[str, np.ndarray] | None = None,
    ) -> None:
        """Append the next frame of one camera.

        Args:
            camera: Camera name.
            image_HW3: uint8 sRGB, or uint16 linear light where 65535 is ``linear_white``.
            mask_HW: uint8, 255 on the person, soft edges allowed.
            layers: A uint16 ``(H, W, 3)`` picture for each of the sequence's layers: linear albedo, 65535 is
                1; world normals as ``(n + 1) / 2 * 65535``.

        Raises:
            DataError: Unknown camera, missing or unknown layer, wrong size or type, or a full disk.
        """
        if camera not in self.cameras:
            raise DataError(f"Sequence {self.id} has no camera {camera!r}; it has {', '.join(self.cameras)}.")
        given = layers or {}
        if set(given) != set(self._layers):
            raise DataError(
                f"Frames of sequence {self.id} need the layers {list(self._layers)}, got {sorted(given)}."
            )
        files = self._files.get(camera) or self._open(self.cameras[camera])
        for name, picture in {"videos": image_HW3, "masks": mask_HW, **given}.items():
            files[name].add(picture)
        box = mask_box(mask_HW)
        shown = linear_to_srgb8(image_HW3, self._linear_white) if self._linear else image_HW3
        self._person_boxes[camera].append(box)
        self._sharpness[camera].append(person_sharpness(shown, mask_HW, box))

    def finish_camera(self, camera: str) -> None:
        """Close the files of a camera that has all its frames, which frees the memory of its encoders.

        Args:
            camera: Camera name.

        Raises:
            DataError: The disk is full.
        """
        for writer in self._files.get(camera, {}).values():
            writer.close()

    def finish(self, signals: Signals, quality: dict[str, Any] | None = None) -> Path:
        """Write the rig values, close the videos and give the sequence its name.

        Args:
            signals: Rig values of every frame; person boxes and sharpness are filled in from the pictures.
            quality: Plain values that describe how good the data is.

        Returns:
            The sequence's folder.

        Raises:
            DataError: Frame counts disagree, valid frames hold NaN, or the disk is full.
        """
        frames = len(signals.frame_valid_T)
        if not frames:
            raise DataError(f"Sequence {self.id} was not written because it got no frames.")
        for name, added in self._person_boxes.items():
            if len(added) != frames:
                raise DataError(f"Camera {name} of sequence {self.id} got {len(added)} of {frames} frames.")
        boxes = {name: np.stack(values) for name, values in self._person_boxes.items()}
        sharpness = {name: np.array(values, np.float32) for name, values in self._sharpness.items()}
        complete = replace(signals, person_boxes=boxes, sharpness=sharpness)
        complete.check(self.id, frames, list(self.cameras))
        description = {**self._description, "frames": frames, "undistorted": True}
        description["cameras"] = {name: camera.to_json() for name, camera in self.cameras.items()}
        description["quality"] = quality or {}
        for camera in self.cameras:
            self.finish_camera(camera)
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
        for writer in (writer for files in self._files.values() for writer in files.values()):
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
