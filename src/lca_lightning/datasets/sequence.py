"""Reading one sequence of layout version 1, from a folder or from a pack."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from safetensors import SafetensorError
from safetensors.numpy import load

from lca_lightning.datasets.cut_pixels import merge_mask
from lca_lightning.datasets.files import FolderFiles, SequenceFiles
from lca_lightning.datasets.linear_light import DEEPEST, deep_to_linear, linear_to_srgb8
from lca_lightning.datasets.open_readers import read_cached, read_pictures
from lca_lightning.datasets.records import COLORS, LAYERS, SPLITS, CameraRecord
from lca_lightning.datasets.signals import Signals
from lca_lightning.datasets.video_reader import Pixels, VideoReader
from lca_lightning.errors import DataError


class Sequence:
    """One take of one subject: videos and masks per camera, rig values per frame.

    Args:
        files: The sequence's folder, whose name is the id, or its files in a pack.

    Raises:
        DataError: ``sequence.json`` is missing, truncated or incomplete, or a video is missing.
    """

    def __init__(self, files: Path | SequenceFiles) -> None:
        self.files: SequenceFiles = FolderFiles(files) if isinstance(files, Path) else files
        self.id = self.files.name
        self.description: dict[str, Any] = read_description(self.files)
        try:
            self.subject = str(self.description["subject"])
            self.split = str(self.description["split"])
            self.fps = float(self.description["fps"])
            self.frame_count = int(self.description["frames"])
            self.color = str(self.description.get("color", "srgb"))
            self.layers = tuple(str(layer) for layer in self.description.get("layers") or ())
            self.linear_white = float(self.description.get("linear_white", 1.0))
            cameras = dict(self.description["cameras"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{self.files.label('sequence.json')} lacks a valid {error}; make the sequence again."
            ) from error
        self.cameras = {name: CameraRecord.from_json(name, values) for name, values in cameras.items()}
        self._check()

    def _check(self) -> None:
        if self.split not in SPLITS:
            raise DataError(f"Sequence {self.id} has split {self.split!r}; it must be {', '.join(SPLITS)}.")
        if self.color not in COLORS or not set(self.layers) <= set(LAYERS):
            raise DataError(
                f"Sequence {self.id} has color {self.color!r} and layers {list(self.layers)}; this program "
                f"knows {', '.join(COLORS)} and {', '.join(LAYERS)}."
            )
        if not self.cameras or self.frame_count < 1 or self.fps <= 0:
            raise DataError(f"Sequence {self.id} needs at least one camera and one frame; make it again.")
        for path in self.video_files():
            if not self.files.size(path):
                raise DataError(
                    f"The file {self.files.label(path)} is missing or empty; make sequence {self.id} again."
                )

    def video_files(self) -> list[str]:
        """Relative paths of all videos: colour, masks and layers of every camera."""
        folders = {"videos": "mkv" if self.color == "linear" else "mp4", "masks": "mkv"}
        folders.update({f"layers/{layer}": "mkv" for layer in self.layers})
        return [f"{folder}/{name}.{suffix}" for name in self.cameras for folder, suffix in folders.items()]

    @property
    def folder(self) -> Path:
        """The sequence's folder; only sequences of a plain data set have one."""
        if not isinstance(self.files, FolderFiles):
            raise DataError(f"Sequence {self.id} lies in a pack; open the folder it was packed from.")
        return self.files.folder

    @property
    def quality(self) -> dict[str, Any]:
        """Quality measures that the producer stored; may be empty."""
        return dict(self.description.get("quality") or {})

    @property
    def consent(self) -> str:
        """On what it rests that this person may be shown."""
        return str(self.description.get("consent", "unknown"))

    @property
    def licence(self) -> str:
        """Licence of the footage."""
        return str(self.description.get("licence", "unknown"))

    def video_path(self, camera: str) -> Path:
        """The colour video of a camera, in a plain data set."""
        return self.folder / self._colour_file(camera)

    def mask_path(self, camera: str) -> Path:
        """The mask video of a camera, in a plain data set."""
        return self.folder / "masks" / f"{camera}.mkv"

    def _colour_file(self, camera: str) -> str:
        return f"videos/{camera}.{'mkv' if self.color == 'linear' else 'mp4'}"

    @cached_property
    def signals(self) -> Signals:
        """Rig values per frame, read at first use.

        Raises:
            DataError: The file is missing, truncated, or disagrees with ``sequence.json``.
        """
        label = self.files.label("signals.safetensors")
        try:
            signals = Signals.from_arrays(load(self.files.read("signals.safetensors")))
        except KeyError as error:
            raise DataError(f"{label} lacks the array {error}; make sequence {self.id} again.") from error
        except (OSError, SafetensorError) as error:
            raise DataError(f"{label} is missing or truncated; make sequence {self.id} again.") from error
        signals.check(self.id, self.frame_count, list(self.cameras))
        return signals

    def read_frames(self, camera: str, indices: Iterable[int]) -> tuple[np.ndarray, np.ndarray]:
        """Decode frames of one camera with their masks.

        Args:
            camera: Camera name.
            indices: Frame indices, in any order, repetitions allowed.

        Returns:
            Images ``(n, H, W, 3)`` uint8 sRGB (linear light is converted, radiance 1 is white) and masks
            ``(n, H, W)`` uint8, in the order asked for.

        Raises:
            DataError: Unknown camera, index outside the sequence, unreadable or wrongly sized video.
        """
        order = self._checked(camera, indices)
        if self.color == "linear":
            images = linear_to_srgb8(
                self._read_deep(camera, self._colour_file(camera), order), self.linear_white
            )
        else:
            images = self._read(camera, self._colour_file(camera), order, "rgb24")
        return images, self._read(camera, f"masks/{camera}.mkv", order, "gray")

    def read_linear(self, camera: str, indices: Iterable[int]) -> np.ndarray:
        """Linear radiance of frames of a sequence whose ``color`` is ``"linear"``.

        Args:
            camera: Camera name.
            indices: Frame indices, in any order, repetitions allowed.

        Returns:
            ``(n, H, W, 3)`` float32; what was brighter than ``linear_white`` is clipped to it.

        Raises:
            DataError: The sequence holds sRGB, or as :meth:`read_frames`.
        """
        order = self._checked(camera, indices)
        if self.color != "linear":
            raise DataError(f"Sequence {self.id} holds sRGB pictures; linear light cannot be read from it.")
        return deep_to_linear(self._read_deep(camera, self._colour_file(camera), order), self.linear_white)

    def read_layer(self, camera: str, layer: str, indices: Iterable[int]) -> np.ndarray:
        """True values beside the pictures.

        Args:
            camera: Camera name.
            layer: ``"albedo"`` or ``"normal"``, one of ``layers``.
            indices: Frame indices, in any order, repetitions allowed.

        Returns:
            ``(n, H, W, 3)`` float32: linear albedo in [0, 1], or unit normals in world axes that are zero
            where there is no surface.

        Raises:
            DataError: The sequence lacks the layer, or as :meth:`read_frames`.
        """
        order = self._checked(camera, indices)
        if layer not in self.layers:
            raise DataError(f"Sequence {self.id} has no layer {layer!r}; it has {list(self.layers)}.")
        values = deep_to_linear(self._read_deep(camera, f"layers/{layer}/{camera}.mkv", order), 1.0)
        if layer != "normal":
            return values
        normals = 2 * values - 1
        lengths = np.linalg.norm(normals, axis=-1, keepdims=True)
        # quantised normals are of length 1 but for 1e-4; zero and the middle of the range stand for none
        return np.where(np.abs(lengths - 1) < 0.1, normals / np.maximum(lengths, 0.5), np.float32(0))

    def iterate_rgba(self, camera: str, indices: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Frames with their masks one after another: the fast way for cuts.

        Args:
            camera: Camera name.
            indices: Frame indices.

        Yields:
            Each index once, ascending, with its picture ``(H, W, 4)``: uint8 sRGB and the mask. The array is
            valid as long as it is referred to.

        Raises:
            DataError: As :meth:`read_frames`.
        """
        order = sorted(set(self._checked(camera, indices)))
        if self.color == "linear":
            for frame in order:
                images, masks = self.read_frames(camera, [frame])
                yield frame, np.concatenate([images[0], masks[0][..., None]], -1)
            return
        record = self.cameras[camera]
        reader, pictures = read_pictures(self.files.video(self._colour_file(camera)), order, self.fps)
        masker, masks_of = read_pictures(self.files.video(f"masks/{camera}.mkv"), order, self.fps)
        for frame in order:
            rgba = _to_rgba(reader, pictures.pop(frame))
            mask = masker.to_gray(masks_of.pop(frame))
            self._check_size(camera, rgba.shape)
            self._check_size(camera, mask.shape)
            rgba = rgba[: record.height, : record.width]
            merge_mask(rgba, mask[: record.height, : record.width])
            yield frame, rgba

    def _checked(self, camera: str, indices: Iterable[int]) -> list[int]:
        order = [int(index) for index in indices]
        if camera not in self.cameras:
            raise DataError(f"Sequence {self.id} has no camera {camera!r}; it has {', '.join(self.cameras)}.")
        if not order or min(order) < 0 or max(order) >= self.frame_count:
            raise DataError(f"Sequence {self.id} has frames 0 to {self.frame_count - 1}; asked for {order}.")
        return order

    def _read_deep(self, camera: str, path: str, order: list[int]) -> np.ndarray:
        deep = self._read(camera, path, order, "gbrp16le")
        if deep.dtype != np.uint16 or deep.max(initial=0) > DEEPEST:
            raise DataError(f"{self.files.label(path)} must hold 16 bits per channel; make it again.")
        return deep

    def _read(self, camera: str, path: str, order: list[int], pixels: Pixels) -> np.ndarray:
        """Frames in order, without the padding of odd sizes."""
        frames = read_cached(self.files.video(path), order, self.fps, pixels)
        record = self.cameras[camera]
        self._check_size(camera, frames[order[0]].shape)
        return np.stack([frames[index][: record.height, : record.width] for index in order])

    def _check_size(self, camera: str, shape: tuple[int, ...]) -> None:
        record, (height, width) = self.cameras[camera], shape[:2]
        extra = (height - record.height, width - record.width)
        if extra[0] not in (0, record.height % 2) or extra[1] not in (0, record.width % 2):
            raise DataError(
                f"A video of camera {camera} of sequence {self.id} is {width}x{height} but sequence.json "
                f"says {record.width}x{record.height}; make the sequence again."
            )


def _to_rgba(reader: VideoReader, picture: VideoFrame) -> np.ndarray:
    """A decoded picture as ``(H, W, 4)``, its fourth channel free for the mask."""
    if picture.width % 8 == 0:
        return reader.to_rgba(picture)
    # FFmpeg's RGBA conversion works in blocks and leaves the last columns of some other widths unwritten
    image_HW3 = reader.to_array(picture, "rgb24")
    return np.concatenate([image_HW3, image_HW3[..., :1]], -1)


def read_description(files: SequenceFiles) -> dict[str, Any]:
    """Content of ``sequence.json``.

    Raises:
        DataError: It is missing, truncated or not an object.
    """
    label = files.label("sequence.json")
    try:
        values = json.loads(files.read("sequence.json"))
    except FileNotFoundError as error:
        raise DataError(f"The file {label} is missing; make the data again.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{label} is not valid JSON, it may be truncated; make the data again.") from error
    if not isinstance(values, dict):
        raise DataError(f"{label} must hold a JSON object.")
    return values
