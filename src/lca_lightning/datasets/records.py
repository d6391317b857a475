"""What a sequence on disk consists of, and the checks on it; layout version 1, ``docs/data_format.md``."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lca_lightning.errors import DataError
from lca_lightning.writing import write_text

FORMAT_NAME = "lca-dataset"
FORMAT_VERSION = 1
KINDS = ("wild", "studio")
SPLITS = ("train", "val", "test")
HOW_TO_GET_DATA = "make one with `lca synthesize --out DIR` or `lca preprocess VIDEO --out DIR`"
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class CameraRecord:
    """One calibrated camera of a sequence, free of lens distortion.

    Args:
        name: File name without suffix of its video and mask.
        width: Pixels.
        height: Pixels.
        K_33: Intrinsics in pixels, pixel centres at +0.5, float64.
        w2c_44: World to camera in metres, OpenCV axes, float64.
    """

    name: str
    width: int
    height: int
    K_33: np.ndarray
    w2c_44: np.ndarray

    def __post_init__(self) -> None:
        check_name("camera", self.name)
        for label, shape in (("K_33", (3, 3)), ("w2c_44", (4, 4))):
            value = np.asarray(getattr(self, label), dtype=np.float64)
            if value.shape != shape or not np.isfinite(value).all():
                raise DataError(
                    f"Camera {self.name} needs finite {label} of shape {shape}, got {value.shape}."
                )
            object.__setattr__(self, label, value)

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``sequence.json``."""
        return {
            "width": self.width,
            "height": self.height,
            "K": self.K_33.tolist(),
            "w2c": self.w2c_44.tolist(),
        }

    @staticmethod
    def from_json(name: str, values: dict[str, Any]) -> CameraRecord:
        """The inverse of :meth:`to_json`."""
        try:
            size = int(values["width"]), int(values["height"])
            return CameraRecord(name, *size, np.array(values["K"], float), np.array(values["w2c"], float))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"Camera {name} lacks a valid width, height, K or w2c ({error}).") from error


