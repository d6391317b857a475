"""A motion of the rig: joint rotations, root translation and optional face signals over time."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from lca_lightning.batch import Driving
from lca_lightning.errors import DataError, UsageError, check_shape
from lca_lightning.motion.bvh import hold_last_good_frame
from lca_lightning.writing import write_atomically

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Motion:
    """What drives an avatar over time.

    Args:
        rotations_TJ3: Rotation vectors of the rig's joints, radians; joint 0 is the root's orientation.
        translation_T3: World position of the root joint, metres.
        fps: Frames per second.
        expression_TE: Expression coefficients of the rig, or None for a neutral face.
        gaze_T8: Left eye's unit vector and validity, then the right eye's, or None for unknown.
        held_frames: Frames that held NaN and repeat the last good frame.
    """

    rotations_TJ3: Floats
    translation_T3: Floats
    fps: float
    expression_TE: Floats | None = None
    gaze_T8: Floats | None = None
    held_frames: int = 0

    def __post_init__(self) -> None:
        check_shape("rotations_TJ3", self.rotations_TJ3, ("T", "J", 3))
        check_shape("translation_T3", self.translation_T3, (len(self), 3))
        if self.expression_TE is not None:
            check_shape("expression_TE", self.expression_TE, (len(self), "E"))
        if self.gaze_T8 is not None:
            check_shape("gaze_T8", self.gaze_T8, (len(self), 8))

    def __len__(self) -> int:
        """Number of frames ``T``."""
        return int(self.rotations_TJ3.shape[0])

    def __getitem__(self, frame: int) -> Motion:
        """One frame as a motion of length 1; negative numbers count from the end."""
        index = range(len(self))[frame]
        return self.slice(index, index + 1)

    def slice(self, start: int, stop: int, step: int = 1) -> Motion:
        """Frames ``start`` to ``stop`` (excluded), counted from 0; raises UsageError when none is left."""
        chosen = range(len(self))[start:stop:step]
        if not chosen:
            raise UsageError(
                f"The motion has frames 0 to {len(self) - 1}; {start}:{stop} selects none of them."
            )
        pick = slice(start, stop, step)
        return replace(
            self,
            rotations_TJ3=self.rotations_TJ3[pick],
            translation_T3=self.translation_T3[pick],
            expression_TE=None if self.expression_TE is None else self.expression_TE[pick],
            gaze_T8=None if self.gaze_T8 is None else self.gaze_T8[pick],
        )

    def resample(self, fps: float) -> Motion:
        """The same motion at another frame rate: rotations by slerp, the rest linearly.

        Args:
            fps: Wanted frames per second, above 0.

        Returns:
            A motion of the same duration.
        """
        if not 0 < fps <= 1000:
            raise UsageError(f"The frame rate must lie between 0 and 1000, got {fps}.")
        if len(self) < 2 or abs(fps - self.fps) < 1e-6:
            return replace(self, fps=fps)
        last = len(self) - 1
        count = int(np.floor(last * fps / self.fps + 1e-6)) + 1
        positions = np.minimum(np.arange(count) * self.fps / fps, last)
        times = np.arange(len(self))
        joints = (Rotation.from_rotvec(vectors) for vectors in np.moveaxis(self.rotations_TJ3, 1, 0))
        turned = [Slerp(times, joint)(positions).as_rotvec() for joint in joints]
        rotations = np.stack(turned, axis=1).astype(np.float32)
        return Motion(
            rotations,
            _interpolate(self.translation_T3, positions),
            fps,
            None if self.expression_TE is None else _interpolate(self.expression_TE, positions),
            None if self.gaze_T8 is None else _resample_gaze(self.gaze_T8, positions),
            self.held_frames,
        )

    def driving(self, expression_size: int) -> Driving:
        """The motion as driving signals of one subject.

        Args:
            expression_size: The rig's expression count ``E``; missing expression and gaze become zeros.

        Returns:
            Driving signals with ``B = 1``.
        """
        frames = len(self)
        expression = (
            self.expression_TE if self.expression_TE is not None else np.zeros((frames, expression_size))
        )
        gaze = self.gaze_T8 if self.gaze_T8 is not None else np.zeros((frames, 8))
        parts = (self.rotations_TJ3, self.translation_T3, expression, gaze)
        rotations, translation, coefficients, eyes = (
            torch.from_numpy(np.ascontiguousarray(part, dtype=np.float32))[None] for part in parts
        )
        return Driving(rotations, translation, coefficients, eyes)

    def save(self, path: str | Path) -> None:
        """Write the motion as a plain .npz that `load_npz_motion` reads, atomically."""
        arrays = {"rotations": self.rotations_TJ3, "translation": self.translation_T3}
        if self.expression_TE is not None:
            arrays["expression"] = self.expression_TE
        if self.gaze_T8 is not None:
            arrays["gaze"] = self.gaze_T8
        content = io.BytesIO()
        np.savez_compressed(content, fps=np.float32(self.fps), **arrays)
        write_atomically(path, lambda temporary: temporary.write_bytes(content.getvalue()))


def load_npz_motion(path: str | Path, joint_count: int, expression_size: int, fps: float = 30.0) -> Motion:
    """Read a motion stored as arrays.

    Args:
        path: An .npz with ``rotations`` (T, J, 3) and ``translation`` (T, 3), optionally
            ``expression`` (T, E), ``gaze`` (T, 8) and ``fps``; pickled objects are refused.
        joint_count: Joints ``J`` of the rig.
        expression_size: Expression coefficients ``E`` of the rig.
        fps: Used where the file does not say.

    Returns:
        The motion; NaN frames hold the last good one and are counted.

    Raises:
        DataError: Missing file, missing array or wrong shape; one sentence.
    """
    path = Path(path)
    arrays = _read_arrays(path)
    frames = len(arrays["rotations"]) if arrays["rotations"].ndim else 0
    expected = {
        "rotations": (frames, joint_count, 3),
        "translation": (frames, 3),
        "expression": (frames, expression_size),
        "gaze": (frames, 8),
    }
    for name, shape in expected.items():
        if name in arrays and arrays[name].shape != shape:
            raise DataError(f"{path.name}: {name} must have shape {shape}, got {arrays[name].shape}.")
    if frames == 0:
        raise DataError(f"{path.name}: the motion has no frames.")
    fps = float(arrays["fps"].reshape(-1)[0]) if "fps" in arrays and arrays["fps"].size else fps
    if not 0 < fps <= 1000:
        raise DataError(f"{path.name}: fps must lie between 0 and 1000, got {fps}.")
    present = [name for name in expected if name in arrays]
    flat = np.concatenate([arrays[name].reshape(frames, -1) for name in present], axis=1)
    flat, held = hold_last_good_frame(flat, path.name)
    ends = np.cumsum([int(np.prod(expected[name][1:])) for name in present])[:-1]
    parts = dict(zip(present, np.split(flat.astype(np.float32), ends, axis=1), strict=True))
    rotations = parts["rotations"].reshape(frames, joint_count, 3)
    return Motion(rotations, parts["translation"], fps, parts.get("expression"), parts.get("gaze"), held)


def _read_arrays(path: Path) -> dict[str, NDArray[np.float64]]:
    if not path.is_file():
        raise DataError(f"There is no motion file {path}; check the path.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = [
                name
                for name in archive.files
                if name in ("rotations", "translation", "expression", "gaze", "fps")
            ]
            arrays = {name: np.asarray(archive[name], dtype=np.float64) for name in names}
    except (OSError, ValueError, zipfile.BadZipFile, AttributeError, TypeError, EOFError) as error:
        raise DataError(
            f"{path.name} is not an .npz of plain number arrays; save it with numpy.savez, without objects."
        ) from error
    for name in ("rotations", "translation"):
        if name not in arrays:
            raise DataError(
                f"{path.name} lacks the array '{name}'; a motion needs rotations and translation."
            )
    return arrays


def _interpolate(values: Floats, positions: NDArray[np.float64]) -> Floats:
    low = np.floor(positions).astype(int)
    high = np.minimum(low + 1, len(values) - 1)
    share = (positions - low)[:, None]
    return ((1 - share) * values[low] + share * values[high]).astype(np.float32)


def _resample_gaze(gaze: Floats, positions: NDArray[np.float64]) -> Floats:
    """Interpolated unit vectors; an eye is valid only between two valid frames."""
    mixed = _interpolate(gaze, positions)
    for start in (0, 4):
        length = np.linalg.norm(mixed[:, start : start + 3], axis=1, keepdims=True)
        mixed[:, start : start + 3] /= np.maximum(length, 1e-6)
        mixed[:, start + 3] = mixed[:, start + 3] > 0.999
    return mixed