@dataclass(frozen=True)
class Signals:
    """Per-frame rig values of a sequence; ``T`` frames, ``J`` joints.

    Args:
        identity_I: The rig's identity values of the subject.
        rotations_TJ3: Rotation vectors of the rig, radians; joint 0 is the root's world orientation.
        translation_T3: World position of the root joint, metres.
        expression_TE: The rig's expression coefficients, zeros where unknown.
        gaze_T8: Left eye's unit vector in the head frame, its validity, then the right eye's.
        frame_valid_T: False for frames that must not be used (badly fitted, no person).
        face_boxes: Per camera ``(T, 4)`` left, top, right, bottom in pixels; NaN where no face is seen.
        person_boxes: The same for the person's mask; :class:`SequenceWriter` fills it in.
    """

    identity_I: np.ndarray
    rotations_TJ3: np.ndarray
    translation_T3: np.ndarray
    expression_TE: np.ndarray
    gaze_T8: np.ndarray
    frame_valid_T: np.ndarray
    face_boxes: dict[str, np.ndarray] = field(default_factory=dict)
    person_boxes: dict[str, np.ndarray] = field(default_factory=dict)

    def check(self, sequence: str, frames: int, cameras: list[str]) -> None:
        """Refuse signals that disagree with the sequence or hold NaN in valid frames.

        Raises:
            DataError: Names the sequence and the array.
        """
        shapes: dict[str, tuple[int | None, ...]] = {
            "identity_I": (None,),
            "rotations_TJ3": (frames, None, 3),
            "translation_T3": (frames, 3),
            "expression_TE": (frames, None),
            "gaze_T8": (frames, 8),
            "frame_valid_T": (frames,),
        }
        arrays = {name: np.asarray(getattr(self, name)) for name in shapes}
        for boxes, label in ((self.face_boxes, "face_boxes"), (self.person_boxes, "person_boxes")):
            unknown = sorted(set(boxes) - set(cameras))
            if unknown:
                raise DataError(f"Sequence {sequence} has {label} of the unknown camera {unknown[0]}.")
            arrays.update({f"{label}/{name}": np.asarray(value) for name, value in boxes.items()})
            shapes.update({f"{label}/{name}": (frames, 4) for name in boxes})
        for name, shape in shapes.items():
            _check_array(sequence, name, arrays[name], shape)
        valid = arrays["frame_valid_T"].astype(bool)
        for name in ("rotations_TJ3", "translation_T3", "expression_TE", "gaze_T8"):
            if not np.isfinite(arrays[name][valid]).all():
                raise DataError(f"Sequence {sequence} has NaN or infinite {name} in frames marked as valid.")
        if not np.isfinite(arrays["identity_I"]).all():
            raise DataError(f"Sequence {sequence} has a NaN or infinite identity_I.")

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Named arrays for ``signals.safetensors``."""
        arrays = {
            "identity": self.identity_I,
            "rotations": self.rotations_TJ3,
            "translation": self.translation_T3,
            "expression": self.expression_TE,
            "gaze": self.gaze_T8,
            **{f"face_boxes/{name}": boxes for name, boxes in self.face_boxes.items()},
            **{f"person_boxes/{name}": boxes for name, boxes in self.person_boxes.items()},
        }
        floats = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in arrays.items()}
        return {**floats, "frame_valid": np.ascontiguousarray(self.frame_valid_T, dtype=bool)}

    @staticmethod
    def from_arrays(arrays: dict[str, np.ndarray]) -> Signals:
        """The inverse of :meth:`to_arrays`; raises ``KeyError`` for a missing array."""
        boxes = {
            label: {
                name.split("/", 1)[1]: array for name, array in arrays.items() if name.startswith(f"{label}/")
            }
            for label in ("face_boxes", "person_boxes")
        }
        return Signals(
            identity_I=arrays["identity"],
            rotations_TJ3=arrays["rotations"],
            translation_T3=arrays["translation"],
            expression_TE=arrays["expression"],
            gaze_T8=arrays["gaze"],
            frame_valid_T=arrays["frame_valid"],
            face_boxes=boxes["face_boxes"],
            person_boxes=boxes["person_boxes"],
        )


def _check_array(sequence: str, name: str, array: np.ndarray, shape: tuple[int | None, ...]) -> None:
    matches = array.ndim == len(shape) and all(
        want in (None, have) for want, have in zip(shape, array.shape, strict=True)
    )
    if not matches:
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        raise DataError(f"{name} of sequence {sequence} must have shape ({wanted}), got {array.shape}.")


def check_name(what: str, name: str) -> None:
    """Refuse names that cannot be file names everywhere.

    Raises:
        DataError: The name is empty or has characters other than letters, digits, dot, dash, underscore.
    """
    if not _SAFE_NAME.fullmatch(name):
        raise DataError(f"The {what} name {name!r} may hold only letters, digits, '.', '_' and '-'.")


def write_dataset_header(root: Path | str, *, kind: str, rig: str, licence: str, provenance: str) -> None:
    """Write ``dataset.json``, or check that an existing one agrees.

    Args:
        root: The data set's folder, made when missing.
        kind: ``"wild"`` (one moving or standing camera) or ``"studio"`` (several calibrated cameras).
        rig: Name of the rig whose values the sequences carry.
        licence: Licence of the data.
        provenance: Where the data comes from, one sentence.

    Raises:
        DataError: The folder holds a data set of another kind or rig, or cannot be written.
    """
    root = Path(root)
    if kind not in KINDS:
        raise DataError(f"A data set is of kind {' or '.join(KINDS)}, not {kind!r}.")
    if (root / "dataset.json").exists():
        header = read_dataset_header(root)
        for key, value in (("kind", kind), ("rig", rig)):
            if header[key] != value:
                raise DataError(
                    f"{root} holds data of {key} {header[key]!r}, not {value!r}; choose another folder."
                )
        return
    header = {"format": FORMAT_NAME, "version": FORMAT_VERSION, "kind": kind, "rig": rig, "licence": licence}
    header.update(provenance=provenance, units="metres", color_space="srgb")
    write_text(root / "dataset.json", json.dumps(header, indent=2) + "\n")


def read_dataset_header(root: Path) -> dict[str, Any]:
    """Read and check ``dataset.json``.

    Raises:
        DataError: The folder or file is missing, is no data set of ours, or has another version.
    """
    if not root.is_dir():
        raise DataError(f"There is no data set folder {root}; {HOW_TO_GET_DATA}.")
    if not (root / "dataset.json").is_file():
        raise DataError(f"{root} is not a data set (it has no dataset.json); {HOW_TO_GET_DATA}.")
    header = read_json(root / "dataset.json")
    if header.get("format") != FORMAT_NAME:
        raise DataError(f"{root / 'dataset.json'} does not describe a data set of format {FORMAT_NAME!r}.")
    if header.get("version") != FORMAT_VERSION:
        raise DataError(
            f"{root} has layout version {header.get('version')} but this program reads version "
            f"{FORMAT_VERSION}; make the data set again or use the program version that wrote it."
        )
    if header.get("kind") not in KINDS or not isinstance(header.get("rig"), str):
        raise DataError(f"{root / 'dataset.json'} must name its kind ({' or '.join(KINDS)}) and its rig.")
    return header


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        DataError: The file is missing, truncated or not an object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"The file {path} is missing; make the data again.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not valid JSON, it may be truncated; make the data again.") from error
    if not isinstance(values, dict):
        raise DataError(f"{path} must hold a JSON object.")
    return values


def cannot_write(path: Path, error: OSError) -> DataError:
    """The one sentence for a full disk or a folder without permission."""
    reason = error.strerror or str(error)
    return DataError(f"{path} cannot be written ({reason}); free some space or choose another folder.")
